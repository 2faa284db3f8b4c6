//! How many log lines of one kind are written: a flood of events must not become one of lines.

use std::cell::Cell;
use std::time::Duration;

/// Keeps a flood of like events from becoming a flood of log lines. By default five a second.
#[derive(Debug)]
pub struct LineLimit {
    lines: u32,
    period: Duration,
    /// When the period under way began.
    began: Cell<Option<Duration>>,
    written: Cell<u32>,
    unsaid: Cell<u64>,
}

impl Default for LineLimit {
    fn default() -> Self {
        Self::new(5, Duration::from_secs(1))
    }
}

impl LineLimit {
    /// At most `lines` in each `period`.
    pub fn new(lines: u32, period: Duration) -> Self {
        let (began, written, unsaid) = Default::default();
        Self { lines, period, began, written, unsaid }
    }

    /// Whether a line may be written now; how many were not since the last one.
    pub fn may_log(&self, now: Duration) -> Option<u64> {
        if self.began.get().is_none_or(|began| now >= began + self.period) {
            self.began.set(Some(now));
            self.written.set(0);
        }
        if self.written.get() >= self.lines {
            self.unsaid.set(self.unsaid.get() + 1);
            return None;
        }
        self.written.set(self.written.get() + 1);
        Some(self.unsaid.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_so_many_lines_and_says_how_many_it_left_out() {
        let limit = LineLimit::new(2, Duration::from_secs(10));
        let said = [3, 4, 5, 12, 13, 14].map(|at| limit.may_log(Duration::from_secs(at)));
        assert_eq!(said, [Some(0), Some(0), None, None, Some(2), Some(0)]);
    }
}
