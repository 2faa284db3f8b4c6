//! Which part of a log a cleaning takes, whether it is worth it, and which segments become one.
//!
//! Kafka's rules (`LogCleanerManager.cleanableOffsets`, `Cleaner.groupSegmentsBySize`).

use std::ops::Range;

use crate::model::{Offset, TimestampMs};
use crate::storage::SegmentInfo;
use crate::storage::segment::ages_from;

/// Segments that one step replaces: what it may hold of files and of a journal entry.
const GROUP_SEGMENTS_MAX: usize = 64;

/// What a topic's configuration says about the compaction of its logs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compaction {
    /// `min.cleanable.dirty.ratio`
    pub dirty_ratio_min: f64,
    /// `min.compaction.lag.ms`
    pub lag_ms_min: i64,
    /// `max.compaction.lag.ms`; `i64::MAX` is never.
    pub lag_ms_max: i64,
    /// `delete.retention.ms`
    pub delete_retention_ms: i64,
}

/// How much of a log waits to be cleaned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dirt {
    /// First offset that no cleaning has looked at.
    pub from: Offset,
    /// Base of the first segment that may not be cleaned now.
    pub until: Offset,
    /// Bytes of the segments from the first dirty one to there.
    pub dirty_bytes: u64,
    /// Bytes of the segments before.
    pub clean_bytes: u64,
}

impl Dirt {
    /// Dirty share of the bytes that may be cleaned, from 0 to 1.
    pub fn ratio(&self) -> f64 {
        let total = self.dirty_bytes + self.clean_bytes;
        if total == 0 { 0.0 } else { self.dirty_bytes as f64 / total as f64 }
    }

    /// Look at the segments of a log, the active one last, of which everything below
    /// `cleaned_to` was cleaned before and everything below `stable_end` will not change.
    pub(crate) fn of(
        segments: &[SegmentInfo],
        cleaned_to: Offset,
        stable_end: Offset,
        compaction: &Compaction,
        now_ms: TimestampMs,
    ) -> Self {
        let ends = || segments.iter().skip(1).map(|next| next.base_offset);
        let dirty_first = ends().take_while(|end| *end <= cleaned_to).count();
        let is_too_young = |segment: &SegmentInfo| {
            compaction.lag_ms_min > 0
                && ages_from(segment.max_timestamp)
                    .is_some_and(|newest| newest > now_ms.saturating_sub(compaction.lag_ms_min))
        };
        let allowed = segments.iter().zip(ends()).enumerate().take_while(|(number, it)| {
            it.1 <= stable_end && (*number < dirty_first || !is_too_young(it.0))
        });
        let count = allowed.count();
        let bytes = |range: Range<usize>| {
            segments.get(range).unwrap_or_default().iter().map(|s| s.bytes).sum()
        };
        Self {
            from: cleaned_to,
            until: segments.get(count).map_or(0, |s| s.base_offset).max(cleaned_to),
            dirty_bytes: bytes(dirty_first.min(count)..count),
            clean_bytes: bytes(0..dirty_first.min(count)),
        }
    }
}

