//! The seams clock, sleep and spawn. Everything below `shard` that waits or runs beside
//! something else does it through [`Runtime`], so that a whole shard runs on glommio in the
//! broker and deterministically from a seed in the simulation.

pub mod core;
pub mod errands;
pub mod glommio;
mod line_limit;
pub mod ring;
pub mod sim;
pub mod tasks;
pub mod wait;

use std::future::Future;
use std::time::Duration;

pub use self::core::CoreUse;
pub use line_limit::LineLimit;

use crate::disk::Disk;
use crate::model::TimestampMs;

/// Which of a shard's task queues a task belongs to; the runtime shares the core between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Requests and answers: latency matters.
    Network,
    /// Journal, segment writes and flushes: what an acknowledgement waits for.
    Log,
    /// Retention, checkpoints, index writing: whatever may wait.
    Background,
}

/// What a shard may ask of the world besides the network.
pub trait Runtime: Clone + 'static {
    /// The files of this runtime.
    type Disk: Disk;

    /// The disk seam.
    fn disk(&self) -> &Self::Disk;

    /// Monotonic time since an arbitrary fixed point in this process.
    fn now(&self) -> Duration;

    /// Wall-clock time; may jump, so it never decides a timeout.
    fn wall_ms(&self) -> TimestampMs;

    /// Complete after at least `duration`.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static;

    /// What became of the shard's core.
    fn core(&self) -> CoreUse;

    /// Run `task` to its end beside everything else on this shard.
    fn spawn(&self, queue: Queue, task: impl Future<Output = ()> + 'static);
}
