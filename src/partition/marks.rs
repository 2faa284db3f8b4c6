//! The marks of a partition and the order between them. This is the only place that moves them.
//!
//! ```text
//!  log start <= high watermark <= written end <= log end
//!                 flushed end  <= written end
//! ```
//! The log itself knows its start and end. Here are the two ends that group commits move and
//! the high watermark that follows from them: **the lower of the written end and the first
//! acks=all batch that is not yet flushed**. So nothing a consumer could read is lost by less
//! than its producer was promised.

use std::collections::VecDeque;

use crate::model::Offset;

/// Written end, flushed end, and the batches that hold the high watermark back.
#[derive(Debug)]
pub struct Marks {
    written: Offset,
    flushed: Offset,
    high_watermark: Offset,
    /// (base, end) of acks=all batches in append order that are not flushed yet. Bounded by the
    /// bytes that may be in flight.
    unflushed: VecDeque<(Offset, Offset)>,
}

impl Marks {
    /// Everything found at recovery is flushed: recovery flushes before it lets anybody read.
    pub fn recovered(start: Offset, end: Offset) -> Self {
        assert!(start <= end, "log start {start} is behind log end {end}");
        Self { written: end, flushed: end, high_watermark: end, unflushed: VecDeque::new() }
    }

    /// A batch `[base, end)` was taken whose producer was promised a flush.
    pub fn promise_flush(&mut self, base: Offset, end: Offset) {
        assert!(base < end && self.unflushed.back().is_none_or(|(_, last)| *last <= base));
        self.unflushed.push_back((base, end));
    }

    /// Whether a promise of flush for a batch that ends at `end` is still open.
    pub fn owes_flush(&self, end: Offset) -> bool {
        self.unflushed.binary_search_by_key(&end, |(_, e)| *e).is_ok()
    }

    /// Take a group commit's progress; true if the high watermark moved.
    pub fn progress(&mut self, written: Offset, flushed: Offset) -> bool {
        assert!(
            written >= self.written && flushed >= self.flushed && flushed <= written,
            "progress went backwards: written {} -> {written}, flushed {} -> {flushed}",
            self.written,
            self.flushed
        );
        self.written = written;
        self.flushed = flushed;
        while self.unflushed.front().is_some_and(|(_, end)| *end <= flushed) {
            self.unflushed.pop_front();
        }
        let mark = self.unflushed.front().map_or(written, |(base, _)| written.min(*base));
        assert!(mark >= self.high_watermark, "high watermark {} -> {mark}", self.high_watermark);
        let advanced = mark > self.high_watermark;
        self.high_watermark = mark;
        advanced
    }

    /// The end of what readers may see.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The end of what survives a kill of the process.
    pub fn written(&self) -> Offset {
        self.written
    }

    /// The end of what survives a power cut.
    pub fn flushed(&self) -> Offset {
        self.flushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_watermark_stops_at_the_first_unflushed_promise() {
        let mut marks = Marks::recovered(0, 10);
        marks.promise_flush(15, 20); // 10..15 was acks=1
        assert!(marks.progress(25, 10));
        assert_eq!(marks.high_watermark(), 15, "acks=1 in front is visible, acks=all is not");
        assert!(!marks.progress(30, 14));
        assert!(marks.owes_flush(20) && !marks.owes_flush(15));
        assert!(marks.progress(30, 20));
        assert_eq!(marks.high_watermark(), 30);
    }

    #[test]
    #[should_panic(expected = "progress went backwards")]
    fn progress_never_goes_back() {
        Marks::recovered(0, 10).progress(9, 9);
    }
}
