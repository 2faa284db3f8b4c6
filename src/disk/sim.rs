//! A disk that forgets: what was not flushed may be lost, kept, or torn at a crash.
//!
//! Every file has a durable content and a list of what was done since; every directory likewise.
//! A flush makes durable exactly what had *completed* in that one file when it was submitted.
//! Names become durable by [`Disk::sync_dir`] alone. Two writes under way to the same block are a
//! bug of the caller (a device may order them as it likes), and stop the simulation.
//! Longer than other files because content, names and calls are one model of one disk.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::sim_time::{SimRandom, World};
use super::{BLOCK, BlockBuffer, DirEntry, Disk, DiskError, DiskFile, DiskResult};

/// What may be torn apart: the sector.
const SECTOR: usize = 512;
/// Longest simulated duration of one call, in microseconds.
const LATENCY_MAX_MICROS: u64 = 200;

type Block = Rc<[u8; BLOCK]>;

/// Bytes of a file; blocks that are absent are zero.
#[derive(Clone, Default, PartialEq, Eq)]
struct Content {
    blocks: BTreeMap<u64, Block>,
    len: u64,
}

impl Content {
    fn write(&mut self, position: u64, bytes: &[u8]) {
        for (number, part) in (position / BLOCK as u64..).zip(bytes.chunks(BLOCK)) {
            let mut block = [0; BLOCK];
            block[..part.len()].copy_from_slice(part);
            self.blocks.insert(number, Rc::new(block));
        }
        self.len = self.len.max(position + bytes.len() as u64);
    }

    fn write_sector(&mut self, position: u64, sector: &[u8]) {
        let (number, at) = (position / BLOCK as u64, (position % BLOCK as u64) as usize);
        let mut block = self.blocks.get(&number).map_or([0; BLOCK], |block| **block);
        block[at..at + sector.len()].copy_from_slice(sector);
        self.blocks.insert(number, Rc::new(block));
        self.len = self.len.max(position + sector.len() as u64);
    }

    fn truncate(&mut self, len: u64) {
        if len < self.len {
            self.blocks.split_off(&len.div_ceil(BLOCK as u64));
            let cut = (len % BLOCK as u64) as usize;
            if cut > 0
                && let Some(block) = self.blocks.get_mut(&(len / BLOCK as u64))
            {
                Rc::make_mut(block)[cut..].fill(0);
            }
        }
        self.len = len;
    }

    fn read(&self, position: u64, len: usize) -> Vec<u8> {
        let end = (position + len as u64).min(self.len);
        let mut out = Vec::new();
        let mut at = position;
        while at < end {
            let take = (BLOCK as u64).min(end - at) as usize;
            match self.blocks.get(&(at / BLOCK as u64)) {
                Some(block) => out.extend_from_slice(&block[..take]),
                None => out.resize(out.len() + take, 0),
            }
            at += take as u64;
        }
        out
    }
}

#[derive(Clone)]
enum Op {
    Write {
        position: u64,
        bytes: Rc<Vec<u8>>,
    },
    Truncate(u64),
    /// At least this long.
    Extend(u64),
}

impl Op {
    /// Whether it says what is between `start` and `end`; lengths say it of everything.
    fn touches(&self, start: u64, end: u64) -> bool {
        match self {
            Self::Write { position, bytes } => {
                *position < end && start < position + bytes.len() as u64
            }
            Self::Truncate(_) | Self::Extend(_) => true,
        }
    }
}

#[derive(Clone)]
struct PendingOp {
    number: u64,
    op: Op,
    completed: bool,
}

#[derive(Clone, Default)]
struct SimFileState {
    durable: Content,
    live: Content,
    pending: Vec<PendingOp>,
}

