//! Whole frames: found in any chunking, and never copied where batches are concerned.

use bytes::{Bytes, BytesMut};
use thalweg::protocol::messages::{fetch, produce};
use thalweg::protocol::{
    ApiKey, PIECE_LEN_MIN, PREFIX_LEN, REQUEST_LEN_MIN, RESPONSE_LEN_MIN, RequestBody,
    RequestHeader, decode_response, encode_request, encode_response, frame_len,
};
use thalweg::wire::{Reader, Records, Writer};

use crate::sample::{self, Random, Style};

const FRAME_MAX: usize = 100_000;

/// All whole frames at the front of `stream`, which is then what is left; `None` when the bytes
/// are no frames.
fn split(stream: &mut BytesMut) -> Option<Vec<Bytes>> {
    let mut frames = Vec::new();
    while let Some(len) = frame_len(stream, REQUEST_LEN_MIN, FRAME_MAX).ok()? {
        assert!((REQUEST_LEN_MIN..=FRAME_MAX).contains(&len));
        if stream.len() < PREFIX_LEN + len {
            break;
        }
        let _ = stream.split_to(PREFIX_LEN);
        frames.push(stream.split_to(len).freeze());
    }
    Some(frames)
}

#[test]
fn frames_are_the_same_in_any_chunking() {
    let mut sent = Vec::new();
    let mut stream = Vec::new();
    for &key in ApiKey::ALL {
        let version = key.versions().max;
        let schema = key.request_schema();
        let bytes = sample::message(schema, version, key.flexible(), Style::Varied, 3);
        let body = RequestBody::decode(key, &mut Reader::new(bytes.into()), version).unwrap();
        let header = RequestHeader {
            api_key: key,
            api_version: version,
            correlation_id: sent.len() as i32,
            client_id: None,
        };
        let mut writer = Writer::new();
        writer.i32(0);
        header.encode(&mut writer).unwrap();
        body.encode(&mut writer, version).unwrap();
        writer.set_i32(0, (writer.len() - PREFIX_LEN) as i32);
        stream.extend(writer.into_bytes());
        sent.push((header, body));
    }
    let mut random = Random::new(5);
    for round in 0..50 {
        let mut arrived = BytesMut::new();
        let mut rest = &stream[..];
        let mut received = Vec::new();
        while !rest.is_empty() {
            let limit = if round == 0 { 1 } else { 200 };
            let (chunk, behind) = rest.split_at((1 + random.below(limit)).min(rest.len()));
            arrived.extend_from_slice(chunk);
            rest = behind;
            for frame in split(&mut arrived).unwrap() {
                let mut reader = Reader::new(frame);
                let header = RequestHeader::decode(&mut reader).unwrap();
                let body = RequestBody::decode(header.api_key, &mut reader, header.api_version);
                received.push((header, body.unwrap()));
            }
        }
        assert_eq!(received, sent);
    }
}

#[test]
fn noise_is_split_or_refused_and_more_bytes_do_not_change_the_verdict() {
    let mut random = Random::new(6);
    for _ in 0..20_000 {
        // Lengths near the limits as often as noise.
        let length = match random.below(4) {
            0 => random.below(REQUEST_LEN_MIN + 2) as i32,
            1 => (FRAME_MAX - 1 + random.below(3)) as i32,
            _ => random.next() as i32,
        };
        let mut bytes = length.to_be_bytes().to_vec();
        let verdict = frame_len(&bytes, REQUEST_LEN_MIN, FRAME_MAX);
        let fits =
            usize::try_from(length).is_ok_and(|len| (REQUEST_LEN_MIN..=FRAME_MAX).contains(&len));
        assert_eq!(verdict.is_ok(), fits, "{length}");
        bytes.extend((0..random.below(8)).map(|_| random.next() as u8));
        assert_eq!(frame_len(&bytes, REQUEST_LEN_MIN, FRAME_MAX), verdict);
        assert_eq!(frame_len(&bytes[..3], REQUEST_LEN_MIN, FRAME_MAX), Ok(None));
    }
}

fn batch(len: usize, fill: u8) -> Bytes {
    Bytes::from(vec![fill; len])
}

