//! Every write and flush as a crash point.
//!
//! A scripted run (`script.rs`) is repeated once per crash point on the simulated disk; of what
//! was not flushed at that moment nothing, everything, a random part or torn sectors survive.
//! After recovery the logs must be what was promised (`check.rs`). The same run on a disk whose
//! flushes do nothing must be found out: a checker is trusted only while it can still say no.

mod check;
mod cleaning;
mod compaction;
mod groups;
mod many;
mod script;
mod sequences;
mod shard;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use check::{Promises, recovered_twice};
use script::script;
use thalweg::disk::sim::{Crash, DiskImage};
use thalweg::runtime::sim::{SimRandom, SimWorld};
use thalweg::storage::StorageConfig;

/// Where the simulated data directory is.
pub(crate) fn data_dir() -> PathBuf {
    PathBuf::from("/data")
}

/// Limits so small that the script meets all of them.
pub(crate) fn config() -> StorageConfig {
    StorageConfig {
        data_dir: data_dir(),
        journal_bytes_max: 512 << 10,
        direct_append_bytes_min: 8 << 10,
        direct_unflushed_append_bytes_min: 8 << 10,
        pending_bytes_max: 128 << 10,
        cache_bytes_max: 32 << 10,
        open_files_max: 8192,
        pool_bytes_max: 256 << 10,
        space_reserve_bytes: 0,
    }
}

/// Run the script on `image` until the call number `halt_at`; the promises made and the disk.
fn run(seed: u64, image: DiskImage, halt_at: Option<u64>, lies: bool) -> (Rc<Promises>, SimWorld) {
    let world = SimWorld::new(seed, image);
    if let Some(op) = halt_at {
        world.disk().halt_at(op);
    }
    if lies {
        world.disk().ignore_flushes();
    }
    let promises = Rc::new(Promises::default());
    world.run(script(world.runtime(), Rc::clone(&promises)));
    (promises, world)
}

/// Crash at `point` and keep each of `kinds`; what is wrong afterwards, if anything.
fn crash(seed: u64, point: u64, kinds: &[Crash], lies: bool) -> Result<(), String> {
    let (promises, world) = run(seed, DiskImage::with_dir(&data_dir()), Some(point), lies);
    let image = world.disk().image();
    for kind in kinds {
        let left = image.crashed(*kind, &mut SimRandom::new(seed ^ point));
        recovered_twice(left, seed + point)
            .and_then(|found| promises.check(&found, *kind))
            .map_err(|why| format!("seed {seed}, crash point {point}, {kind:?}: {why}"))?;
    }
    Ok(())
}

fn points(seed: u64) -> u64 {
    let (_, world) = run(seed, DiskImage::with_dir(&data_dir()), None, false);
    world.disk().ops()
}

const CRASHES: [Crash; 4] = [Crash::KeepNothing, Crash::KeepAll, Crash::KeepSome, Crash::Tear];

#[test]
fn nothing_promised_is_lost_at_any_crash_point() {
    let seed = 1;
    let last = points(seed);
    assert!(last > 300, "the script makes only {last} calls");
    for point in 1..=last {
        assert_eq!(crash(seed, point, &CRASHES, false), Ok(()));
    }
}

#[test]
fn other_seeds_order_the_same_run_differently() {
    for seed in 2..30 {
        let last = points(seed);
        let mut random = SimRandom::new(seed);
        for _ in 0..10 {
            let point = 1 + random.below(last);
            assert_eq!(crash(seed, point, &CRASHES, false), Ok(()));
        }
    }
}

#[test]
fn a_disk_that_lies_about_flushes_is_found_out() {
    let seed = 1;
    let last = points(seed);
    let found_out = (1..=last)
        .step_by(7)
        .filter(|point| crash(seed, *point, &[Crash::KeepNothing], true).is_err())
        .count() as u64;
    assert!(found_out * 2 > last / 7, "only {found_out} of {} points went red", last / 7);
}

