//! A rate that changes: stages one behind the other, each constant or a straight ramp. The
//! number of records due by a time is the area under the rate; an intended time is its inverse.

use serde::{Deserialize, Serialize};

/// A stretch of time with a rate that stays or changes evenly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Records per second at its begin.
    pub from: f64,
    /// Records per second at its end.
    pub to: f64,
    /// Its length.
    pub seconds: f64,
}

impl Stage {
    /// The same rate for `seconds`.
    pub fn steady(rate: f64, seconds: f64) -> Self {
        Self { from: rate, to: rate, seconds }
    }

    /// Records due in the whole stage.
    pub fn records(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.seconds
    }

    /// Seconds into the stage until `records` are due. Written so that no two nearly equal
    /// numbers are subtracted, whichever way the ramp goes.
    fn time_of(&self, records: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        let root = (self.from * self.from + 2.0 * slope * records).max(0.0).sqrt();
        let divisor = self.from + root;
        if divisor > 0.0 { (2.0 * records / divisor).min(self.seconds) } else { 0.0 }
    }

    /// Records due in its first `seconds`.
    pub fn records_at(&self, seconds: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        self.from * seconds + slope * seconds * seconds / 2.0
    }
}

/// Stages laid out in time.
#[derive(Clone, Debug)]
pub struct Staged {
    start_ns: u64,
    phase: f64,
    count: u64,
    /// Each stage with the seconds and the records before it.
    stages: Vec<(Stage, f64, f64)>,
}

impl Staged {
    /// From `start_ns` on; records of the last stage may be due until before `end_ns`.
    pub fn new(start_ns: u64, end_ns: u64, stages: &[Stage], phase: f64) -> Self {
        let (mut seconds, mut records) = (0.0, 0.0);
        let mut laid = Vec::with_capacity(stages.len());
        for stage in stages {
            laid.push((*stage, seconds, records));
            seconds += stage.seconds;
            records += stage.records();
        }
        let mut staged = Self { start_ns, phase, count: records.ceil() as u64, stages: laid };
        staged.count = if end_ns > start_ns { staged.due(end_ns - 1) } else { 0 };
        staged
    }

    /// How many records there are in all.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// When `records` (any number, not only whole ones) are due.
    pub fn time_of(&self, records: f64) -> u64 {
        let at = self.stages.partition_point(|(_, _, before)| *before <= records);
        let Some((stage, seconds, before)) = self.stages.get(at.saturating_sub(1)) else {
            return self.start_ns;
        };
        // Beyond the last stage time goes on, so that the caller sees an end that is over.
        let beyond = (records - before - stage.records()).max(0.0);
        let inside = seconds + stage.time_of(records - before) + beyond;
        self.start_ns + (inside * 1e9) as u64
    }

    /// Intended time of record `index`.
    #[inline]
    pub fn intended_ns(&self, index: u64) -> u64 {
        self.time_of(index as f64 + self.phase)
    }

    /// How many records have an intended time at or before `now_ns`.
    pub fn due(&self, now_ns: u64) -> u64 {
        let Some(passed) = now_ns.checked_sub(self.start_ns) else { return 0 };
        let passed = passed as f64 / 1e9;
        let at = self.stages.partition_point(|(_, seconds, _)| *seconds <= passed);
        let Some((stage, seconds, before)) = self.stages.get(at.saturating_sub(1)) else {
            return 0;
        };
        let area = before + stage.records_at((passed - seconds).min(stage.seconds));
        // An estimate to within rounding; the exact answer is the inverse of intended times.
        let mut due = (area - self.phase).max(0.0) as u64;
        while due < self.count && self.intended_ns(due) <= now_ns {
            due += 1;
        }
        while due > 0 && self.intended_ns(due - 1) > now_ns {
            due -= 1;
        }
        due.min(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_ramp_offers_the_area_below_it_and_its_rate_is_right_everywhere() {
        let ramp = [Stage { from: 0.0, to: 2000.0, seconds: 10.0 }];
        let staged = Staged::new(SECOND, 11 * SECOND, &ramp, 0.0);
        assert_eq!(staged.count(), 10_000);
        for second in 0..10 {
            let rate = staged.due((second + 2) * SECOND) - staged.due((second + 1) * SECOND);
            assert!(rate.abs_diff(second * 200 + 100) <= 1, "second {second}: {rate}");
        }
        let down = [Stage { from: 2000.0, to: 0.0, seconds: 10.0 }];
        let staged = Staged::new(0, 10 * SECOND, &down, 0.0);
        assert!(staged.due(SECOND).abs_diff(1900) <= 1);
        assert!(staged.count().abs_diff(10_000) <= 1);
    }

    #[test]
    fn steps_follow_each_other_and_times_never_go_back() {
        let stages = [
            Stage::steady(100.0, 2.0),
            Stage::steady(1000.0, 1.0),
            Stage { from: 1000.0, to: 10.0, seconds: 3.0 },
        ];
        let staged = Staged::new(7, 6 * SECOND + 7, &stages, 0.25);
        assert!(staged.due(2 * SECOND).abs_diff(200) <= 1);
        assert!(staged.due(3 * SECOND).abs_diff(1200) <= 1);
        let mut last = 0;
        for index in 0..staged.count() {
            let at = staged.intended_ns(index);
            assert!(at >= last, "record {index}");
            assert!(at < 6 * SECOND + 7);
            assert!(staged.due(at) > index && staged.due(at - 1) <= index, "record {index}");
            last = at;
        }
        assert!(staged.intended_ns(staged.count() + 1) >= 6 * SECOND + 7, "beyond the end");
    }
}