#[test]
fn a_fetch_response_is_sent_without_copying_batches() {
    let large = [batch(5000, 1), batch(PIECE_LEN_MIN, 2)];
    let small = batch(PIECE_LEN_MIN - 1, 3);
    let partition = |index, records| fetch::PartitionData {
        partition_index: index,
        records,
        ..Default::default()
    };
    let response = fetch::FetchResponse {
        responses: vec![fetch::FetchableTopicResponse {
            topic: "t".into(),
            partitions: vec![
                partition(0, Records::from(large.to_vec())),
                partition(1, Records::from(small.clone())),
                partition(2, Records::NULL),
                partition(3, Records::EMPTY),
                partition(4, Records::from(large[0].clone())),
            ],
            ..Default::default()
        }],
        ..Default::default()
    };
    for version in [4, 11, 12] {
        let pieces = encode_response(ApiKey::Fetch, version, 9, &response).unwrap();
        let shares = |batch: &Bytes| {
            let same =
                |piece: &&Bytes| piece.as_ptr() == batch.as_ptr() && piece.len() == batch.len();
            pieces.iter().filter(same).count()
        };
        assert_eq!((shares(&large[0]), shares(&large[1]), shares(&small)), (2, 1, 0));
        assert!(pieces.iter().all(|piece| !piece.is_empty()));
        let whole = Bytes::from(pieces.concat());
        let len = frame_len(&whole, RESPONSE_LEN_MIN, FRAME_MAX).unwrap();
        assert_eq!(len, Some(whole.len() - PREFIX_LEN));
        let (header, decoded) =
            decode_response::<fetch::FetchRequest>(version, whole.slice(PREFIX_LEN..)).unwrap();
        assert_eq!(header.correlation_id, 9);
        assert_eq!(decoded, response, "v{version}");
        let records = |i: usize| decoded.responses[0].partitions[i].records.clone();
        assert!(records(2).is_null() && !records(3).is_null() && records(3).is_empty());
        // Decoding shares the frame too.
        let frame = whole.as_ptr_range();
        assert!(frame.contains(&records(0).pieces()[0].as_ptr()));
        assert_eq!(records(0).into_bytes(), large.concat());
    }
}

#[test]
fn a_produce_request_keeps_its_batch_a_slice_both_ways() {
    let batch = batch(70_000, 7);
    let request = produce::ProduceRequest {
        acks: -1,
        timeout_ms: 100,
        topic_data: vec![produce::TopicProduceData {
            name: "t".into(),
            partition_data: vec![produce::PartitionProduceData {
                index: 2,
                records: batch.clone().into(),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let pieces = encode_request(9, 3, Some("me"), &request).unwrap();
    assert_eq!(pieces.len(), 3);
    assert_eq!(pieces[1].as_ptr(), batch.as_ptr());
    let whole = Bytes::from(pieces.concat());
    assert_eq!(frame_len(&whole, REQUEST_LEN_MIN, FRAME_MAX), Ok(Some(whole.len() - PREFIX_LEN)));
    let mut reader = Reader::new(whole.slice(PREFIX_LEN..));
    let header = RequestHeader::decode(&mut reader).unwrap();
    assert_eq!((header.api_key, header.api_version), (ApiKey::Produce, 9));
    assert_eq!(header.client_id.as_deref(), Some("me"));
    let body = RequestBody::decode(header.api_key, &mut reader, header.api_version).unwrap();
    assert_eq!(body, RequestBody::Produce(request.clone()));
    let RequestBody::Produce(decoded) = body else { unreachable!("compared above") };
    let piece = &decoded.topic_data[0].partition_data[0].records.pieces()[0];
    assert!(whole.as_ptr_range().contains(&piece.as_ptr()));
    // A writer that copies gives the same bytes.
    let mut writer = Writer::new();
    thalweg::wire::Message::encode(&request, &mut writer, 9).unwrap();
    assert!(whole.ends_with(&writer.into_bytes()));
}

/// Messages own slices of their frame, so they may cross threads and outlive the reader.
#[test]
fn messages_are_send_and_have_no_lifetime() {
    fn check<T: Send + Sync + 'static>() {}
    check::<RequestBody>();
    check::<thalweg::protocol::ResponseBody>();
    check::<thalweg::protocol::metadata_record::MetadataRecord>();
}
