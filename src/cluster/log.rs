//! The file that makes changes durable, and the identity of the data directory beside it.
//!
//! `meta/__cluster_metadata-0/00000000000000000000.log` holds one record batch for each set of
//! changes; a set applies whole or not at all. Every append is flushed before it counts. A torn
//! last batch is what a crash leaves of an append that nobody was told of: it is cut off. A batch
//! that does not check and is followed by more is damage: the broker refuses to start. When the
//! file has grown far beyond its image, the image is written anew beside it and takes its place by
//! rename.
//!
//! Appending is done by a thread of its own, so that no shard waits in a system call.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use futures_channel::oneshot;

use crate::model::{NodeId, Uuid};
use crate::record::{BatchBuilder, Batches, Codec, decompress};

use super::change::Change;
use super::image::Image;
use super::record;

const LOG_DIR: &str = "__cluster_metadata-0";
const LOG_FILE: &str = "00000000000000000000.log";
const PROPERTIES_FILE: &str = "meta.properties";
/// Size from which the log is rewritten, if most of it is history.
const REWRITE_BYTES_MIN: u64 = 4 << 20;
/// Changes per batch of a rewritten log: keeps each batch well below any reader's limit.
const CHANGES_PER_BATCH: usize = 1000;

/// Who this data directory belongs to (`meta.properties`, in Kafka's format).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Made at the first start.
    pub cluster_id: String,
    /// As configured at the first start.
    pub node_id: NodeId,
    /// Identity of the directory.
    pub directory_id: Uuid,
}

/// The metadata of a data directory as of its last durable change.
#[derive(Debug)]
pub struct Opened {
    /// Whose directory it is.
    pub properties: Properties,
    /// The image that the log leads to.
    pub image: Image,
    /// Continues the log.
    pub writer: MetadataWriter,
}

/// Open the metadata below `data_dir`, making it at the first start.
///
/// # Errors
/// What failed, where, and what to do.
pub fn open(data_dir: &Path, node_id: NodeId) -> Result<Opened, String> {
    let properties = open_properties(data_dir, node_id)?;
    let dir = data_dir.join("meta").join(LOG_DIR);
    let said =
        |what: &str, path: &Path, e: &io::Error| format!("cannot {what} {}: {e}", path.display());
    if !dir.exists() {
        fs::create_dir_all(&dir).map_err(|e| said("create", &dir, &e))?;
        sync_dir(&dir)?;
        sync_dir(&data_dir.join("meta"))?;
        sync_dir(data_dir)?;
    }
    let path = dir.join(LOG_FILE);
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
    let (image, end, next_offset) = replay(&bytes, &path)?;
    if end < bytes.len() as u64 {
        tracing::warn!(path = %path.display(), cut = bytes.len() as u64 - end,
            "cut off a metadata change that was being written when the broker stopped");
        file.set_len(end).and_then(|()| file.sync_all()).map_err(|e| said("cut", &path, &e))?;
    }
    let log = Log { path, file, end, next_offset, failed: None };
    Ok(Opened { properties, image, writer: MetadataWriter::start(log) })
}

/// The image, the end of the last whole batch, and the next offset.
fn replay(bytes: &Bytes, path: &Path) -> Result<(Image, u64, i64), String> {
    let mut image = Image::default();
    let mut batches = Batches::new(bytes);
    let (mut end, mut next_offset) = (0, 0);
    for batch in batches.by_ref() {
        let at = batches_end(end, batch.len());
        if !batch.crc_matches() || batch.base_offset() != next_offset {
            if at < bytes.len() as u64 {
                return Err(format!(
                    "{} is damaged at byte {end}: a record batch does not check and is not the \
                     last one. Restore the file from a backup; nothing was changed.",
                    path.display()
                ));
            }
            return Ok((image, end, next_offset));
        }
        let codec = batch.attributes().codec().unwrap_or(Codec::None);
        let plain = decompress(codec, batch.records_bytes(), 1 << 30).map_err(|e| e.to_string())?;
        let mut next = image.clone();
        for found in crate::record::Records::new(&plain, batch.record_count()) {
            let found = found.map_err(|e| format!("{}: {e}", path.display()))?;
            let value = Bytes::copy_from_slice(found.value.unwrap_or_default());
            let change = record::decode(value).map_err(|e| format!("{}: {e}", path.display()))?;
            next.apply(&change).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        image = next;
        next_offset = batch.last_offset() + 1;
        end = at;
    }
    Ok((image, end, next_offset))
}

fn batches_end(end: u64, len: usize) -> u64 {
    end + len as u64
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
    file: File,
    end: u64,
    next_offset: i64,
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
        if let Err(error) = written {
            let why = format!(
                "cannot write {path}: {error}; metadata cannot change until the broker is restarted"
            );
            self.failed = Some(why.clone());
            return Err(why);
        }
        self.end += bytes.len() as u64;
        self.next_offset += changes.len() as i64;
        if self.end >= REWRITE_BYTES_MIN
            && let Err(error) = self.rewrite_if_mostly_history(image)
        {
            tracing::warn!("the metadata log could not be rewritten, it goes on growing: {error}");
        }
        Ok(())
    }

    /// Write the image as a fresh log beside this one and put it in its place.
    fn rewrite_if_mostly_history(&mut self, image: &Image) -> Result<(), String> {
        let changes = image.as_changes();
        if (changes.len() as i64).saturating_mul(2) > self.next_offset {
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
        fs::rename(&fresh, &self.path).map_err(said)?;
        sync_dir(self.path.parent().unwrap_or(&self.path))?;
        self.file = OpenOptions::new().read(true).write(true).open(&self.path).map_err(said)?;
        (self.end, self.next_offset) = (end, next_offset);
        Ok(())
    }
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

/// One append on its way to the writing thread.
struct Job {
    changes: Vec<Change>,
    image: Arc<Image>,
    done: oneshot::Sender<Result<(), String>>,
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
                let _ = job.done.send(log.append(&job.changes, &job.image));
            }
        };
        std::thread::Builder::new()
            .name("metadata-log".into())
            .spawn(work)
            .expect("a thread can be started while the broker starts");
        Self { jobs }
    }

    /// Make `changes`, which lead to `image`, durable.
    ///
    /// # Errors
    /// When they are not durable; they may or may not be there after a restart.
    pub async fn append(&mut self, changes: Vec<Change>, image: Arc<Image>) -> Result<(), String> {
        let (done, heard) = oneshot::channel();
        let gone = || "the metadata log has stopped".to_string();
        self.jobs.send(Job { changes, image, done }).map_err(|_| gone())?;
        heard.await.map_err(|_| gone())?
    }
}

