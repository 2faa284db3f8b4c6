//! What a start does with logs that nobody owns and with a journal of which files are gone.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::tests::{ID, Marks, append, batch, log_config};
use super::{Owner, ShardStart, StorageConfig, StorageError, Store, recover};
use crate::disk::sim::{Crash, DiskImage};
use crate::model::TopicPartition;
use crate::runtime::sim::{SimRandom, SimWorld};

const SEGMENT: u64 = 1 << 20;

fn config() -> StorageConfig {
    StorageConfig {
        data_dir: PathBuf::from("/data"),
        journal_bytes_max: 512 << 10,
        direct_append_bytes_min: 8 << 10,
        direct_unflushed_append_bytes_min: 8 << 10,
        pending_bytes_max: 256 << 10,
        cache_bytes_max: 4 << 10,
        open_files_max: 64,
        pool_bytes_max: 0,
        space_reserve_bytes: 0,
    }
}

/// What a cut of the power leaves of a log with flushed records, in journal and segment, and the
/// log's bytes.
fn left() -> (DiskImage, Vec<u8>) {
    let world = SimWorld::new(1, DiskImage::with_dir(Path::new("/data")));
    let runtime = world.runtime();
    let written = world.run(async move {
        let owner = |_: TopicPartition| owned();
        let start = recover(&runtime, &config(), 1, &owner).await.unwrap().remove(0);
        let store = Store::open(runtime.clone(), config(), start).await.unwrap();
        let log = store.create_log(ID, log_config(SEGMENT)).await.unwrap();
        let marks = Rc::new(Marks::default());
        log.set_observer(marks.clone());
        let mut written = Vec::new();
        for size in [3000, 9000, 20_000, 500].into_iter().cycle().take(20) {
            written.extend_from_slice(&append(&log, batch(size, 1, 1, 1), true).await);
        }
        marks.flushed(log.end_offset()).await;
        written
    });
    let image = world.disk().image().crashed(Crash::KeepNothing, &mut SimRandom::new(1));
    (image, written.expect("the run comes to its end"))
}

fn owned() -> Owner {
    Owner::Shard(0, log_config(SEGMENT))
}

/// Start from `image` with this owner of every log, and what is on the disk then.
fn start(image: &DiskImage, owner: Owner) -> (Result<ShardStart, StorageError>, DiskImage) {
    let world = SimWorld::new(2, image.clone());
    let runtime = world.runtime();
    let started = world.run(async move {
        let owner = |_: TopicPartition| owner.clone();
        recover(&runtime, &config(), 1, &owner).await.map(|mut starts| starts.remove(0))
    });
    (started.expect("a start comes to its end"), world.disk().image())
}

fn end_offset(start: &ShardStart) -> i64 {
    start.logs.iter().map(|log| log.record.end_offset).sum()
}

#[test]
fn a_log_that_nobody_knows_is_kept_aside_whole_and_a_removed_one_goes() {
    let (image, written) = left();
    let (started, after) = start(&image, Owner::Unknown);
    assert!(started.unwrap().logs.is_empty());
    // With what only the journal held, and without what lay behind.
    let stray = after.find("/0-stray-2/00000000000000000000.log");
    assert_eq!(stray.len(), 1, "{:?}", after.find("/logs/"));
    assert!(after.content(&stray[0]).unwrap() == written, "it holds exactly the log");
    let after = after.crashed(Crash::KeepNothing, &mut SimRandom::new(1));
    let (started, again) = start(&after, owned());
    assert!(started.unwrap().logs.is_empty(), "it is no log any more");
    assert!(again.content(&stray[0]).unwrap() == written, "and stays");

    let (started, after) = start(&image, Owner::Removed);
    assert!(started.unwrap().logs.is_empty());
    assert_eq!(after.find("/logs/"), Vec::<PathBuf>::new());
}

#[test]
fn a_start_without_what_the_journal_held_is_refused_until_that_is_given_up() {
    let (image, _) = left();
    let (started, _) = start(&image, owned());
    assert_eq!(end_offset(&started.unwrap()), 20);
    let journal = image.find("/journal-1").remove(0);
    let list = image.find("/journals").remove(0);
    for len in [None, Some(0), Some(20 << 10), Some((64 << 10) - 1)] {
        let mut lacking = image.clone();
        match len {
            None => lacking.remove(&journal),
            Some(len) => lacking.cut(&journal, len),
        }
        let (started, after) = start(&lacking, owned());
        let why = started.unwrap_err().to_string();
        assert!(why.contains("/journal-1 ") && why.contains("/journals"), "{len:?}: {why}");
        assert_eq!(after.find("/logs/"), image.find("/logs/"), "nothing was changed");
        // As the messages advise.
        lacking.remove(&list);
        image.find("/journal-").iter().for_each(|journal| lacking.remove(journal));
        let (started, _) = start(&lacking, owned());
        assert!(end_offset(&started.unwrap()) < 20, "{len:?}");
    }
}
