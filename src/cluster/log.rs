//! The file that makes changes durable.
//!
//! `meta/__cluster_metadata-0/00000000000000000000.log` holds one record batch for each set of
//! changes; a set applies whole or not at all. Every append is flushed before it counts, and how
//! far that went is kept beside the log ([`FlushedEnd`]). A torn batch behind that is what a crash
//! leaves of an append that nobody was told of: it is cut off. Whatever else does not check or is
//! not there is damage: the broker refuses to start, for without its metadata a topic's data
//! belongs to nobody. When the file has grown far beyond its image, the image is written anew
//! beside it and takes its place by rename.
//!
//! Appending is done by a thread of its own, so that no shard waits in a system call; it also drops
//! the images that a change has replaced, which takes long when there are many topics.

use std::any::Any;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use futures_channel::oneshot;

use crate::model::{NodeId, TopicName, Uuid};
use crate::record::{BatchBuilder, Codec};
use crate::storage;

use super::change::Change;
use super::files::sync_dir;
use super::flushed_end::FlushedEnd;
use super::image::Image;
use super::properties::Properties;
use super::record;
use super::replay::{Replayed, replay};

const LOG_DIR: &str = "__cluster_metadata-0";
const LOG_FILE: &str = "00000000000000000000.log";
const FLUSHED_END_FILE: &str = "flushed-end";
/// Size from which the log is rewritten, if most of it is history.
const REWRITE_BYTES_MIN: u64 = 4 << 20;
/// Changes per batch of a rewritten log: keeps each batch well below any reader's limit.
const CHANGES_PER_BATCH: usize = 1000;

/// The metadata of a data directory as of its last durable change.
#[derive(Debug)]
pub struct Opened {
    /// Whose directory it is.
    pub properties: Properties,
    /// The image that the log leads to.
    pub image: Image,
    /// Topics that the log removes: what is still on the disk of them has to go.
    pub removed: HashSet<Uuid>,
    /// Continues the log.
    pub writer: MetadataWriter,
}

/// Open the metadata below `data_dir`, making it at the first start.
///
/// # Errors
/// What failed, where, and what to do.
pub fn open(data_dir: &Path, node_id: NodeId) -> Result<Opened, String> {
    let holds_logs = storage::holds_logs(data_dir)
        .map_err(|e| format!("cannot read {}: {e}", data_dir.display()))?;
    let meta = data_dir.join("meta");
    let properties = Properties::open(data_dir, node_id, holds_logs || meta.exists())?;
    let dir = meta.join(LOG_DIR);
    let path = dir.join(LOG_FILE);
    if holds_logs {
        check_is_there(data_dir, &path)?;
    }
    if !dir.exists() {
        fs::create_dir_all(&dir).map_err(|e| said("create", &dir, &e))?;
        sync_dir(&dir)?;
        sync_dir(&meta)?;
        sync_dir(data_dir)?;
    }
    let is_new = !path.exists();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| said("open", &path, &e))?;
    if is_new {
        sync_dir(&dir)?;
    }
    let bytes = Bytes::from(fs::read(&path).map_err(|e| said("read", &path, &e))?);
    let Replayed { image, removed, end, next_offset } = replay(&bytes, &path)?;
    let flushed = open_flushed_end(&dir, &path, end, bytes.len() as u64)?;
    if end < bytes.len() as u64 {
        tracing::warn!(path = %path.display(), cut = bytes.len() as u64 - end,
            "cut off a metadata change that was being written when the broker stopped");
        file.set_len(end).map_err(|e| said("cut", &path, &e))?;
    }
    let data_dir = data_dir.to_owned();
    let mut log = Log { path, data_dir, file, end, next_offset, flushed, look_at: 0, failed: None };
    log.flush_what_was_found()?;
    Ok(Opened { properties, image, removed, writer: MetadataWriter::start(log) })
}

