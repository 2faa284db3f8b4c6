//! The broker's runtime: one glommio executor per shard.
//!
//! Owns the three task queues of a shard and its clock. Must be created on the executor's own
//! thread, before anything else opens a file there (see `disk::dma` for why).

use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::glommio::{Latency, Shares, TaskQueueHandle};

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
    network: TaskQueueHandle,
    log: TaskQueueHandle,
    background: TaskQueueHandle,
}

impl GlommioRuntime {
    /// Prepare the executor this runs on: task queues, and direct I/O on the device that holds
    /// `data_dir` (created if missing).
    ///
    /// # Errors
    /// When the directory cannot be created, written or read back.
    pub async fn start(data_dir: &Path) -> Result<Self, DiskError> {
        let disk = DmaDisk::start(data_dir).await?;
        let executor = ::glommio::executor();
        // Background gets an eleventh of the core when all three are busy. None is given a
        // preemption interval: nothing asks `need_preempt`, so its timer would be armed for
        // nothing. (Three interleaved pairs gave 9 to 17 % less CPU a small request; the two
        // builds differed in more than this, on a loaded machine, so take the sign only.)
        let latency = Latency::NotImportant;
        Ok(Self {
            inner: Rc::new(Inner {
                disk,
                started: Instant::now(),
                network: executor.create_task_queue(Shares::Static(500), latency, "network"),
                log: executor.create_task_queue(Shares::Static(500), latency, "log"),
                background: executor.create_task_queue(Shares::Static(100), latency, "background"),
            }),
        })
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

    fn spawn(&self, queue: Queue, task: impl Future<Output = ()> + 'static) {
        let queue = match queue {
            Queue::Network => self.inner.network,
            Queue::Log => self.inner.log,
            Queue::Background => self.inner.background,
        };
        ::glommio::spawn_local_into(task, queue)
            .expect("the task queues live as long as their executor")
            .detach();
    }
}
