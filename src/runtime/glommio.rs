//! The broker's runtime: one glommio executor per shard.
//!
//! Owns a shard's ring, its tasks and its clock. Must be created on the executor's own thread.

use std::future::Future;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_channel::oneshot;

use super::core::{Core, CoreUse};
use super::ring::Ring;
use super::tasks::Tasks;
use super::{Queue, Runtime};
use crate::disk::DiskError;
use crate::disk::dma::DmaDisk;
use crate::model::TimestampMs;

/// What a shard on a glommio executor has of the world.
#[derive(Clone)]
pub struct GlommioRuntime {
    inner: Rc<Inner>,
}

struct Inner {
    disk: DmaDisk,
    started: Instant,
    ring: Rc<Ring>,
    tasks: Rc<Tasks>,
}

/// Why there can be no io_uring for `whom`, and what to do about it.
pub fn no_ring(whom: &str, error: &io::Error) -> String {
    let fix = match error.raw_os_error() {
        Some(libc::ENOMEM) => {
            "the limit of locked memory is used up, by this broker or by other processes of the \
             same user: raise it (ulimit -l unlimited, LimitMEMLOCK=infinity), or start fewer \
             --shards"
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "no descriptors are left: raise the limit (ulimit -n, LimitNOFILE)"
        }
        _ => "`thalweg serve --check` looks for the cause",
    };
    format!("cannot open a {whom}: {error}; {fix}")
}

impl GlommioRuntime {
    /// Prepare the executor this runs on: its ring and tasks, and direct I/O on the device that
    /// holds `data_dir` (created if missing).
    ///
    /// # Errors
    /// When there can be no ring, or the directory cannot be created, written or read back.
    pub async fn start(data_dir: &Path, core: Core) -> Result<Self, DiskError> {
        let ring = Ring::open().map_err(|e| DiskError::Failed(no_ring("shard's ring", &e)))?;
        let tasks = Tasks::new(Rc::clone(&ring), core);
        let errands = tasks.errands().clone();
        let driving = Rc::clone(&tasks).drive();
        ::glommio::spawn_local(async move {
            // Without it the shard would stand still, which nobody would notice.
            driving.await.expect("the shard's ring answers");
        })
        .detach();
        let disk = DmaDisk::start(data_dir, Rc::clone(&ring), errands).await?;
        Ok(Self { inner: Rc::new(Inner { disk, started: Instant::now(), ring, tasks }) })
    }

    /// The shard's own ring.
    pub fn ring(&self) -> &Rc<Ring> {
        &self.inner.ring
    }

    /// The shard serves from now on: what it waits for goes through its own ring.
    pub fn settle(&self) {
        self.inner.tasks.settle();
    }

    /// Run `work` as one of the shard's tasks. What is awaited outside of them has to wait until
    /// glommio's turn comes.
    pub async fn enter<T: 'static>(&self, work: impl Future<Output = T> + 'static) -> T {
        let (done, result) = oneshot::channel();
        self.spawn(Queue::Network, async move {
            let _ = done.send(work.await);
        });
        result.await.expect("the shard's tasks live as long as it runs")
    }
}

impl Runtime for GlommioRuntime {
    type Disk = DmaDisk;

    fn disk(&self) -> &DmaDisk {
        &self.inner.disk
    }

    fn now(&self) -> Duration {
        self.inner.started.elapsed()
    }

    fn wall_ms(&self) -> TimestampMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimestampMs::try_from(since.as_millis()).unwrap_or(TimestampMs::MAX)
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        ::glommio::timer::sleep(duration)
    }

    fn core(&self) -> CoreUse {
        let tasks = &self.inner.tasks;
        CoreUse { longest_turn: tasks.longest_turn(), ..tasks.core().used() }
    }

    fn spawn(&self, queue: Queue, task: impl Future<Output = ()> + 'static) {
        self.inner.tasks.spawn(queue, task);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::disk::{Disk, DiskFile};

    const TMP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target");

    /// Whether an errand is under way while `work` waits for its end.
    async fn is_errand(runtime: &GlommioRuntime, work: impl Future<Output = ()>) -> bool {
        let mut work = std::pin::pin!(work);
        assert!((&mut work).now_or_never().is_none(), "it waits");
        let is_under_way = runtime.inner.tasks.errands().are_under_way();
        work.await;
        assert!(!runtime.inner.tasks.errands().are_under_way(), "it is over");
        is_under_way
    }

    #[test]
    fn what_is_done_in_glommio_is_an_errand_until_it_is_done() {
        let dir = tempfile::tempdir_in(TMP).unwrap();
        ::glommio::LocalExecutor::default().run(async {
            let runtime = GlommioRuntime::start(dir.path(), Core::fixed()).await.unwrap();
            let disk = runtime.disk();
            let (inner, path) = (dir.path().join("inner"), dir.path().join("file"));
            assert!(is_errand(&runtime, async { disk.create_dir(&inner).await.unwrap() }).await);
            // The shard's own ring answers without glommio.
            let opened = async { drop(disk.open(&path, true).await.unwrap()) };
            assert!(!is_errand(&runtime, opened).await);
            let file = disk.open(&path, false).await.unwrap();
            assert!(!is_errand(&runtime, async { file.allocate(4096).await.unwrap() }).await);
            assert!(is_errand(&runtime, async { file.truncate(512).await.unwrap() }).await);
            assert!(!is_errand(&runtime, async { file.flush().await.unwrap() }).await);
        });
    }

    /// Retention renames and removes files that a slow consumer's fetch is about to open.
    #[test]
    fn a_file_whose_name_goes_away_while_it_is_opened_is_there_or_it_is_not() {
        let dir = tempfile::tempdir_in(TMP).unwrap();
        let (here, gone) = (dir.path().join("here"), dir.path().join("gone"));
        std::fs::write(&here, [0; 4096]).unwrap();
        ::glommio::LocalExecutor::default().run(async {
            let runtime = GlommioRuntime::start(dir.path(), Core::fixed()).await.unwrap();
            let path = here.clone();
            let renaming = std::thread::spawn(move || {
                for _ in 0..100_000 {
                    std::fs::rename(&here, &gone).unwrap();
                    std::fs::rename(&gone, &here).unwrap();
                }
            });
            let (mut there, mut missing) = (0, 0);
            while !renaming.is_finished() {
                match runtime.disk().open(&path, false).await {
                    Ok(_) => there += 1,
                    Err(DiskError::NotFound(_)) => missing += 1,
                    Err(other) => panic!("{other:?}"),
                }
            }
            renaming.join().unwrap();
            assert!(there > 0 && missing > 0, "{there} times there, {missing} times not");
        });
    }
}
