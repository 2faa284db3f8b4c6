//! Against an independent implementation, the kafka-protocol crate: each reads what the other
//! writes. Its known faults (32-bit timestamp deltas, collapsed duplicate headers, bare snappy)
//! are kept out of the samples.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType as TheirTimestampType,
};

use super::hostile_tests::{NOW, rules};
use super::*;

fn theirs(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}

/// Records of many shapes: (timestamp, key, value, headers).
type Shape = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn shapes() -> Vec<Shape> {
    (0..200usize)
        .map(|i| {
            let key = (i % 3 != 0).then(|| format!("key {i}").into_bytes());
            let value = (i % 5 != 0).then(|| vec![i as u8; i * 17 % 3000]);
            let headers =
                (0..i % 4).map(|h| (format!("h{h}"), (h != 2).then(|| vec![7; h * 50]))).collect();
            (NOW + (i as i64 * 37) % 1000 - 300, key, value, headers)
        })
        .collect()
}

#[test]
fn they_read_what_we_write() {
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(codec);
        builder.set_producer(4711, 3, 10);
        for (timestamp, key, value, headers) in shapes() {
            let headers: Vec<_> =
                headers.iter().map(|(k, v)| (k.as_bytes(), v.as_deref())).collect();
            builder.append(timestamp, key.as_deref(), value.as_deref(), &headers).unwrap();
        }
        let batch = builder.finish().unwrap();
        assert!(validate_produced(batch, &rules()).is_ok());
        let mut bytes = Bytes::copy_from_slice(batch);
        let records = RecordBatchDecoder::decode(&mut bytes).unwrap().records;
        assert_eq!(records.len(), 200);
        for (i, (record, (timestamp, key, value, headers))) in
            records.iter().zip(shapes()).enumerate()
        {
            assert_eq!(record.offset, i as i64, "{codec}");
            assert_eq!(record.timestamp, timestamp);
            assert_eq!(record.sequence, 10 + i as i32);
            assert_eq!((record.producer_id, record.producer_epoch), (4711, 3));
            assert_eq!(record.key.as_deref(), key.as_deref());
            assert_eq!(record.value.as_deref(), value.as_deref());
            let got: Vec<_> = record
                .headers
                .iter()
                .map(|(k, v)| (k.to_string(), v.as_ref().map(|v| v.to_vec())))
                .collect();
            assert_eq!(got, headers);
        }
    }
}

#[test]
fn we_read_what_they_write() {
    for codec in Codec::ALL {
        let records: Vec<_> = shapes()
            .into_iter()
            .enumerate()
            .map(|(i, (timestamp, key, value, headers))| TheirRecord {
                transactional: true,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: -1,
                producer_id: 99,
                producer_epoch: 1,
                timestamp_type: TheirTimestampType::Creation,
                offset: i as i64,
                sequence: 5 + i as i32,
                timestamp,
                key: key.map(Bytes::from),
                value: value.map(Bytes::from),
                headers: headers
                    .into_iter()
                    .map(|(k, v)| (StrBytes::from_string(k), v.map(Bytes::from)))
                    .collect::<IndexMap<_, _>>(),
            })
            .collect();
        let mut bytes = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: theirs(codec) };
        RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
        let summary = validate_produced(&bytes, &rules()).unwrap();
        assert_eq!((summary.records, summary.base_sequence, summary.codec), (200, 5, codec));
        assert!(summary.is_transactional);

        let view = BatchView::first(&bytes).unwrap();
        let plain = decompress(codec, view.records_bytes(), 1 << 20).unwrap();
        let mut read = 0;
        for (record, (timestamp, key, value, headers)) in
            Records::new(&plain, view.record_count()).zip(shapes())
        {
            let record = record.unwrap();
            assert_eq!(record.timestamp(view.base_timestamp()), Some(timestamp));
            assert_eq!(record.offset(0), Some(read));
            assert_eq!((record.key, record.value), (key.as_deref(), value.as_deref()));
            let want: Vec<_> = headers.iter().map(|(k, v)| (k.as_bytes(), v.as_deref())).collect();
            assert_eq!(record.headers.collect::<Vec<_>>(), want);
            read += 1;
        }
        assert_eq!(read, 200);
    }
}

/// What the oracle gets wrong, we must not.
#[test]
fn where_the_oracle_errs() {
    let mut builder = BatchBuilder::default();
    let twice: [(&[u8], Option<&[u8]>); 2] = [(b"a", Some(b"1")), (b"a", Some(b"2"))];
    builder.append(0, None, None, &twice).unwrap();
    builder.append(3_000_000_000, None, None, &[]).unwrap();
    let batch = builder.finish().unwrap();
    let records: Vec<_> = BatchView::first(batch).unwrap().records().map(Result::unwrap).collect();
    assert_eq!(records[0].headers.collect::<Vec<_>>(), twice);
    assert_eq!(records[1].timestamp(0), Some(3_000_000_000));
}