/// Whether the log of a directory with logs is there. An empty one that nobody noted a length of
/// is as good as none, unless no partition is there either.
fn check_is_there(data_dir: &Path, log: &Path) -> Result<(), String> {
    let len = match fs::metadata(log) {
        Ok(found) => Some(found.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(said("read", log, &error)),
    };
    let is_noted = log.with_file_name(FLUSHED_END_FILE).exists();
    let holds_partitions = || match storage::unknown_topics(data_dir, &|_| false) {
        Ok(topics) => Ok(!topics.is_empty()),
        Err(error) => Err(said("read", data_dir, &error)),
    };
    let what = match len {
        None => "missing",
        Some(0) if !is_noted && holds_partitions()? => "empty",
        Some(_) => return Ok(()),
    };
    Err(format!(
        "{} is {what}, but there is data in {}: without it nobody knows whose that is. Restore {} \
         from a backup, or empty the data directory to begin without data; nothing was changed",
        log.display(),
        data_dir.display(),
        data_dir.join("meta").display()
    ))
}

fn said(what: &str, path: &Path, e: &io::Error) -> String {
    format!("cannot {what} {}: {e}", path.display())
}

/// How much of the log was acknowledged, if it holds that much: it checks up to `end` and has
/// `len` bytes.
fn open_flushed_end(dir: &Path, log: &Path, end: u64, len: u64) -> Result<FlushedEnd, String> {
    let path = dir.join(FLUSHED_END_FILE);
    let Some(flushed) = FlushedEnd::open(&path)? else {
        // A log of an older version, or one whose rest was given up by hand.
        return FlushedEnd::create(&path, end);
    };
    let known = flushed.get();
    if end >= known {
        return Ok(flushed);
    }
    let what = match len < known {
        true => format!("has {len} bytes of the {known} that were acknowledged"),
        false => format!("is damaged at byte {end}: what follows was acknowledged up to {known}"),
    };
    let otherwise = match len {
        0 => "empty the data directory to begin without data".to_owned(),
        _ => format!(
            "remove {} to go on with the {end} bytes that check, which keeps the data of topics \
             that are in none of them aside under logs/",
            path.display()
        ),
    };
    Err(format!(
        "{} {what}. Restore {} from a backup; or {otherwise}. Nothing was changed.",
        log.display(),
        dir.display()
    ))
}

/// One record batch with `changes`, beginning at `base_offset`.
fn batch(changes: &[Change], base_offset: i64) -> Result<Vec<u8>, String> {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.set_place(base_offset, 0);
    for change in changes {
        let value = record::encode(change)?;
        builder.append(0, None, Some(&value), &[]).map_err(|e| e.to_string())?;
    }
    builder.finish().map(<[u8]>::to_vec).map_err(|e| e.to_string())
}

/// The open file, on the writing thread.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    data_dir: PathBuf,
    file: File,
    end: u64,
    next_offset: i64,
    flushed: FlushedEnd,
    /// Offset from which it is worth to look whether most of the log is history.
    look_at: i64,
    /// A failed write or flush is never retried: what the file holds is unknown until a restart.
    failed: Option<String>,
}

impl Log {
    fn append(&mut self, changes: &[Change], image: &Image) -> Result<(), String> {
        if let Some(why) = &self.failed {
            return Err(why.clone());
        }
        let bytes = batch(changes, self.next_offset)?;
        let path = self.path.display();
        // Space first, so that a full disk shows here and leaves nothing half written.
        allocate(&self.file, self.end, bytes.len() as u64)
            .map_err(|e| format!("no space for {path}: {e}; free some and try again"))?;
        let written = self.file.write_all_at(&bytes, self.end).and_then(|()| self.file.sync_data());
        let written = written.map_err(|e| format!("cannot write {path}: {e}"));
        self.done(written)?;
        self.end += bytes.len() as u64;
        self.next_offset += changes.len() as i64;
        self.note_flushed(self.end)?;
        if self.end >= REWRITE_BYTES_MIN
            && self.next_offset >= self.look_at
            && let Err(error) = self.rewrite_if_mostly_history(image)
        {
            self.look_at = self.next_offset.saturating_mul(2);
            // Where space is short it is wanted for something better.
            let _ = fs::remove_file(self.path.with_extension("log.new"));
            tracing::warn!("the metadata log could not be rewritten, it goes on growing: {error}");
        }
        Ok(())
    }