/// The segments below `end` (of `segments`, of which the last one is behind them) in runs that
/// become one segment each: neither larger than `segment_bytes` nor further apart than an index
/// can say.
pub(crate) fn groups(
    segments: &[SegmentInfo],
    end: Offset,
    segment_bytes: u64,
) -> Vec<Range<usize>> {
    let count = segments.iter().take_while(|segment| segment.base_offset < end).count();
    let count = count.min(segments.len().saturating_sub(1));
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut bytes, mut base) = (0, 0);
    for (number, pair) in segments.windows(2).take(count).enumerate() {
        let [segment, next] = pair else { continue };
        let joins = groups.last().is_some_and(|group| {
            group.len() < GROUP_SEGMENTS_MAX
                && bytes + segment.bytes <= segment_bytes
                && next.base_offset - 1 - base <= i64::from(i32::MAX)
        });
        match groups.last_mut() {
            Some(group) if joins => {
                group.end = number + 1;
                bytes += segment.bytes;
            }
            _ => {
                groups.push(number..number + 1);
                (bytes, base) = (segment.bytes, segment.base_offset);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::segment::grown_at;

    const RULES: Compaction = Compaction {
        dirty_ratio_min: 0.5,
        lag_ms_min: 0,
        lag_ms_max: i64::MAX,
        delete_retention_ms: 0,
    };

    fn segments(list: &[(Offset, u64, TimestampMs)]) -> Vec<SegmentInfo> {
        let info = |(base_offset, bytes, max_timestamp): &(Offset, u64, TimestampMs)| SegmentInfo {
            base_offset: *base_offset,
            bytes: *bytes,
            max_timestamp: *max_timestamp,
        };
        list.iter().map(info).collect()
    }

    #[test]
    fn the_active_segment_the_unstable_end_and_the_young_are_left_alone() {
        let all = segments(&[(0, 100, 10), (50, 60, 20), (80, 40, 30), (90, 7, 40)]);
        let dirt = Dirt::of(&all, 0, 1000, &RULES, 100);
        assert_eq!((dirt.from, dirt.until, dirt.dirty_bytes, dirt.clean_bytes), (0, 90, 200, 0));
        let dirt = Dirt::of(&all, 50, 89, &RULES, 100);
        assert_eq!((dirt.until, dirt.dirty_bytes, dirt.clean_bytes), (80, 60, 100));
        assert!((dirt.ratio() - 0.375).abs() < 1e-9);
        // Cleaned into the middle of a segment: that one is dirty.
        let dirt = Dirt::of(&all, 60, 1000, &RULES, 100);
        assert_eq!((dirt.from, dirt.until, dirt.dirty_bytes, dirt.clean_bytes), (60, 90, 100, 100));
        let young = Compaction { lag_ms_min: 75, ..RULES };
        let dirt = Dirt::of(&all, 0, 1000, &young, 100);
        assert_eq!((dirt.until, dirt.dirty_bytes), (80, 160), "30 is later than 100 - 75");
        // Without timestamps the time of the last append counts.
        let untimed = [(0, 100, grown_at(25)), (50, 60, grown_at(26)), (90, 7, -1)];
        let dirt = Dirt::of(&segments(&untimed), 0, 1000, &young, 100);
        assert_eq!((dirt.until, dirt.dirty_bytes), (50, 100), "26 is later than 100 - 75");
        // What was cleaned once may be cleaned again whatever its age.
        let dirt = Dirt::of(&all, 90, 1000, &young, 0);
        assert_eq!((dirt.until, dirt.dirty_bytes, dirt.clean_bytes), (90, 0, 200));
        assert!(dirt.ratio() == 0.0);
    }

    /// Where each group ends; the next one begins there.
    fn ends(segments: &[SegmentInfo], end: Offset, segment_bytes: u64) -> Vec<usize> {
        let groups = groups(segments, end, segment_bytes);
        let mut next = 0;
        for group in &groups {
            assert_eq!(group.start, next);
            next = group.end;
        }
        groups.iter().map(|group| group.end).collect()
    }

    #[test]
    fn groups_are_bounded_by_bytes_and_by_offsets() {
        let all = segments(&[(0, 40, 0), (10, 50, 0), (20, 30, 0), (30, 200, 0), (40, 1, 0)]);
        assert_eq!(ends(&all, 40, 100), [2, 3, 4]);
        assert_eq!(ends(&all, 25, 1000), [3], "the segment that 25 lies in goes along");
        assert_eq!(ends(&all, 1000, 1000), [4], "never the last one");
        assert!(ends(&all, 0, 1000).is_empty());
        let far = i64::from(i32::MAX);
        let apart = segments(&[(5, 1, 0), (10, 1, 0), (far + 6, 1, 0), (far + 9, 1, 0)]);
        assert_eq!(ends(&apart, far + 9, 1000), [2, 3]);
        let many: Vec<_> = (0..200).map(|i| (i, 1, 0)).collect();
        assert_eq!(ends(&segments(&many), 199, 1000), [64, 128, 192, 199]);
    }
}
