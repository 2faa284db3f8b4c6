//! Every parser that recovery feeds with bytes of unknown origin, behind one door for fuzzing.

use bytes::Bytes;

use super::batch::BatchHeader;
use super::checkpoint_file::{LogRecord, decode_checkpoint};
use super::cursor::Reader;
use super::entry::{Entry, HEADER_LEN};
use super::frame::Frame;
use super::index::Index;
use super::journal_list::Listed;
use super::recover::finish;
use super::replay::{Plans, apply, plans_of};
use super::run_files::Current;

/// Parse `bytes` as everything a data directory may contain. Never panics; returns how many
/// journal entries were understood (checksums are not asked here: they keep out accidents, and
/// this is about what gets past them).
pub fn parse_unknown(bytes: &[u8]) -> usize {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Some(frame) = Frame::decode(&bytes, 0) {
        let _ = frame.entries();
    }
    let _ = decode_checkpoint(&bytes);
    let _ = Current::decode(&bytes);
    let _ = Listed::decode(&bytes);
    let half = bytes.len() / 2;
    if let Some(index) = Index::decode(0, 1 << 30, &bytes[..half], &bytes[half..]) {
        let _ = index.position_of(7);
        let _ = index.offset_before(7);
    }
    if let Some(header) = bytes.first_chunk::<HEADER_LEN>() {
        let _ = BatchHeader::parse(header);
    }
    // A log of a checkpoint with its length, as far as it is one, and a journal behind it.
    let mut record = Reader::new(bytes.clone());
    if let Some(log) = record.sized().ok().and_then(|log| LogRecord::decode(log).ok()) {
        let rest = record.bytes(record.left()).unwrap_or_default();
        replay(plans_of(vec![log]), rest);
    }
    replay(Plans::new(), bytes)
}

/// How many entries of a journal were understood.
fn replay(mut plans: Plans, journal: Bytes) -> usize {
    let mut body = Reader::new(journal);
    let mut count = 0;
    while let Ok(entry) = Entry::decode(&mut body) {
        count += 1;
        apply(&mut plans, count as u64, entry);
    }
    plans.values_mut().for_each(finish);
    count
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::checkpoint_file::SegmentRecord;
    use super::super::cursor::put_sized;
    use super::super::entry::{Change, Cleaned, DataEntry, Extent, LogKey};
    use super::super::format::Pooled;
    use super::super::frame::{FrameHeader, encode_frame, frame_len};
    use super::*;
    use crate::model::{TopicPartition, Uuid};
    use crate::runtime::sim::SimRandom;

    fn entries() -> Vec<Entry> {
        let id = TopicPartition { topic_id: Uuid([1; 16]), partition: 4 };
        let log = LogKey { id, incarnation: 3 };
        let small = DataEntry {
            segment_base: 0,
            position: 0,
            batch_position: 0,
            base_offset: 0,
            last_offset: 4,
            max_timestamp: 9,
            head: [Bytes::from(vec![7; 100]), Bytes::new()],
            extent: None,
            tail: Bytes::new(),
        };
        let large = DataEntry {
            position: 100,
            batch_position: 100,
            base_offset: 5,
            last_offset: 9,
            head: [Bytes::new(), Bytes::new()],
            extent: Some(Extent { start: 0, end: 8192, header: vec![1; HEADER_LEN].into() }),
            tail: Bytes::from(vec![8; 50]),
            ..small.clone()
        };
        let roll =
            Change::Roll { sealed_base: 0, sealed_bytes: 8242, sealed_max_timestamp: 9, base: 10 };
        let pooled = Pooled { generation: 1, shard: 0, number: 6 };
        let segment = SegmentRecord { base: 0, bytes: 90, max_timestamp: 9 };
        let swap = Change::Swap { from: 0, until: 10, cleaned: vec![Cleaned { segment, pooled }] };
        [
            Change::Create,
            Change::Data(small),
            Change::Data(large),
            roll,
            swap,
            Change::Start { offset: 5 },
            Change::Delete,
        ]
        .into_iter()
        .map(|change| Entry { log, change })
        .collect()
    }

    fn body() -> Vec<u8> {
        let mut body = Vec::new();
        entries().iter().for_each(|entry| entry.encode(&mut body));
        body
    }

    #[test]
    fn entries_come_back_from_a_frame_of_the_same_salt_only() {
        let (entries, len) = (entries(), frame_len(body().len()));
        let mut out = vec![0xee; len];
        let header = FrameHeader { shard: 1, generation: 2, sequence: 3, flushed_sequence: 2 };
        encode_frame(&mut out, header, 77, entries.iter());
        let bytes = Bytes::from(out);
        let frame = Frame::decode(&bytes, 77).unwrap();
        assert_eq!((frame.header, frame.len), (header, len));
        let expected: Vec<Vec<u8>> = entries.iter().map(encoded).collect();
        let found: Vec<Vec<u8>> = frame.entries().unwrap().iter().map(encoded).collect();
        assert_eq!(found, expected);
        assert!(Frame::decode(&bytes, 78).is_none(), "a frame of another run");
        assert_eq!(parse_unknown(&body()), entries.len());
    }

    fn encoded(entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        entry.encode(&mut out);
        assert_eq!(out.len(), entry.encoded_len());
        out
    }

    /// A log as a checkpoint has it, and the journal of another one behind it.
    fn record_and_body() -> Vec<u8> {
        let mut record = LogRecord::empty(entries()[0].log);
        record.headers = vec![2; HEADER_LEN].into();
        let mut bytes = BytesMut::new();
        put_sized(&mut bytes, &record.encode());
        bytes.extend(body());
        bytes.to_vec()
    }

    #[test]
    fn no_bytes_panic_a_parser() {
        let wholes = [body(), record_and_body()];
        let mut random = SimRandom::new(11);
        let mut understood = 0;
        for round in 0..20_000u64 {
            let mut bytes = wholes[(round % 2) as usize].clone();
            for _ in 0..=random.below(4) {
                let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
                bytes[at] = [0, 0xff, 0x7f, 0x80, random.bits() as u8][(round % 5) as usize];
            }
            let cut = usize::try_from(random.below(bytes.len() as u64 + 1)).unwrap();
            understood += parse_unknown(&bytes);
            understood += parse_unknown(&bytes[cut..]);
            let noise: Vec<u8> = (0..random.below(300)).map(|_| random.bits() as u8).collect();
            understood += parse_unknown(&noise);
        }
        assert!(understood > 0, "the mutations never reach behind the first check");
    }
}