    /// What a start found it goes by: from now on that is as good as acknowledged.
    fn flush_what_was_found(&mut self) -> Result<(), String> {
        self.file.sync_all().map_err(|e| said("flush", &self.path, &e))?;
        if self.flushed.get() == self.end {
            return Ok(());
        }
        self.note_flushed(self.end)
    }

    fn note_flushed(&mut self, end: u64) -> Result<(), String> {
        let noted = self.flushed.set(end);
        self.done(noted)
    }

    /// A failed write is the end of all changes.
    fn done(&mut self, written: Result<(), String>) -> Result<(), String> {
        written.map_err(|why| {
            let why = format!("{why}; metadata cannot change until the broker is restarted");
            self.failed = Some(why.clone());
            why
        })
    }

    /// Write the image as a fresh log beside this one and put it in its place.
    fn rewrite_if_mostly_history(&mut self, image: &Image) -> Result<(), String> {
        let is_known = |id| image.topic_by_id(id).is_some();
        let removals = storage::unknown_topics(&self.data_dir, &is_known)
            .map_err(|e| format!("cannot look for removed topics' files: {e}"))?;
        let mut changes = removal_of(&removals)?;
        changes.extend(image.as_changes());
        // Not at every append: it takes a walk over the image and the directories.
        self.look_at = (changes.len() as i64).saturating_mul(2);
        if self.next_offset < self.look_at {
            return Ok(());
        }
        let fresh = self.path.with_extension("log.new");
        let said = |e: io::Error| format!("{}: {e}", fresh.display());
        let mut file = File::create(&fresh).map_err(said)?;
        let (mut end, mut next_offset) = (0, 0);
        for changes in changes.chunks(CHANGES_PER_BATCH) {
            let bytes = batch(changes, next_offset)?;
            file.write_all(&bytes).map_err(said)?;
            end += bytes.len() as u64;
            next_offset += changes.len() as i64;
        }
        file.sync_all().map_err(said)?;
        // Before the rename: whichever of the two a crash leaves must be long enough.
        self.note_flushed(end.min(self.end))?;
        fs::rename(&fresh, &self.path).map_err(said)?;
        (self.file, self.end, self.next_offset) = (file, end, next_offset);
        // Appends to the new file are lost with its name.
        let named = sync_dir(self.path.parent().unwrap_or(&self.path));
        self.done(named)?;
        self.note_flushed(end)
    }
}

/// Changes that lead to nothing and say of each of these topics that it was removed.
fn removal_of(topics: &[Uuid]) -> Result<Vec<Change>, String> {
    let mut changes = Vec::new();
    for id in topics {
        let name = TopicName::new(&format!("removed-{id}")).map_err(|e| e.to_string())?;
        changes.extend([Change::Topic { id: *id, name }, Change::RemoveTopic { id: *id }]);
    }
    Ok(changes)
}

/// Reserve blocks, keeping the size: the file's length is what its batches are.
fn allocate(file: &File, at: u64, bytes: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let (at, bytes) = (at.cast_signed(), bytes.cast_signed());
    // SAFETY: fallocate on a descriptor that we own; it touches no memory of ours.
    let done = unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, at, bytes) };
    let error = io::Error::last_os_error();
    if done == 0 || error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(()) } else { Err(error) }
}

/// What is on its way to the writing thread.
pub(crate) enum Job {
    Append { changes: Vec<Change>, image: Arc<Image>, done: oneshot::Sender<Result<(), String>> },
    Discard { large: Box<dyn Any + Send>, done: oneshot::Sender<()> },
}

/// Appends changes, durably, without holding up the shard that asks.
#[derive(Debug)]
pub struct MetadataWriter {
    jobs: mpsc::Sender<Job>,
}

