//! Whether a store takes writes, and the log lines that say so: an operator must not have to learn
//! it from a producer.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::Duration;

use crate::model::ShardId;
use crate::runtime::LineLimit;

/// While the disk is full the log says so at most this often, also when single appends still find
/// room in between.
const FULL_TOLD_EVERY: Duration = Duration::from_secs(10);

/// Whether a store takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreStatus {
    /// It does.
    Online,
    /// Space was missing when it was last asked for; appends wait for it.
    Full(String),
    /// A write or flush failed; reads go on.
    Offline(String),
}

/// The status of one store.
pub(crate) struct Status {
    shard: ShardId,
    now: RefCell<StoreStatus>,
    full_lines: LineLimit,
    /// That the disk is full is the last that the log said.
    is_full_told: Cell<bool>,
}

impl Status {
    /// Of a store that takes writes.
    pub(crate) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            now: RefCell::new(StoreStatus::Online),
            full_lines: LineLimit::new(1, FULL_TOLD_EVERY),
            is_full_told: Cell::default(),
        }
    }

    pub(crate) fn get(&self) -> StoreStatus {
        self.now.borrow().clone()
    }

    /// Why it takes no writes until a restart.
    pub(crate) fn offline(&self) -> Option<String> {
        match &*self.now.borrow() {
            StoreStatus::Offline(why) => Some(why.clone()),
            StoreStatus::Online | StoreStatus::Full(_) => None,
        }
    }

    /// It takes no writes until a restart.
    pub(crate) fn go_offline(&self, why: String) {
        tracing::error!(shard = self.shard, "{why}");
        self.now.replace(StoreStatus::Offline(why));
    }

    /// Space was missing in `dir` at the time `now`.
    pub(crate) fn note_full(&self, why: &str, dir: &Path, now: Duration) {
        if self.offline().is_some() {
            return;
        }
        self.now.replace(StoreStatus::Full(why.to_owned()));
        if self.full_lines.may_log(now).is_none() {
            return;
        }
        self.is_full_told.set(true);
        tracing::error!(
            shard = self.shard,
            "no space left ({why}): produce is refused with KAFKA_STORAGE_ERROR until there is \
             some; delete topics or records, lower retention.bytes or retention.ms, or remove \
             other files from the disk of {}. Reading, deleting and retention go on",
            dir.display()
        );
    }

    /// What was asked for found its space.
    pub(crate) fn note_room(&self) {
        if !matches!(&*self.now.borrow(), StoreStatus::Full(_)) {
            return;
        }
        self.now.replace(StoreStatus::Online);
        if self.is_full_told.take() {
            tracing::info!(shard = self.shard, "there is space again: produce goes on");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// The lines that `work` writes to the log.
    fn said(work: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let log = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
        tracing::subscriber::with_default(log, work);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_full_disk_and_its_end_are_said_but_not_at_every_append() {
        let status = Status::new(3);
        let full = |second| {
            status.note_full("allocate /d/x", Path::new("/d"), Duration::from_secs(second));
        };
        let lines = said(|| {
            status.note_room();
            full(1);
            full(2);
            assert_eq!(status.get(), StoreStatus::Full("allocate /d/x".into()));
            status.note_room();
            assert_eq!(status.get(), StoreStatus::Online);
            full(3);
            status.note_room();
        });
        assert_eq!(lines.len(), 2, "{lines:#?}");
        let all = ["ERROR", "shard=3", "allocate /d/x", "delete topics", "disk of /d"];
        assert!(all.iter().all(|part| lines[0].contains(part)), "{}", lines[0]);
        assert!(lines[1].contains("INFO") && lines[1].contains("there is space again"));
        assert_eq!(said(|| full(11)).len(), 1, "a reminder");
    }

    #[test]
    fn what_is_offline_stays_so_and_says_why_once() {
        let status = Status::new(0);
        let lines = said(|| {
            status.go_offline("write /d/x: Input/output error".into());
            status.note_full("allocate", Path::new("/d"), Duration::ZERO);
            status.note_room();
        });
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains("ERROR") && lines[0].contains("Input/output error"));
        assert_eq!(status.offline().as_deref(), Some("write /d/x: Input/output error"));
    }
}
