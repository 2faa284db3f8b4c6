//! Batches that open to much: others go first while they are opened, walked and built anew. How
//! often is counted, for a time would say more of the machine.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::filter::{CleanFacts, Filter, Kept, Mapping};
use super::key_map::KeyMap;
use super::swap_tests::written;
use super::{CleanLimits, Throttle};
use crate::disk::sim::DiskImage;
use crate::record::{BatchBuilder, BatchView, Codec, Records, TURN_BYTES, decompress};
use crate::runtime::Runtime;
use crate::runtime::sim::SimWorld;
use crate::runtime::wait::Pace;

const TURNS: usize = 32;
/// Of one large value.
const LARGE: usize = TURNS * TURN_BYTES;
const COMPRESSED: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// What comes of a future that only steps aside, and in how many turns.
fn in_turns<T>(future: impl Future<Output = T>) -> (usize, T) {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    let mut turns = 0;
    loop {
        turns += 1;
        if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return (turns, done);
        }
    }
}

/// A batch of these records from this offset on.
fn batch(codec: Codec, base: i64, records: &[(&[u8], &[u8])]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    builder.set_place(base, 0);
    for (key, value) in records {
        builder.append(1000, Some(key), Some(value), &[]).unwrap();
    }
    Bytes::copy_from_slice(builder.finish().unwrap())
}

/// A record that goes, and a large one that stays; and what makes the first one go.
fn batches(codec: Codec) -> [Bytes; 2] {
    let large = vec![b'l'; LARGE];
    [batch(codec, 0, &[(b"a", b"old"), (b"b", &large)]), batch(codec, 2, &[(b"a", b"new")])]
}

fn many_small() -> Bytes {
    let keys: Vec<_> = (0..100_000u32).map(u32::to_be_bytes).collect();
    let records: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (&key[..], &b""[..])).collect();
    batch(Codec::None, 0, &records)
}

fn facts() -> CleanFacts {
    CleanFacts { decompressed_bytes_max: 128 << 20, ..CleanFacts::default() }
}

fn mapping(facts: &CleanFacts) -> Mapping<'_> {
    Mapping::new(facts, KeyMap::new(16 << 20, 0.9, 200_000), 0)
}

/// Turns that learning the keys of a batch takes.
fn learn(mapping: &mut Mapping<'_>, bytes: &[u8]) -> usize {
    let view = BatchView::first(bytes).unwrap();
    let (turns, learnt) = in_turns(mapping.batch(&view, &mut Pace::new(TURN_BYTES)));
    assert_eq!(learnt, Ok(true));
    turns
}

fn judge(filter: &mut Filter<'_>, bytes: &[u8]) -> (usize, Kept) {
    let view = BatchView::first(bytes).unwrap();
    let (turns, kept) = in_turns(filter.batch(&view, &mut Pace::new(TURN_BYTES)));
    (turns, kept.unwrap())
}

#[test]
fn a_batch_is_decompressed_in_turns() {
    for codec in COMPRESSED {
        let facts = facts();
        let turns = learn(&mut mapping(&facts), &batches(codec)[0]);
        assert!((TURNS..TURNS + 5).contains(&turns), "{codec}: {turns}");
    }
}

#[test]
fn records_are_walked_in_turns() {
    let (facts, bytes) = (facts(), many_small());
    let mut mapping = mapping(&facts);
    let learning = learn(&mut mapping, &bytes);
    let (judging, kept) = judge(&mut mapping.finish(100_000), &bytes);
    assert_eq!(kept, Kept::Whole);
    assert!(learning > 20 && judging > 20, "{learning}, {judging}");
}

#[test]
fn a_batch_is_built_anew_in_turns() {
    for codec in Codec::ALL {
        let (facts, [first, second]) = (facts(), batches(codec));
        let mut mapping = mapping(&facts);
        learn(&mut mapping, &first);
        learn(&mut mapping, &second);
        let (turns, kept) = judge(&mut mapping.finish(3), &first);
        let opening = if codec == Codec::None { 0 } else { TURNS };
        let both = opening + TURNS;
        assert!((both..both + 5).contains(&turns), "{codec}: {turns}");
        let Kept::Changed(bytes) = kept else { panic!("{codec}: {kept:?}") };
        let view = BatchView::first(&bytes).unwrap();
        assert!(view.crc_matches() && view.last_offset() == 1);
        let plain = decompress(codec, view.records_bytes(), 2 * LARGE).unwrap();
        let left: Vec<_> = Records::new(&plain, view.record_count()).map(Result::unwrap).collect();
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].key, left[0].offset_delta), (Some(&b"b"[..]), 1));
        assert!(left[0].value.unwrap() == vec![b'l'; LARGE]);
    }
}

#[test]
fn a_cleaning_lets_others_go_first_in_the_midst_of_a_batch() {
    let world = SimWorld::new(1, DiskImage::with_dir(Path::new("/data")));
    let runtime = world.runtime();
    world.run(async move {
        // Two more, each of which fills a segment.
        let fill = |key: &[u8]| batch(Codec::None, 0, &[(key, &[b'f'; 9900])]);
        let [first, second] = batches(Codec::Zstd);
        let (store, log) =
            written(&runtime, [first, second, fill(b"c"), fill(b"d")].into_iter()).await;
        let limits = CleanLimits { map_bytes: 1 << 12, load_factor: 0.9, io_bytes: 64 << 10 };
        let mut throttle = Throttle::new(f64::MAX, runtime.now());
        let mut cleaning = pin!(log.clean(facts(), log.end_offset(), limits, &mut throttle));
        let mut turns = 0;
        let outcome = poll_fn(|cx| {
            turns += 1;
            cleaning.as_mut().poll(cx)
        });
        let outcome = outcome.await.unwrap();
        assert!(outcome.bytes_after < outcome.bytes_before, "{outcome:?}");
        // Opened twice, built once.
        assert!(turns > 3 * TURNS, "{turns}");
        store.close().await.unwrap();
    });
}
