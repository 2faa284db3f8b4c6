//! What `consume --follow` outlives: a broker that goes away, and records that go before they are
//! read.
//!
//! Owns the pauses and what is told on standard error. Reading itself is `consume.rs`'s.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use super::Failure;
use super::consume::{ConsumeArguments, Reader};
use super::place::Place;
use crate::client::{Client, ClientError, OffsetSpec};
use crate::model::PartitionIndex;
use crate::protocol::ErrorCode;

/// First pause before another attempt; doubles with each, as in Kafka's clients.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A time without an answer of the cluster.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// The next pause; none while everything is well.
    pause: Option<Duration>,
}

impl Outage {
    /// Rest after a failure that may pass, and look anew who leads the topic; any other failure is
    /// given back.
    pub(super) fn bear(
        &mut self,
        client: &mut Client,
        topic: &str,
        failure: Failure,
    ) -> Result<(), Failure> {
        let Failure::Client(error) = failure else { return Err(failure) };
        if !error.may_pass() {
            return Err(error.into());
        }
        let pause = self.pause.unwrap_or_else(|| {
            tell(&format!("{error}\ntrying again until it answers"));
            PAUSE_MIN
        });
        self.pause = Some((pause * 2).min(PAUSE_MAX));
        std::thread::sleep(pause);
        // Its failure shows at the next attempt to read.
        let _ = client.topic(topic);
        Ok(())
    }

    /// The cluster has answered.
    pub(super) fn end(&mut self) {
        if self.pause.take().is_some() {
            tell("connected again");
        }
    }
}

/// Whether a fetch asked for an offset that the partition does not have.
pub(super) fn is_out_of_range(error: &ClientError) -> bool {
    error.code() == Some(ErrorCode::OFFSET_OUT_OF_RANGE)
}

/// Move those readers that stand outside of their partition to its first record, or to its end
/// where reading began at the end: what Kafka's consumers call `auto.offset.reset`.
pub(super) fn return_to_range(
    client: &mut Client,
    arguments: &ConsumeArguments,
    readers: &mut BTreeMap<PartitionIndex, Reader>,
) -> Result<(), Failure> {
    let topic = &arguments.topic;
    let mut ask = |spec: OffsetSpec| {
        let wanted: Vec<_> = readers.keys().map(|index| (*index, spec)).collect();
        client.list_offsets(topic, &wanted, arguments.read_committed)
    };
    let (starts, ends) = (ask(OffsetSpec::Earliest)?, ask(OffsetSpec::Latest)?);
    let mut has_moved = false;
    for ((partition, reader), bounds) in readers.iter_mut().zip(starts.into_iter().zip(ends)) {
        let (Some(start), Some(end)) = bounds else { continue };
        if (start..=end).contains(&reader.next) {
            continue;
        }
        let next = if arguments.offset == Place::End { end } else { start };
        tell(&format!(
            "offset {} of {topic}-{partition} is not there (any more): it has {start} to {end}; \
             going on at {next}",
            reader.next
        ));
        reader.go_to(next);
        has_moved = true;
    }
    if !has_moved {
        // What the broker says of its logs changes: not at once again.
        std::thread::sleep(PAUSE_MIN);
    }
    Ok(())
}

/// Standard output is for records; without standard error there is nobody to tell.
fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
