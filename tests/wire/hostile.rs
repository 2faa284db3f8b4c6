//! Bytes from strangers: cut, changed, or built to cost memory.
//!
//! Nothing may panic, and what a frame makes us hold stays in proportion to its length: at most
//! `EXPANSION_FACTOR` bytes for each of its bytes and `EXPANSION_FLOOR` on top.

use bytes::Bytes;
use thalweg::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use thalweg::protocol::metadata_record::MetadataRecord;
use thalweg::protocol::{ApiKey, RequestBody, RequestHeader, ResponseBody};
use thalweg::wire::reader::{EXPANSION_FACTOR, EXPANSION_FLOOR, UNKNOWN_TAGS_MAX};
use thalweg::wire::{DecodeError, DecodeErrorKind, Message, Reader, Writer};

use crate::memory::peak_of;
use crate::sample::{self, Random, Style};

fn peak_max(len: usize) -> usize {
    // Errors are boxed; the counter sees them and the test harness, hence a little more.
    len * EXPANSION_FACTOR + EXPANSION_FLOOR + 4096
}

/// Decode under the memory limit.
fn request(key: ApiKey, version: i16, bytes: Bytes) -> Result<RequestBody, DecodeError> {
    let len = bytes.len();
    let (result, peak) = peak_of(|| RequestBody::decode(key, &mut Reader::new(bytes), version));
    assert!(peak <= peak_max(len), "{key:?} v{version}: {peak} bytes of memory for {len} bytes");
    result
}

fn response(key: ApiKey, version: i16, bytes: Bytes) -> Result<ResponseBody, DecodeError> {
    let len = bytes.len();
    let (result, peak) = peak_of(|| ResponseBody::decode(key, &mut Reader::new(bytes), version));
    assert!(peak <= peak_max(len), "{key:?} v{version}: {peak} bytes of memory for {len} bytes");
    result
}

fn every_version() -> impl Iterator<Item = (ApiKey, i16)> {
    ApiKey::ALL.iter().flat_map(|key| key.versions().iter().map(|version| (*key, version)))
}

#[test]
fn a_message_cut_anywhere_is_an_error() {
    for (key, version) in every_version() {
        for seed in 0..3 {
            let of = |schema| {
                let style = Style::Varied;
                Bytes::from(sample::message(schema, version, key.flexible(), style, seed))
            };
            let bytes = of(key.request_schema());
            for len in 0..bytes.len() {
                let cut = request(key, version, bytes.slice(..len));
                assert!(cut.is_err(), "request {key:?} v{version} seed {seed} cut to {len}");
            }
            let bytes = of(key.response_schema());
            for len in 0..bytes.len() {
                let cut = response(key, version, bytes.slice(..len));
                assert!(cut.is_err(), "response {key:?} v{version} seed {seed} cut to {len}");
            }
        }
    }
}

#[test]
fn a_byte_too_many_is_an_error() {
    for (key, version) in every_version() {
        let style = Style::Varied;
        let mut bytes = sample::message(key.request_schema(), version, key.flexible(), style, 1);
        bytes.push(0);
        let error = request(key, version, bytes.into()).unwrap_err();
        assert_eq!(error.kind(), &DecodeErrorKind::TrailingBytes, "{key:?} v{version}");
        assert_eq!(error.field(), Some(key.name()));
    }
}

/// Change a few bytes: flip, set to a telling value, insert, remove.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let telling = [0, 1, 0x7f, 0x80, 0xfe, 0xff][random.below(6)];
        match (random.below(5), bytes.get_mut(at)) {
            (0, Some(byte)) => *byte ^= 1 << random.below(8),
            (1 | 2, Some(byte)) => *byte = telling,
            (3, Some(_)) => drop(bytes.remove(at)),
            _ => bytes.insert(at, telling),
        }
    }
}

#[test]
fn mutated_messages_never_panic_and_what_is_read_can_be_written() {
    let mut random = Random::new(0x7a1e);
    for (key, version) in every_version() {
        for seed in 0..150 {
            let mut bytes = sample::message(
                if seed % 3 == 0 { key.response_schema() } else { key.request_schema() },
                version,
                key.flexible(),
                if seed % 16 == 5 { Style::Extreme } else { Style::Varied },
                seed,
            );
            mutate(&mut bytes, &mut random);
            let bytes = Bytes::from(bytes);
            let mut writer = Writer::new();
            let written = if seed % 3 == 0 {
                response(key, version, bytes).map(|body| body.encode(&mut writer, version))
            } else {
                request(key, version, bytes).map(|body| body.encode(&mut writer, version))
            };
            if let Ok(Err(error)) = written {
                panic!("{key:?} v{version} seed {seed}: read, but cannot be written: {error}");
            }
        }
    }
}