#[test]
fn a_crash_inside_recovery_is_repaired_by_the_next_one() {
    let seed = 3;
    let last = points(seed);
    for point in (1..=last).step_by(9) {
        let (promises, world) = run(seed, DiskImage::with_dir(&data_dir()), Some(point), false);
        let mut random = SimRandom::new(point);
        let image = world.disk().image().crashed(Crash::KeepSome, &mut random);
        // As many calls as a whole recovery makes.
        let whole = SimWorld::new(seed, image.clone());
        check::recover_in(&whole, 1).unwrap_or_else(|e| panic!("point {point}: {e}"));
        for kind in CRASHES {
            let again = SimWorld::new(seed, image.clone());
            let at = 1 + random.below(whole.disk().ops());
            again.disk().halt_at(at);
            let _ = check::recover_in(&again, 1);
            let image = again.disk().image().crashed(kind, &mut random);
            let judged = recovered_twice(image, point)
                .and_then(|found| promises.check(&found, Crash::KeepSome));
            if let Err(why) = judged {
                panic!("seed {seed}, point {point}, recovery halted at {at}, {kind:?}: {why}");
            }
        }
    }
}

#[test]
fn flushed_bytes_that_rot_put_the_log_offline_and_are_never_cut_off() {
    let (promises, world) = run(5, DiskImage::with_dir(&data_dir()), None, false);
    let last = world.disk().ops();
    drop((promises, world));
    let mut noticed = 0;
    for point in (last / 2..last).step_by(5) {
        let (promises, world) = run(5, DiskImage::with_dir(&data_dir()), Some(point), false);
        let mut image = world.disk().image().crashed(Crash::KeepNothing, &mut SimRandom::new(1));
        for path in image.find(".log") {
            let Some(content) = image.content(&path) else { continue };
            for at in (100..content.len() as u64).step_by(16 << 10) {
                image.damage(Path::new(&path), at);
            }
        }
        let rotten = SimWorld::new(7, image);
        let Ok(found) = check::recover_in(&rotten, 1) else { continue };
        noticed += found.logs.values().filter(|log| log.broken).count();
        for (id, log) in &found.logs {
            let promised = promises.known_flushed_of(id);
            assert!(
                log.broken || log.end_offset >= promised,
                "log {id:?} was cut to {} below {promised} at point {point}",
                log.end_offset
            );
        }
    }
    assert!(noticed > 0, "no damage was noticed at any point");
}

/// Damage all logs, or undo that where it still shows.
fn rot(image: &mut DiskImage, right: &DiskImage, undo: bool) {
    for path in image.find(".log") {
        let (Some(before), Some(now)) = (right.content(&path), image.content(&path)) else {
            continue;
        };
        for at in (100..before.len().min(now.len())).step_by(16 << 10) {
            if !undo || now[at] != before[at] {
                image.damage(&path, at as u64);
            }
        }
    }
}

#[test]
fn a_log_that_is_offline_is_whole_again_when_its_files_are() {
    let last = points(5);
    let mut healed = 0;
    for point in (last / 2..last).step_by(5) {
        let (_, world) = run(5, DiskImage::with_dir(&data_dir()), Some(point), false);
        let right = world.disk().image().crashed(Crash::KeepNothing, &mut SimRandom::new(1));
        let expected = check::recover_in(&SimWorld::new(6, right.clone()), 1).expect("a start");
        let mut image = right.clone();
        rot(&mut image, &right, false);
        let mut offline = Vec::new();
        // Twice: what is kept stays kept.
        for seed in 7..9 {
            let rotten = SimWorld::new(seed, image.clone());
            let Ok(found) = check::recover_in(&rotten, 1) else { break };
            image = rotten.disk().image().crashed(Crash::KeepNothing, &mut SimRandom::new(seed));
            offline.extend(found.logs.into_iter().filter(|(_, log)| log.broken).map(|(id, _)| id));
        }
        rot(&mut image, &right, true);
        healed += usize::from(!image.find("KEEP").is_empty());
        let world = SimWorld::new(9, image);
        let found = check::recover_in(&world, 1).expect("a start on files that are right");
        for id in offline {
            assert_eq!(found.logs[&id], expected.logs[&id], "log {id:?} at point {point}");
        }
        assert!(world.disk().image().find("KEEP").is_empty(), "at point {point}");
    }
    assert!(healed > 0, "no log was offline at any point");
}
