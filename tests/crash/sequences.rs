//! Random operations against a model, with crashes in between.

use std::rc::Rc;
use std::time::Duration;

use thalweg::disk::sim::{Crash, DiskImage};
use thalweg::model::TopicPartition;
use thalweg::runtime::Runtime;
use thalweg::runtime::sim::{SimRandom, SimRuntime, SimWorld};
use thalweg::storage::{Log, Store, StoreStatus, recover};

use crate::check::{Promises, log_config, owner, recovered_twice};
use crate::script::{append, create, id, written};
use crate::{config, data_dir};

/// Random appends, starts, retention, deletions and pauses on three partitions.
async fn operations(runtime: SimRuntime, promises: Rc<Promises>, seed: u64, count: usize) {
    let mut random = SimRandom::new(seed);
    let Ok(mut starts) = recover(&runtime, &config(), 1, &owner(1)).await else { return };
    let Ok(store) = Store::open(runtime.clone(), config(), starts.remove(0)).await else { return };
    let mut logs: Vec<Option<Rc<Log<SimRuntime>>>> = vec![None, None, None];
    for _ in 0..count {
        let number = usize::try_from(random.below(3)).unwrap();
        let id: TopicPartition = id(i32::try_from(number).unwrap());
        let Some(log) = logs[number].clone() else {
            logs[number] = create(&store, &promises, id).await.ok();
            continue;
        };
        let life = promises.life(&id);
        match random.below(40) {
            0..30 => {
                let top = [300, 5000, 9000, 40_000][usize::try_from(random.below(4)).unwrap()];
                let len = usize::try_from(61 + random.below(top)).unwrap();
                let fill = u8::try_from(random.below(250)).unwrap();
                append(&log, &life, len, fill, random.below(3) == 0).await;
            }
            30 => {
                life.delete_begun.set(true);
                if store.delete_log(id).await.is_ok() {
                    life.delete_done.set(true);
                    logs[number] = None;
                }
            }
            31 => {
                let start = log.start_offset();
                let to = start + i64::try_from(random.below(20)).unwrap();
                let to = to.min(log.flushed_offset());
                life.start_begun.set(to.max(start));
                if log.set_start_offset(to).await.is_ok() {
                    life.start_done.set(to.max(start));
                }
            }
            32 => {
                let mut config = log_config();
                config.segment_bytes = 30_000 + random.below(100_000);
                log.set_config(config);
            }
            _ => runtime.sleep(Duration::from_micros(random.below(3000))).await,
        }
    }
}

#[test]
fn random_operations_and_a_crash_agree_with_the_model() {
    for seed in 0..150 {
        let end = {
            let world = SimWorld::new(seed, DiskImage::with_dir(&data_dir()));
            let promises = Rc::new(Promises::default());
            world.run(operations(world.runtime(), promises, seed, 120));
            world.disk().ops()
        };
        let mut random = SimRandom::new(seed ^ 0x5eed);
        for crash in [Crash::KeepNothing, Crash::KeepAll, Crash::KeepSome, Crash::Tear] {
            let world = SimWorld::new(seed, DiskImage::with_dir(&data_dir()));
            let point = 1 + random.below(end);
            world.disk().halt_at(point);
            let promises = Rc::new(Promises::default());
            world.run(operations(world.runtime(), Rc::clone(&promises), seed, 120));
            let image = world.disk().image().crashed(crash, &mut random);
            let judged = recovered_twice(image, seed).and_then(|f| promises.check(&f, crash));
            if let Err(why) = judged {
                panic!("seed {seed}, crash point {point} of {end}, {crash:?}: {why}");
            }
        }
    }
}

#[test]
fn a_failed_write_or_flush_takes_the_store_offline_and_loses_nothing_flushed() {
    for seed in 0..60 {
        let mut random = SimRandom::new(seed);
        let world = SimWorld::new(seed, DiskImage::with_dir(&data_dir()));
        world.disk().fail_at(40 + random.below(200));
        let promises = Rc::new(Promises::default());
        world.run(operations(world.runtime(), Rc::clone(&promises), seed, 120));
        let image = world.disk().image().crashed(Crash::KeepNothing, &mut random);
        let judged =
            recovered_twice(image, seed).and_then(|f| promises.check(&f, Crash::KeepNothing));
        if let Err(why) = judged {
            panic!("seed {seed}: {why}");
        }
    }
}

/// Append until storage says that space is missing; how many were taken.
async fn fill(log: &Rc<Log<SimRuntime>>, life: &crate::check::Life) -> usize {
    let mut taken = 0;
    while append(log, life, 12_000, 9, false).await {
        taken += 1;
    }
    taken
}

#[test]
fn a_full_disk_refuses_appends_until_records_are_deleted_and_loses_nothing() {
    for seed in 0..10 {
        let world = SimWorld::new(seed, DiskImage::with_dir(&data_dir()));
        world.disk().set_capacity(6 << 20);
        let runtime = world.runtime();
        let promises = Rc::new(Promises::default());
        let kept = Rc::clone(&promises);
        world.run(async move {
            let mut starts = recover(&runtime, &config(), 1, &owner(1)).await.unwrap();
            let store = Store::open(runtime.clone(), config(), starts.remove(0)).await.unwrap();
            let log = create(&store, &kept, id(0)).await.unwrap();
            let other = create(&store, &kept, id(1)).await.unwrap();
            let (life, other_life) = (kept.life(&id(0)), kept.life(&id(1)));
            assert!(append(&other, &other_life, 500, 3, true).await);
            let taken = fill(&log, &life).await;
            assert!(taken > 50, "only {taken} appends fitted");
            assert!(matches!(store.status(), StoreStatus::Full(_)), "{:?}", store.status());
            // Deleting works on the full disk, and makes room.
            let start = log.segments().last().unwrap().base_offset;
            life.start_begun.set(start);
            log.set_start_offset(start).await.unwrap();
            life.start_done.set(start);
            assert!(append(&log, &life, 12_000, 10, true).await, "room after deleting");
            assert!(fill(&log, &life).await > 10);
            written(&log, &life).await;
        });
        let image = world.disk().image().crashed(Crash::KeepAll, &mut SimRandom::new(seed));
        let judged = recovered_twice(image, seed).and_then(|f| promises.check(&f, Crash::KeepAll));
        assert_eq!(judged, Ok(()), "seed {seed}");
    }
}
