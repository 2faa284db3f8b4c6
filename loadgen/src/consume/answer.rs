//! One whole Fetch answer: where its reader goes on, what was deleted before it was read, and
//! whether every record is what it should be.

use thalweg::protocol::ErrorCode;

use super::Worker;
use super::check::{self, Followed};
use crate::admin::Admin;
use crate::histogram::Series;
use crate::request;

impl Worker {
    /// First pass: move positions. Returns whether the broker refused anything.
    pub(super) fn advance(&mut self, index: usize, frame: &[u8]) -> Result<bool, String> {
        let reader = &mut self.readers[index];
        let mut refused = false;
        let mut out_of_range = Vec::new();
        let (mut bad, mut moved) = (0, false);
        let asks_for_all = reader.asks_for_all;
        let read = request::read_fetch_answer(frame, |part| {
            let Some(followed) = find(&mut reader.followed, part.partition) else { return };
            followed.is_denied = asks_for_all;
            if part.error != 0 {
                refused = true;
                *self.found.errors.entry(part.error).or_default() += 1;
                if part.error == ErrorCode::OFFSET_OUT_OF_RANGE.0 {
                    out_of_range.push(part.partition);
                }
                return;
            }
            followed.high_watermark = part.high_watermark;
            match check::next_position(part.records, followed.position) {
                Ok(next) => {
                    moved |= next > followed.position;
                    // Where there is more, this answer may only have had no room for it.
                    followed.is_denied &= next == followed.position && part.high_watermark <= next;
                    followed.position = next;
                }
                Err(_) => bad += 1,
            }
        });
        let (correlation, error) = read.map_err(|e| e.to_string())?;
        if correlation != reader.correlation {
            return Err(format!(
                "expected the Fetch answer {}, got {correlation}",
                reader.correlation
            ));
        }
        if error != 0 {
            refused = true;
            *self.found.errors.entry(error).or_default() += 1;
        }
        if asks_for_all && !moved && error == 0 {
            reader.followed.iter_mut().for_each(|followed| followed.is_denied = true);
        }
        if bad > 0 {
            // Nothing behind an unreadable header can be found: reading here is over.
            self.found.oddities.corrupt_batches += bad;
            return Err("a fetched partition holds bytes that are no record batch".into());
        }
        if !out_of_range.is_empty() {
            self.skip_deleted(index, &out_of_range);
        }
        Ok(refused)
    }

    /// What these partitions were asked for has been deleted: go on where their logs begin now. A
    /// reader behind the end of a log stays there: what the broker has forgotten must not be taken
    /// for what it was told to delete.
    fn skip_deleted(&mut self, index: usize, partitions: &[i32]) {
        let plan = &self.job.plan;
        let admin = Admin::connect(&plan.bootstrap_server);
        let starts = admin.and_then(|mut a| a.start_offsets(&plan.topic, plan.partitions));
        // If nobody answers, the next fetch meets the same error and asks again.
        let Ok(starts) = starts else { return };
        for partition in partitions {
            let Some(followed) = find(&mut self.readers[index].followed, *partition) else {
                continue;
            };
            let start = starts.get(followed.partition as usize).copied().unwrap_or(0);
            if start > followed.position {
                let unseen = start.saturating_sub(followed.verified).max(0);
                self.found.oddities.skipped += unseen as u64;
                followed.position = start;
                followed.verified = followed.verified.max(start);
            }
        }
    }

    /// Second pass: verify and record. Returns whether it brought anything.
    pub(super) fn verify(&mut self, index: usize, frame: &[u8], now_ns: u64) -> bool {
        let reader = &mut self.readers[index];
        let (found, recorder, rules) = (&mut self.found, &mut self.job.recorder, &self.rules);
        let scratch = &mut self.scratch;
        let window = recorder.window;
        let mut total = check::Pass::default();
        let latency = &mut |intended: u64, records: u64| {
            if intended > now_ns {
                found.from_the_future += records;
            } else if window.measures(intended) {
                recorder.at(now_ns).of(Series::EndToEnd).record(now_ns - intended, records);
            }
        };
        let oddities = &mut found.oddities;
        self.meter.measure(|| {
            // The same walk has succeeded in the first pass.
            let _ = request::read_fetch_answer(frame, |part| {
                let at = find(&mut reader.followed, part.partition);
                if let Some(followed) = at.filter(|_| part.error == 0) {
                    let records = part.records;
                    let pass =
                        check::verify(rules, followed, records, oddities, scratch, &mut *latency);
                    total.records += pass.records;
                    total.bytes += pass.bytes;
                }
            });
            total.bytes
        });
        if let Some(seat) = &reader.spec.seat {
            reader.followed.iter().for_each(|followed| seat.group.publish(followed));
        }
        if total.bytes > 0 {
            self.job.recorder.at(now_ns).of(Series::EndToEnd).completion();
            self.found.last_ns = now_ns;
            self.found.all.records += total.records;
            self.found.all.bytes += total.bytes;
            self.found.all.answers += 1;
            self.job.recorder.count(now_ns, total.records, total.bytes, 1);
        }
        total.bytes > 0
    }
}

/// Specs list partitions in ascending order.
fn find(followed: &mut [Followed], partition: i32) -> Option<&mut Followed> {
    let wanted = u32::try_from(partition).ok()?;
    let at = followed.binary_search_by_key(&wanted, |f| f.partition).ok()?;
    Some(&mut followed[at])
}