#[test]
fn noise_never_panics() {
    let mut random = Random::new(0xdead);
    for (key, version) in every_version() {
        for _ in 0..50 {
            let len = random.below(64);
            let noise: Bytes = (0..len).map(|_| random.next() as u8).collect();
            let _ = request(key, version, noise.clone());
            let _ = RequestHeader::decode(&mut Reader::new(noise.clone()));
            let _ = MetadataRecord::decode(noise);
        }
    }
}

#[test]
fn four_bytes_cannot_ask_for_gigabytes() {
    // The array length alone; an implementation that believes it asks for 144 GiB and is killed.
    let huge = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    let (result, peak) =
        peak_of(|| RequestBody::decode(ApiKey::Metadata, &mut Reader::new(huge), 1));
    let error = result.unwrap_err();
    let element_bytes_min = 2;
    assert_eq!(
        error.kind(),
        &DecodeErrorKind::TooManyElements { count: 0x7fff_ffff, element_bytes_min }
    );
    assert_eq!(error.field(), Some("MetadataRequest.topics"));
    assert!(peak < 1024, "{peak}");
    // Three names of at least two bytes do not fit into five.
    let error = request(ApiKey::Metadata, 1, Bytes::from_static(b"\0\0\0\x03\0\0\0\0\0"));
    let kind = DecodeErrorKind::TooManyElements { count: 3, element_bytes_min };
    assert_eq!(error.unwrap_err().kind(), &kind);
    // The compact form of the same, and one that claims all 32 bits.
    for compact in [&[0xff, 0xff, 0xff, 0xff, 0x07][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]] {
        let error = request(ApiKey::Metadata, 9, Bytes::copy_from_slice(compact)).unwrap_err();
        assert!(matches!(error.kind(), DecodeErrorKind::TooManyElements { .. }), "{error}");
    }
    for bad in [&[0xff, 0xff, 0xff, 0xfe][..], &[0x80, 0, 0, 0]] {
        let error = request(ApiKey::Metadata, 1, Bytes::copy_from_slice(bad)).unwrap_err();
        assert!(matches!(error.kind(), DecodeErrorKind::BadLength { .. }), "{error}");
    }
    for bad in [&[0xff, 0xff, 0xff, 0xff, 0x10][..], &[0x80, 0x80, 0x80, 0x80, 0x80, 0]] {
        let error = request(ApiKey::Metadata, 9, Bytes::copy_from_slice(bad)).unwrap_err();
        assert_eq!(error.kind(), &DecodeErrorKind::BadVarint, "{error}");
    }
}

#[test]
fn a_million_empty_names_are_refused_before_they_take_memory() {
    let count = 1_000_000;
    let mut body = (count as i32).to_be_bytes().to_vec();
    body.resize(4 + 2 * count, 0);
    let body = Bytes::from(body);
    let (result, peak) =
        peak_of(|| RequestBody::decode(ApiKey::Metadata, &mut Reader::new(body), 1));
    let error = result.unwrap_err();
    assert!(matches!(error.kind(), DecodeErrorKind::Expansion { .. }), "{error}");
    assert!(peak < 1024, "{peak}");
}

#[test]
fn many_small_arrays_share_one_budget() {
    // DescribeConfigs 4: a thousand resources that each ask for a thousand keys without a name.
    // Each array alone would be fine; together they would take 32 bytes of memory for each byte.
    let (resources, keys) = (1000, 1000);
    let mut body = Vec::new();
    sample::uvarint(resources + 1, &mut body);
    for _ in 0..resources {
        body.extend(b"\x02\x02t");
        sample::uvarint(keys + 1, &mut body);
        body.resize(body.len() + keys, 1);
        body.push(0);
    }
    body.extend(b"\0\0\0");
    let error = request(ApiKey::DescribeConfigs, 4, body.into()).unwrap_err();
    assert!(matches!(error.kind(), DecodeErrorKind::Expansion { .. }), "{error}");
    assert_eq!(error.field(), Some("DescribeConfigsResource.configuration_keys"));
}

#[test]
fn arrays_may_be_limited_and_all_of_one_message_count_together() {
    let topic = |partitions| ListOffsetsTopic {
        partitions: vec![ListOffsetsPartition::default(); partitions],
        ..Default::default()
    };
    let read = |topics: &[usize]| {
        let topics = topics.iter().map(|partitions| topic(*partitions)).collect();
        let mut writer = Writer::new();
        let request = ListOffsetsRequest { topics, ..Default::default() };
        request.encode(&mut writer, 4).unwrap();
        let mut reader = Reader::new(writer.into_bytes());
        reader.limit_elements(2, 5);
        ListOffsetsRequest::decode(&mut reader, 4).map_err(|error| error.kind().clone())
    };
    assert!(read(&[3, 2]).is_ok());
    let (count, left) = (3, 2);
    assert_eq!(read(&[3, 3]), Err(DecodeErrorKind::OverLimit { count, left, is_inner: true }));
    assert_eq!(read(&[0, 0, 0]), Err(DecodeErrorKind::OverLimit { count, left, is_inner: false }));
}

