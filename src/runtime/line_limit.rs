//! How many log lines of one kind are written: a flood of events must not become one of lines.

use std::cell::Cell;
use std::time::Duration;

/// Log lines of one kind that a shard writes each second.
const LINES_PER_SECOND: u32 = 5;

/// Keeps a flood of like events from becoming a flood of log lines.
#[derive(Debug, Default)]
pub struct LineLimit {
    second: Cell<u64>,
    written: Cell<u32>,
    unsaid: Cell<u64>,
}

impl LineLimit {
    /// Whether a line may be written now; how many were not since the last one.
    pub fn may_log(&self, now: Duration) -> Option<u64> {
        if self.second.replace(now.as_secs()) != now.as_secs() {
            self.written.set(0);
        }
        if self.written.get() >= LINES_PER_SECOND {
            self.unsaid.set(self.unsaid.get() + 1);
            return None;
        }
        self.written.set(self.written.get() + 1);
        Some(self.unsaid.take())
    }
}