fn apply(content: &mut Content, op: &Op) {
    match op {
        Op::Write { position, bytes } => content.write(*position, bytes),
        Op::Truncate(len) => content.truncate(*len),
        Op::Extend(len) => content.len = content.len.max(*len),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    Dir,
    File(u64),
}

#[derive(Clone)]
enum NameOp {
    Create(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

type Names = BTreeMap<PathBuf, Node>;

impl NameOp {
    fn touches(&self, dir: &Path) -> bool {
        match self {
            Self::Create(path, _) | Self::Remove(path) => path.parent() == Some(dir),
            Self::Rename(from, to) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }

    fn apply(&self, names: &mut Names) {
        match self {
            Self::Create(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Remove(path) => names.retain(|known, _| !known.starts_with(path)),
            Self::Rename(from, to) => {
                let moved: Vec<_> = names
                    .iter()
                    .filter(|(p, _)| p.starts_with(from))
                    .map(|(p, n)| (p.clone(), *n))
                    .collect();
                if moved.is_empty() {
                    return;
                }
                names.retain(|known, _| !known.starts_with(from) && !known.starts_with(to));
                for (path, node) in moved {
                    let rest = path.strip_prefix(from).unwrap_or(Path::new(""));
                    let path = if rest == Path::new("") { to.clone() } else { to.join(rest) };
                    names.insert(path, node);
                }
            }
        }
    }
}

/// Everything on a disk, flushed or not.
#[derive(Clone, Default)]
pub struct DiskImage {
    files: BTreeMap<u64, SimFileState>,
    live_names: Names,
    durable_names: Names,
    pending_names: Vec<NameOp>,
    next_file: u64,
}

/// What of the unflushed part a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing.
    KeepNothing,
    /// Everything that was submitted: a killed process on a machine that goes on.
    KeepAll,
    /// Each operation or not, by chance.
    KeepSome,
    /// Each 512-byte sector of each write or not, by chance.
    Tear,
}

impl DiskImage {
    /// An empty disk with one directory.
    pub fn with_dir(root: &Path) -> Self {
        let mut image = Self::default();
        for dir in root.ancestors() {
            image.live_names.insert(dir.to_owned(), Node::Dir);
            image.durable_names.insert(dir.to_owned(), Node::Dir);
        }
        image
    }

    /// What the next start finds after a crash now.
    pub fn crashed(&self, crash: Crash, random: &mut SimRandom) -> Self {
        let keeps = |random: &mut SimRandom| match crash {
            Crash::KeepNothing => false,
            Crash::KeepAll => true,
            Crash::KeepSome | Crash::Tear => random.below(2) == 0,
        };
        let mut files = BTreeMap::new();
        for (id, file) in &self.files {
            let mut content = file.durable.clone();
            for pending in &file.pending {
                match (&pending.op, crash) {
                    (Op::Write { position, bytes }, Crash::Tear) => {
                        for (number, sector) in (0u64..).zip(bytes.chunks(SECTOR)) {
                            if keeps(random) {
                                content.write_sector(position + number * SECTOR as u64, sector);
                            }
                        }
                    }
                    (op, _) => {
                        if keeps(random) {
                            apply(&mut content, op);
                        }
                    }
                }
            }
            files.insert(
                *id,
                SimFileState { durable: content.clone(), live: content, pending: Vec::new() },
            );
        }
        let mut names = self.durable_names.clone();
        for op in &self.pending_names {
            if keeps(random) {
                op.apply(&mut names);
            }
        }
        // A name in a directory that itself is not there cannot be found.
        let all = names.clone();
        names
            .retain(|path, _| path.ancestors().skip(1).all(|dir| all.get(dir) == Some(&Node::Dir)));
        Self {
            files,
            live_names: names.clone(),
            durable_names: names,
            pending_names: Vec::new(),
            next_file: self.next_file,
        }
    }

    /// Change one byte of a file, as bit rot would; whether there was one.
    pub fn damage(&mut self, path: &Path, position: u64) -> bool {
        let Some(Node::File(id)) = self.live_names.get(path) else { return false };
        let Some(file) = self.files.get_mut(id) else { return false };
        for content in [&mut file.durable, &mut file.live] {
            let (number, at) = (position / BLOCK as u64, (position % BLOCK as u64) as usize);
            let mut block = content.blocks.get(&number).map_or([0; BLOCK], |block| **block);
            block[at] ^= 0x41;
            content.blocks.insert(number, Rc::new(block));
        }
        true
    }

    /// Let a file be gone, as a stranger's hand would.
    pub fn remove(&mut self, path: &Path) {
        self.live_names.remove(path);
        self.durable_names.remove(path);
    }

    /// Cut a file to `len` bytes, as a copy that broke off would be.
    pub fn cut(&mut self, path: &Path, len: u64) {
        let Some(Node::File(id)) = self.live_names.get(path) else { return };
        let Some(file) = self.files.get_mut(id) else { return };
        file.durable.truncate(len);
        file.live.truncate(len);
    }

    /// Paths of files whose path contains `part`.
    pub fn find(&self, part: &str) -> Vec<PathBuf> {
        let files = self.live_names.iter().filter(|(_, node)| matches!(node, Node::File(_)));
        files
            .filter(|(path, _)| path.to_string_lossy().contains(part))
            .map(|(path, _)| path.clone())
            .collect()
    }

    /// Content of a file as a program sees it.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let Some(Node::File(id)) = self.live_names.get(path) else { return None };
        let file = self.files.get(id)?;
        Some(file.live.read(0, usize::try_from(file.live.len).ok()?))
    }
}

struct State {
    world: Rc<World>,
    image: RefCell<DiskImage>,
    ops: Cell<u64>,
    halt_at: Cell<Option<u64>>,
    fail_at: Cell<Option<u64>>,
    ignores_flush: Cell<bool>,
    capacity: Cell<u64>,
    lacks_descriptors: Cell<bool>,
}

/// The simulated [`Disk`].
#[derive(Clone)]
pub struct SimDisk {
    state: Rc<State>,
}

impl SimDisk {
    pub(crate) fn new(world: Rc<World>, image: DiskImage) -> Self {
        Self {
            state: Rc::new(State {
                world,
                image: RefCell::new(image),
                ops: Cell::new(0),
                halt_at: Cell::new(None),
                fail_at: Cell::new(None),
                ignores_flush: Cell::new(false),
                capacity: Cell::new(u64::MAX),
                lacks_descriptors: Cell::new(false),
            }),
        }
    }

    /// Everything on it now.
    pub fn image(&self) -> DiskImage {
        self.state.image.borrow().clone()
    }

    /// Calls that change something or make it durable, so far: the possible crash points.
    pub fn ops(&self) -> u64 {
        self.state.ops.get()
    }

    /// Halt the world when the call with this number is under way.
    pub fn halt_at(&self, op: u64) {
        self.state.halt_at.set(Some(op));
    }

    /// Let the call with this number fail with an I/O error.
    pub fn fail_at(&self, op: u64) {
        self.state.fail_at.set(Some(op));
    }

    /// A device that says "flushed" and is not: the control that must make every crash test red.
    pub fn ignore_flushes(&self) {
        self.state.ignores_flush.set(true);
    }

    /// Bytes all files together may be long.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.capacity.set(bytes);
    }

    /// Whether others have taken all descriptors: no file can be opened.
    pub fn take_descriptors(&self, are_taken: bool) {
        self.state.lacks_descriptors.set(are_taken);
    }

    async fn latency(&self) {
        let micros = 1 + self.state.world.random.borrow_mut().below(LATENCY_MAX_MICROS);
        self.state.world.sleep(Duration::from_micros(micros)).await;
    }

    /// A changing call begins: a crash point. Fails if it was told to.
    fn begin(&self, what: &str) -> DiskResult<()> {
        let number = self.state.ops.get() + 1;
        self.state.ops.set(number);
        if self.state.halt_at.get() == Some(number) {
            self.state.world.halted.set(true);
        }
        if self.state.fail_at.get() == Some(number) {
            return Err(DiskError::Failed(format!("{what}: Input/output error (simulated)")));
        }
        Ok(())
    }

    async fn name_op(&self, op: NameOp) -> DiskResult<()> {
        self.begin("change a name")?;
        self.latency().await;
        let mut image = self.state.image.borrow_mut();
        op.apply(&mut image.live_names);
        image.pending_names.push(op);
        Ok(())
    }

    fn node(&self, path: &Path) -> Option<Node> {
        self.state.image.borrow().live_names.get(path).copied()
    }

    fn used(&self) -> u64 {
        let image = self.state.image.borrow();
        // A file without a name has given its space back.
        let named = image.live_names.values().filter_map(|node| match node {
            Node::File(number) => image.files.get(number),
            Node::Dir => None,
        });
        named.map(|file| file.live.len).sum()
    }
}

fn missing(path: &Path) -> DiskError {
    DiskError::NotFound(format!("{}: No such file or directory", path.display()))
}

/// Memory for simulated writes.
pub struct SimBuffer(Vec<u8>);

impl BlockBuffer for SimBuffer {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// An open simulated file.
pub struct SimFile {
    disk: SimDisk,
    id: u64,
    path: PathBuf,
}

impl Disk for SimDisk {
    type Buffer = SimBuffer;
    type File = SimFile;

    fn usable(&self) -> u64 {
        self.state.capacity.get().saturating_sub(self.used())
    }

    fn buffer(&self, len: usize) -> SimBuffer {
        assert!(len > 0 && len.is_multiple_of(BLOCK), "direct I/O needs whole blocks, not {len}");
        // What an allocator gives is not zero.
        SimBuffer(vec![0xa5; len])
    }

    async fn open(&self, path: &Path, create: bool) -> DiskResult<SimFile> {
        if self.state.lacks_descriptors.get() {
            let path = path.display();
            return Err(DiskError::Full(format!("{path}: Too many open files (simulated)")));
        }
        let id = match self.node(path) {
            Some(Node::File(id)) => id,
            Some(Node::Dir) => {
                return Err(DiskError::Failed(format!("{}: Is a directory", path.display())));
            }
            None if !create => return Err(missing(path)),
            None => {
                let parent = path.parent().unwrap_or(Path::new("/"));
                if self.node(parent) != Some(Node::Dir) {
                    return Err(missing(parent));
                }
                let id = {
                    let mut image = self.state.image.borrow_mut();
                    image.next_file += 1;
                    let id = image.next_file;
                    image.files.insert(id, SimFileState::default());
                    id
                };
                self.name_op(NameOp::Create(path.to_owned(), Node::File(id))).await?;
                id
            }
        };
        Ok(SimFile { disk: self.clone(), id, path: path.to_owned() })
    }

    async fn create_dir(&self, path: &Path) -> DiskResult<()> {
        match self.node(path) {
            Some(_) => Ok(()),
            None => self.name_op(NameOp::Create(path.to_owned(), Node::Dir)).await,
        }
    }

    async fn sync_dir(&self, path: &Path) -> DiskResult<()> {
        self.begin("flush directory")?;
        if self.node(path) != Some(Node::Dir) {
            return Err(missing(path));
        }
        self.latency().await;
        if self.state.ignores_flush.get() {
            return Ok(());
        }
        let mut image = self.state.image.borrow_mut();
        let DiskImage { durable_names, pending_names, .. } = &mut *image;
        pending_names.retain(|op| {
            let done = op.touches(path);
            if done {
                op.apply(durable_names);
            }
            !done
        });
        Ok(())
    }

    async fn rename(&self, from: &Path, to: &Path) -> DiskResult<()> {
        self.node(from).ok_or_else(|| missing(from))?;
        self.name_op(NameOp::Rename(from.to_owned(), to.to_owned())).await
    }

    async fn remove_file(&self, path: &Path) -> DiskResult<()> {
        self.node(path).ok_or_else(|| missing(path))?;
        self.name_op(NameOp::Remove(path.to_owned())).await
    }

    async fn release_file(&self, path: &Path) -> DiskResult<()> {
        self.remove_file(path).await
    }

    async fn remove_dir_all(&self, path: &Path) -> DiskResult<()> {
        match self.node(path) {
            None => Ok(()),
            Some(_) => self.name_op(NameOp::Remove(path.to_owned())).await,
        }
    }

    async fn list(&self, path: &Path) -> DiskResult<Vec<DirEntry>> {
        self.node(path).ok_or_else(|| missing(path))?;
        let image = self.state.image.borrow();
        let children = image.live_names.iter().filter(|(known, _)| known.parent() == Some(path));
        let entry = |(path, node): (&PathBuf, &Node)| DirEntry {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            is_dir: *node == Node::Dir,
        };
        Ok(children.map(entry).collect())
    }
}

impl SimFile {
    fn with<T>(&self, change: impl FnOnce(&mut SimFileState) -> T) -> T {
        let mut image = self.disk.state.image.borrow_mut();
        change(image.files.entry(self.id).or_default())
    }

    /// A flush of those operations that had completed when it was submitted.
    async fn make_durable(&self, covers: impl Fn(&Op) -> bool) -> DiskResult<()> {
        self.disk.begin(&format!("flush {}", self.path.display()))?;
        let covered: Vec<u64> = self.with(|file| {
            let done = file.pending.iter().filter(|p| p.completed && covers(&p.op));
            done.map(|p| p.number).collect()
        });
        self.disk.latency().await;
        if self.disk.state.ignores_flush.get() {
            return Ok(());
        }
        self.with(|file| {
            let SimFileState { durable, pending, .. } = file;
            pending.retain(|op| {
                let done = covered.contains(&op.number);
                if done {
                    apply(durable, &op.op);
                }
                !done
            });
        });
        Ok(())
    }

    async fn apply(&self, op: Op) -> DiskResult<()> {
        self.disk.begin(&format!("write {}", self.path.display()))?;
        let number = self.disk.state.ops.get();
        self.with(|file| {
            if let Op::Write { position, bytes } = &op {
                let end = position + bytes.len() as u64;
                let overlaps = file.pending.iter().any(|other| {
                    let is_write = matches!(other.op, Op::Write { .. });
                    is_write && !other.completed && other.op.touches(*position, end)
                });
                assert!(
                    !overlaps,
                    "two writes under way to one block of {} at {position}..{end}",
                    self.path.display()
                );
            }
            file.pending.push(PendingOp { number, op: op.clone(), completed: false });
        });
        self.disk.latency().await;
        self.with(|file| {
            apply(&mut file.live, &op);
            if let Some(done) = file.pending.iter_mut().find(|p| p.number == number) {
                done.completed = true;
            }
        });
        Ok(())
    }
}

impl DiskFile for SimFile {
    type Buffer = SimBuffer;

    async fn write_at(&self, position: u64, buffer: Rc<SimBuffer>) -> DiskResult<()> {
        assert!(position.is_multiple_of(BLOCK as u64), "direct I/O at position {position}");
        // What the device takes is fixed at submission: a buffer changed under way shows.
        let bytes = Rc::new(buffer.0.clone());
        self.apply(Op::Write { position, bytes: Rc::clone(&bytes) }).await?;
        assert!(buffer.0 == *bytes, "a buffer was changed while it was being written");
        Ok(())
    }

    async fn write_durable_at(&self, position: u64, buffer: Rc<SimBuffer>) -> DiskResult<()> {
        let end = position + buffer.0.len() as u64;
        self.write_at(position, buffer).await?;
        // Other bytes of the file stay as they were: nobody may rely on them.
        self.make_durable(|op| op.touches(position, end)).await
    }

    async fn read_at(&self, position: u64, len: usize) -> DiskResult<Bytes> {
        assert!(position.is_multiple_of(BLOCK as u64) && len.is_multiple_of(BLOCK));
        self.disk.latency().await;
        Ok(self.with(|file| file.live.read(position, len)).into())
    }

    async fn flush(&self) -> DiskResult<()> {
        self.make_durable(|_| true).await
    }

    async fn allocate(&self, len: u64) -> DiskResult<()> {
        let grows = len.saturating_sub(self.len()?);
        if self.disk.used() + grows > self.disk.state.capacity.get() {
            return Err(DiskError::Full(format!(
                "allocate {}: No space left on device (simulated)",
                self.path.display()
            )));
        }
        self.apply(Op::Extend(len)).await
    }

    async fn truncate(&self, len: u64) -> DiskResult<()> {
        self.apply(Op::Truncate(len)).await
    }

    fn len(&self) -> DiskResult<u64> {
        Ok(self.with(|file| file.live.len))
    }
}