impl MetadataWriter {
    fn start(mut log: Log) -> Self {
        let (jobs, todo) = mpsc::channel::<Job>();
        let work = move || {
            for job in todo {
                match job {
                    Job::Append { changes, image, done } => {
                        let _ = done.send(log.append(&changes, &image));
                    }
                    Job::Discard { large, done } => {
                        drop(large);
                        let _ = done.send(());
                    }
                }
            }
        };
        std::thread::Builder::new()
            .name("metadata-log".into())
            .spawn(work)
            .expect("a thread can be started while the broker starts");
        Self { jobs }
    }

    /// One without a thread, and what that would get.
    #[cfg(test)]
    pub(crate) fn without_thread() -> (Self, mpsc::Receiver<Job>) {
        let (jobs, todo) = mpsc::channel();
        (Self { jobs }, todo)
    }

    /// Make `changes`, which lead to `image`, durable.
    ///
    /// # Errors
    /// When they are not durable; they may or may not be there after a restart.
    pub async fn append(&mut self, changes: Vec<Change>, image: Arc<Image>) -> Result<(), String> {
        let (done, heard) = oneshot::channel();
        let gone = || "the metadata log has stopped".to_string();
        self.jobs.send(Job::Append { changes, image, done }).map_err(|_| gone())?;
        heard.await.map_err(|_| gone())?
    }