#[test]
fn floods_of_tags_are_refused_and_unknown_tags_are_dropped() {
    // An ApiVersions request, which strangers may send before they say who they are.
    let body = |tags: u32| {
        let mut body = b"\x02c\x02v".to_vec();
        sample::uvarint(tags as usize, &mut body);
        for tag in 0..tags {
            sample::uvarint(tag as usize, &mut body);
            body.push(0);
        }
        Bytes::from(body)
    };
    let (flood, peak) = peak_of(|| {
        let mut reader = Reader::new(body(100_000));
        let (result, peak) = peak_of(|| RequestBody::decode(ApiKey::ApiVersions, &mut reader, 3));
        (result, peak)
    });
    assert!(peak > 0);
    let (result, peak) = flood;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), &DecodeErrorKind::TooManyTags { count: 100_000 });
    assert!(peak < 1024, "{peak}");
    let most = request(ApiKey::ApiVersions, 3, body(UNKNOWN_TAGS_MAX)).unwrap();
    let none = request(ApiKey::ApiVersions, 3, body(0)).unwrap();
    assert_eq!(most, none);
    assert!(request(ApiKey::ApiVersions, 3, body(UNKNOWN_TAGS_MAX + 1)).is_err());
}

#[test]
fn tags_must_ascend_and_fit_their_size() {
    let read = |tags: &[u8]| {
        let body = [&b"\x02c\x02v"[..], tags].concat();
        request(ApiKey::ApiVersions, 3, body.into()).map(drop).map_err(|e| e.kind().clone())
    };
    assert_eq!(read(b"\x02\x01\x00\x05\x00"), Ok(()));
    assert_eq!(read(b"\x02\x05\x00\x05\x00"), Err(DecodeErrorKind::TagOrder { tag: 5 }));
    assert_eq!(read(b"\x02\x05\x00\x01\x00"), Err(DecodeErrorKind::TagOrder { tag: 1 }));
    assert_eq!(read(b"\x01\x05\x02\x00"), Err(DecodeErrorKind::Truncated { needed: 2 }));
    // The largest tag, then one more: the order cannot wrap around.
    assert_eq!(
        read(b"\x02\xff\xff\xff\xff\x0f\x00\x00\x00"),
        Err(DecodeErrorKind::TagOrder { tag: 0 })
    );
    // A known tag whose value is shorter than its size: finalized_features_epoch of 9 bytes.
    let response = |bytes: &'static [u8]| {
        ResponseBody::decode(ApiKey::ApiVersions, &mut Reader::new(Bytes::from_static(bytes)), 3)
            .map_err(|e| e.kind().clone())
    };
    let size = DecodeErrorKind::TagSize { tag: 1, size: 9, used: 8 };
    assert_eq!(response(b"\0\0\x01\0\0\0\0\x01\x01\x09\0\0\0\0\0\0\0\x01\0"), Err(size));
    // And one whose value would reach behind its size, into what follows.
    let reaches = response(b"\0\0\x01\0\0\0\0\x01\x01\x07\0\0\0\0\0\0\0\x01");
    assert_eq!(reaches, Err(DecodeErrorKind::Truncated { needed: 8 }));
}

#[test]
fn text_must_be_utf8_and_null_must_be_allowed() {
    let error = request(ApiKey::ApiVersions, 3, Bytes::from_static(b"\x02\xff\x02v\0"));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), &DecodeErrorKind::NotUtf8 { valid_up_to: 0 });
    assert_eq!(error.field(), Some("ApiVersionsRequest.client_software_name"));
    let error = request(ApiKey::ApiVersions, 3, Bytes::from_static(b"\0\x02v\0")).unwrap_err();
    assert_eq!(error.kind(), &DecodeErrorKind::UnexpectedNull);
    // Metadata's topics may be null from version 1 on, not before.
    let null = Bytes::from_static(b"\xff\xff\xff\xff");
    assert!(request(ApiKey::Metadata, 0, null.clone()).is_err());
    assert!(request(ApiKey::Metadata, 1, null).is_ok());
    // A string longer than 32,767 bytes, which only the compact form could announce.
    let mut long = Vec::new();
    sample::uvarint(32_769, &mut long);
    long.resize(40_000, b'a');
    let error = request(ApiKey::ApiVersions, 3, long.into()).unwrap_err();
    assert_eq!(error.kind(), &DecodeErrorKind::BadLength { length: 32_768 });
}

#[test]
fn errors_say_where_and_what() {
    let error = request(ApiKey::Metadata, 1, Bytes::from_static(b"\0\0\0\x01\0\x05ab"));
    assert_eq!(
        error.unwrap_err().to_string(),
        "MetadataRequestTopic.name: needs 5 bytes, the message ends before (at byte 6, 2 bytes \
         remain)"
    );
}