fn open_properties(data_dir: &Path, node_id: NodeId) -> Result<Properties, String> {
    let path = data_dir.join(PROPERTIES_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let properties = parse_properties(&text)
                .map_err(|why| format!("{} cannot be used: {why}", path.display()))?;
            if properties.node_id != node_id {
                return Err(format!(
                    "{} belongs to node.id {}, this broker is configured as {node_id}: use that \
                     id or another data directory",
                    data_dir.display(),
                    properties.node_id
                ));
            }
            Ok(properties)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let properties = Properties {
                cluster_id: Uuid::random().to_string(),
                node_id,
                directory_id: Uuid::random(),
            };
            write_properties(data_dir, &path, &properties)?;
            Ok(properties)
        }
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn parse_properties(text: &str) -> Result<Properties, String> {
    let get = |key: &str| {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let mut values = lines.filter(|(k, _)| k.trim() == key).map(|(_, v)| v.trim().to_owned());
        values.next().ok_or_else(|| format!("{key} is missing"))
    };
    let version = get("version")?;
    if version != "1" {
        return Err(format!("it has version {version}, this build reads version 1"));
    }
    Ok(Properties {
        cluster_id: get("cluster.id")?,
        node_id: get("node.id")?.parse().map_err(|e| format!("node.id: {e}"))?,
        directory_id: get("directory.id")?.parse()?,
    })
}

fn write_properties(data_dir: &Path, path: &Path, p: &Properties) -> Result<(), String> {
    let fresh = path.with_extension("properties.new");
    let said = |e: io::Error| format!("cannot write {}: {e}", fresh.display());
    let text = format!(
        "version=1\ncluster.id={}\nnode.id={}\ndirectory.id={}\n",
        p.cluster_id, p.node_id, p.directory_id
    );
    let mut file = File::create(&fresh).map_err(said)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(said)?;
    fs::rename(&fresh, path).map_err(said)?;
    sync_dir(data_dir)
}

fn sync_dir(dir: &Path) -> Result<(), String> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| format!("cannot flush directory {}: {e}", dir.display()))
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

    #[test]
    fn changes_survive_and_a_torn_tail_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { properties, mut image, mut writer } = open(dir.path(), 1).unwrap();
        create(&mut image, &mut writer, "a");
        let path = dir.path().join("meta").join(LOG_DIR).join(LOG_FILE);
        let whole = fs::metadata(&path).unwrap().len();
        create(&mut image, &mut writer, "b");
        drop(writer);
        let full = fs::read(&path).unwrap();
        for cut in [whole + 1, whole + 60, full.len() as u64 - 1] {
            fs::write(&path, &full[..cut as usize]).unwrap();
            let again = open(dir.path(), 1).unwrap();
            assert_eq!(again.properties, properties, "ids are stable");
            let names: Vec<_> = again.image.topics().map(|t| t.name.to_string()).collect();
            assert_eq!(names, ["a"], "cut at {cut}");
            assert_eq!(fs::metadata(&path).unwrap().len(), whole);
        }
        // Damage in front of whole batches is never cut.
        let mut damaged = full.clone();
        damaged[70] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert!(open(dir.path(), 1).unwrap_err().contains("damaged"));
        assert!(open(dir.path(), 2).unwrap_err().contains("node.id"));
    }

    #[test]
    fn a_log_of_mostly_history_is_rewritten() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { mut image, mut writer, .. } = open(dir.path(), 1).unwrap();
        create(&mut image, &mut writer, "kept");
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
        drop(writer);
        assert!(fs::metadata(&path).unwrap().len() < most, "it only grows");
        let again = open(dir.path(), 1).unwrap();
        assert_eq!(again.image.topics().count(), 1);
        assert_eq!(again.image.next_producer_id(), image.next_producer_id());
    }
}