    /// Drop what is `large` on the writing thread: it takes long, and no shard is held up there.
    /// Waits until it is gone, so that no more than this is on the way.
    pub async fn discard(&mut self, large: impl Send + 'static) {
        let (done, heard) = oneshot::channel();
        let _ = self.jobs.send(Job::Discard { large: Box::new(large), done });
        let _ = heard.await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::cluster::controller::{ControllerLimits, NewTopic, create_topic};

    fn append(writer: &mut MetadataWriter, changes: Vec<Change>, image: &Image) {
        let mut appending = Box::pin(writer.append(changes, Arc::new(image.clone())));
        while appending.as_mut().now_or_never().is_none_or(|done| {
            done.unwrap();
            false
        }) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_discarded_is_dropped_by_the_writing_thread() {
        struct Large(mpsc::Sender<std::thread::ThreadId>);
        impl Drop for Large {
            fn drop(&mut self) {
                self.0.send(std::thread::current().id()).expect("somebody listens");
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let mut writer = open(dir.path(), 1).unwrap().writer;
        let (dropped, heard) = mpsc::channel();
        let mut discarding = Box::pin(writer.discard(Large(dropped)));
        let _ = discarding.as_mut().now_or_never();
        assert_ne!(heard.recv(), Ok(std::thread::current().id()));
    }

    fn create(image: &mut Image, writer: &mut MetadataWriter, name: &str) {
        let limits = ControllerLimits {
            node_id: 1,
            directory_id: Uuid::ZERO,
            topics_max: 100,
            partitions_max: 10_000,
            topic_partitions_max: 100,
            partitions_default: 2,
        };
        let topic = NewTopic {
            name: name.into(),
            partitions: -1,
            replication_factor: -1,
            ..NewTopic::default()
        };
        let (_, changes) = create_topic(image, &limits, &topic).unwrap();
        for change in &changes {
            image.apply(change).unwrap();
        }
        append(writer, changes, image);
    }

    fn log_path(dir: &Path) -> PathBuf {
        dir.join("meta").join(LOG_DIR).join(LOG_FILE)
    }

    fn names(opened: &Opened) -> Vec<String> {
        opened.image.topics().map(|t| t.name.to_string()).collect()
    }

    /// A directory with topics `a` and `b`: the log with only the first and with both, and what
    /// was noted beside it before the second was acknowledged and then.
    fn two_topics(dir: &Path) -> (Properties, [Vec<u8>; 2], [Vec<u8>; 2]) {
        let Opened { properties, mut image, mut writer, .. } = open(dir, 1).unwrap();
        let noted = log_path(dir).with_file_name(FLUSHED_END_FILE);
        let (mut logs, mut notes) = (Vec::new(), Vec::new());
        for name in ["a", "b"] {
            create(&mut image, &mut writer, name);
            logs.push(fs::read(log_path(dir)).unwrap());
            notes.push(fs::read(&noted).unwrap());
        }
        (properties, logs.try_into().unwrap(), notes.try_into().unwrap())
    }

    #[test]
    fn changes_survive_and_what_nobody_was_told_of_is_cut_when_it_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let (properties, [one, both], [note, _]) = two_topics(dir.path());
        let path = log_path(dir.path());
        let noted = path.with_file_name(FLUSHED_END_FILE);
        let mut torn: Vec<Vec<u8>> =
            [one.len() + 1, one.len() + 60, both.len() - 1].map(|len| both[..len].to_vec()).into();
        // A sector of it did not arrive, all others did.
        torn.push(both.clone());
        torn[3][one.len() + 40..].fill(0);
        for torn in torn {
            fs::write(&path, &torn).unwrap();
            fs::write(&noted, &note).unwrap();
            let again = open(dir.path(), 1).unwrap();
            assert_eq!(again.properties, properties, "ids are stable");
            assert_eq!(names(&again), ["a"], "of {} bytes", torn.len());
            assert_eq!(fs::read(&path).unwrap(), one);
        }
        // All of it arrived: it counts, and from then on as much as what was acknowledged.
        fs::write(&path, &both).unwrap();
        fs::write(&noted, &note).unwrap();
        assert_eq!(names(&open(dir.path(), 1).unwrap()), ["a", "b"]);
        fs::write(&path, &one).unwrap();
        assert!(open(dir.path(), 1).unwrap_err().contains("acknowledged"));
    }

    #[test]
    fn what_was_acknowledged_and_is_damaged_or_not_there_is_never_cut() {
        let dir = tempfile::tempdir().unwrap();
        let (_, [one, both], _) = two_topics(dir.path());
        let path = log_path(dir.path());
        let flipped = |at: usize| {
            let mut bytes = both.clone();
            bytes[at] ^= 1;
            bytes
        };
        let last = both.len() - 5;
        let length_of_the_first = 10;
        for damaged in [
            flipped(70),
            flipped(length_of_the_first),
            flipped(last),
            flipped(one.len() + 8),
            both[..both.len() - 1].to_vec(),
            one,
            Vec::new(),
        ] {
            fs::write(&path, &damaged).unwrap();
            let why = open(dir.path(), 1).unwrap_err();
            assert!(why.contains("Restore") && why.contains(LOG_FILE), "{why}");
            assert_eq!(fs::read(&path).unwrap(), damaged, "nothing was changed");
        }
        fs::remove_file(&path).unwrap();
        assert!(open(dir.path(), 1).unwrap_err().contains("0 bytes of the"));
        fs::write(&path, &both).unwrap();
        assert!(open(dir.path(), 2).unwrap_err().contains("node.id"));
        assert_eq!(names(&open(dir.path(), 1).unwrap()), ["a", "b"]);
    }

    #[test]
    fn what_checks_and_means_nothing_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (_, [_, both], _) = two_topics(dir.path());
        let path = log_path(dir.path());
        let mut builder = BatchBuilder::new(Codec::None);
        builder.set_place(replay(&both.clone().into(), &path).unwrap().next_offset, 0);
        builder.append(0, None, Some(&[1, 99, 0]), &[]).unwrap();
        let whole = [&both, builder.finish().unwrap()].concat();
        fs::write(&path, &whole).unwrap();
        let why = open(dir.path(), 1).unwrap_err();
        assert!(why.contains(LOG_FILE) && why.contains("newer version"), "{why}");
        assert!(why.contains(&format!("at byte {}", both.len())), "{why}");
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn metadata_is_not_made_anew_beside_data() {
        let dir = tempfile::tempdir().unwrap();
        two_topics(dir.path());
        fs::write(dir.path().join("CURRENT"), "a run").unwrap();
        let meta = dir.path().join("meta");
        let away = dir.path().join("away");
        for moved in [meta.clone(), meta.join(LOG_DIR), log_path(dir.path())] {
            fs::rename(&moved, &away).unwrap();
            let why = open(dir.path(), 1).unwrap_err();
            assert!(why.contains("missing") && why.contains(LOG_FILE), "{why}");
            assert!(!moved.exists(), "nothing was made in its place");
            fs::rename(&away, &moved).unwrap();
        }
        // Emptied, with the note of its length lost, it says as little.
        let path = log_path(dir.path());
        let (whole, noted) = (fs::read(&path).unwrap(), path.with_file_name(FLUSHED_END_FILE));
        fs::write(&path, b"").unwrap();
        fs::rename(&noted, &away).unwrap();
        let partition = dir.path().join("logs").join(Uuid::random().to_string()).join("0");
        fs::create_dir_all(&partition).unwrap();
        let why = open(dir.path(), 1).unwrap_err();
        assert!(why.contains("is empty") && why.contains(LOG_FILE), "{why}");
        assert!(fs::read(&path).unwrap().is_empty() && !noted.exists(), "nothing was changed");
        fs::rename(&partition, partition.with_file_name("0-stray-1")).unwrap();
        assert!(names(&open(dir.path(), 1).unwrap()).is_empty(), "nobody asks for what is there");
        fs::write(&path, whole).unwrap();
        fs::rename(&away, &noted).unwrap();
        let properties = dir.path().join("meta.properties");
        fs::remove_file(&properties).unwrap();
        let why = open(dir.path(), 1).unwrap_err();
        assert!(why.contains("missing") && why.contains("cluster.id"), "{why}");
        fs::remove_file(dir.path().join("CURRENT")).unwrap();
        assert!(open(dir.path(), 1).unwrap_err().contains("missing"), "there is metadata");
        assert!(!properties.exists(), "nothing was made in its place");
    }

    #[test]
    fn a_log_without_a_note_of_its_length_gets_one() {
        let dir = tempfile::tempdir().unwrap();
        let (_, [one, both], _) = two_topics(dir.path());
        let path = log_path(dir.path());
        fs::remove_file(path.with_file_name(FLUSHED_END_FILE)).unwrap();
        assert_eq!(names(&open(dir.path(), 1).unwrap()), ["a", "b"]);
        fs::write(&path, &both[..one.len()]).unwrap();
        assert!(open(dir.path(), 1).unwrap_err().contains("acknowledged"));
    }

    #[test]
    fn a_log_of_mostly_history_is_rewritten() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { mut image, mut writer, .. } = open(dir.path(), 1).unwrap();
        create(&mut image, &mut writer, "kept");
        for name in ["removed", "under-way"] {
            create(&mut image, &mut writer, name);
        }
        let id = |name| image.topic(name).unwrap().id;
        let (kept, removed, under_way) = (id("kept"), id("removed"), id("under-way"));
        for topic in [removed, under_way] {
            let change = Change::RemoveTopic { id: topic };
            image.apply(&change).unwrap();
            append(&mut writer, vec![change], &image);
        }
        // Of one all files are gone, of the other they are not.
        for left in [format!("{kept}/0"), removed.to_string(), format!("{under_way}/1")] {
            fs::create_dir_all(dir.path().join("logs").join(left)).unwrap();
        }
        let path = dir.path().join("meta").join(LOG_DIR).join(LOG_FILE);
        let mut most = 0;
        for round in 0..60 {
            let changes = vec![Change::ProducerIds { next: round }; 4000];
            for change in &changes {
                image.apply(change).unwrap();
            }
            append(&mut writer, changes, &image);
            let size = fs::metadata(&path).unwrap().len();
            if size < most {
                break;
            }
            most = size;
        }
        create(&mut image, &mut writer, "later");
        drop(writer);
        assert!(fs::metadata(&path).unwrap().len() < most, "it only grows");
        let again = open(dir.path(), 1).unwrap();
        assert_eq!(names(&again), ["kept", "later"]);
        assert_eq!(again.image.next_producer_id(), image.next_producer_id());
        assert_eq!(again.removed, HashSet::from([under_way]), "and those that are done are not");
    }
}
