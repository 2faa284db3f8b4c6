//! From a checked configuration to a serving broker, and back down.
//!
//! Up: lock the directory, bind the port, open the metadata, start one executor per core,
//! recover the logs on the first, give every shard its own, accept. Down (SIGTERM, SIGINT): accept
//! no more, end the connections, write everything, end. A second signal ends at once, which
//! recovery makes up for. A panic in any task ends the process: a shard that died in silence would
//! be worse than a restart.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use futures_channel::mpsc::{Receiver, Sender};
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use futures_util::{FutureExt, StreamExt};
use glommio::{LocalExecutorBuilder, Placement};

use crate::cluster::controller::ControllerLimits;
use crate::cluster::image::Image;
use crate::cluster::log::{self as metadata, MetadataWriter, Opened};
use crate::cluster::placement;
use crate::config::{Config, HostPort};
use crate::metrics::Value;
use crate::model::{ShardId, TopicPartition};
use crate::runtime::core::{Core, Cores};
use crate::runtime::glommio::GlommioRuntime;
use crate::runtime::{LineLimit, Queue, Runtime};
use crate::shard::Shard;
use crate::shard::call::{Call, Reply};
use crate::shard::control::{Controller, topic_settings};
use crate::shard::mesh::{Mesh, Message, Post};
use crate::storage::{self, ShardStart, StorageConfig, Store};

use super::connection::{self, ConnectionLimits};
use super::fetch_session::FetchSessions;
use super::frames::FrameReader;
use super::listener::{self, Admissions};
use super::memory::FrameMemory;
use super::readiness::Readiness;
use super::request::{Caller, Identity};
use super::signal::Signal;
use super::{http, socket};

/// Entries of a shard's submission ring: glommio's default costs a third more per request with a
/// thousand connections.
const RING_ENTRIES: usize = 1024;
/// Rest before a message that found no room in a channel is tried again.
const OUTBOX_RETRY: Duration = Duration::from_micros(50);
/// A client that takes no answers for so long is cut off.
const STALLED: Duration = Duration::from_secs(60);
/// Two addresses and more.
const LOCK_BYTES_MAX: u64 = 4096;
/// How long connections may take to finish when the broker stops.
const DRAIN: Duration = Duration::from_secs(5);

/// What the caller of [`run`] may tell its user once the broker serves.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where we listen.
    pub listening: SocketAddr,
    /// What clients are told.
    pub advertised: HostPort,
    /// Where the metrics page is, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// The cluster's id.
    pub cluster_id: String,
}

/// What every shard's thread is given.
#[derive(Clone)]
struct Common {
    config: Arc<Config>,
    identity: Arc<Identity>,
    image: Arc<Image>,
    admissions: Arc<Admissions>,
    cores: Arc<Cores>,
}

/// What only the first shard's thread is given.
struct First {
    listener: StdListener,
    metrics: Option<StdListener>,
    writer: MetadataWriter,
    stop: oneshot::Receiver<()>,
    starts: Vec<mpsc::Sender<ShardStart>>,
    ready: mpsc::Sender<Result<(), String>>,
}

/// Run a broker until SIGTERM or SIGINT; `ready` is called once it serves.
///
/// # Errors
/// Why it could not start, or what could not be written at the end.
pub fn run(config: Config, ready: impl FnOnce(&Ready)) -> Result<(), String> {
    abort_on_panic();
    block_signals();
    keep_freed_memory();
    announce_barriers();
    let config = Arc::new(config);
    std::fs::create_dir_all(&config.data_dir)
        .map_err(|e| format!("cannot create {}: {e}", config.data_dir.display()))?;
    let lock = lock(&config)?;
    let backlog = config.limits.listen_backlog_max;
    let last_run = lock.last_run();
    let bind = |address: &HostPort| {
        let address = address.to_string();
        listener::bind(&address, backlog, last_run.lines().any(|line| line == address))
    };
    let listener = bind(&config.listen)?;
    let listening = listener.local_addr().map_err(|e| e.to_string())?;
    let metrics = config.metrics_listen.as_ref().map(bind).transpose()?;
    // As configured, and as bound: port 0 has become another one.
    let mut addresses = vec![config.listen.to_string(), listening.to_string()];
    addresses.extend(config.metrics_listen.iter().map(ToString::to_string));
    lock.remember(&addresses)?;
    let Opened { properties, image, writer } = metadata::open(&config.data_dir, config.node_id)?;
    let advertised = config.advertised(listening);
    let told = Ready {
        listening,
        advertised: advertised.clone(),
        metrics: metrics.as_ref().and_then(|m| m.local_addr().ok()),
        cluster_id: properties.cluster_id.clone(),
    };
    let identity = Identity {
        cluster_id: properties.cluster_id,
        directory_id: properties.directory_id,
        node_id: config.node_id,
        host: advertised.host,
        port: advertised.port,
        rack: config.rack.clone(),
    };
    let shards = config.shards();
    let common = Common {
        identity: Arc::new(identity),
        image: Arc::new(image),
        admissions: Arc::default(),
        cores: Cores::new(),
        config,
    };
    let (ready_sender, is_ready) = mpsc::channel();
    let (stop_sender, stop) = oneshot::channel();
    let mut starts = Vec::new();
    let mut threads = Vec::new();
    let mut ends = mesh_ends(shards, common.config.limits.mesh_calls_max);
    for (id, ends) in (1..).zip(ends.split_off(1)) {
        let (start, started) = mpsc::channel();
        starts.push(start);
        let common = common.clone();
        threads.push(start_shard(id, common, move |common, id, runtime| async move {
            follow(common, id, runtime?, ends, &started).await
        })?);
    }
    let first = First { listener, metrics, writer, stop, starts, ready: ready_sender };
    let own = ends.remove(0);
    threads.insert(
        0,
        start_shard(0, common, move |common, _, runtime| lead(common, runtime, own, first))?,
    );
    match is_ready.recv() {
        Ok(Ok(())) => ready(&told),
        Ok(Err(why)) => return Err(why),
        Err(_) => return Err("a shard ended while the broker was starting".into()),
    }
    wait_for_stop(stop_sender);
    let mut outcome = Ok(());
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(why)) => outcome = Err(why),
            Err(_) => outcome = Err("a shard ended with a panic".into()),
        }
    }
    outcome
}

type ShardThread = std::thread::JoinHandle<Result<(), String>>;

/// One thread, pinned to its core to begin with, with one executor.
fn start_shard<F>(
    id: usize,
    common: Common,
    body: impl FnOnce(Common, ShardId, Result<GlommioRuntime, String>) -> F + Send + 'static,
) -> Result<ShardThread, String>
where
    F: Future<Output = Result<(), String>> + 'static,
{
    let core = common.config.cores[id];
    let work = move || {
        let executor = LocalExecutorBuilder::new(Placement::Fixed(core))
            .name(&format!("shard-{id}"))
            .ring_depth(RING_ENTRIES)
            .make()
            .map_err(|e| format!("cannot start an executor on core {core}: {e}"))?;
        executor.run(async move {
            let runtime = start_runtime(&common).await;
            let entered = runtime.as_ref().ok().cloned();
            let body = body(common, id as ShardId, runtime);
            match entered {
                Some(runtime) => runtime.enter(body).await,
                None => body.await,
            }
        })
    };
    std::thread::Builder::new()
        .name(format!("shard-{id}"))
        .spawn(work)
        .map_err(|e| format!("cannot start a thread for shard {id}: {e}"))
}

/// The first shard: recovery, controller, listener.
async fn lead(
    common: Common,
    runtime: Result<GlommioRuntime, String>,
    ends: MeshEnds,
    first: First,
) -> Result<(), String> {
    let First { listener, metrics, writer, stop, starts, ready } = first;
    let told = ready.clone();
    let began = async {
        let runtime = runtime?;
        let own = recover(&runtime, &common, &starts).await?;
        let limits = ControllerLimits {
            node_id: common.config.node_id,
            directory_id: common.identity.directory_id,
            topics_max: common.config.limits.topics_max,
            partitions_max: common.config.limits.partitions_max,
            topic_partitions_max: common.config.limits.topic_partitions_max,
            partitions_default: common.config.num_partitions,
        };
        let controller = Controller::new((*common.image).clone(), limits, writer);
        let (shard, receivers) =
            open_shard(&common, 0, runtime, ends, own, Some(controller)).await?;
        let serving = Serving::new(&common, shard)?;
        serving.clone().hear_others(receivers);
        // Every shard installs the image; only then is anything accepted.
        let image = common.image.clone();
        for reply in serving.shard.ask_all(|| Call::Install(image.clone())).await {
            if let Reply::Install(failures) = reply
                && let Some((partition, why)) = failures.first()
            {
                return Err(format!("the log of {partition:?} cannot be opened: {why}"));
            }
        }
        Ok(serving)
    };
    let serving = match began.await {
        Ok(serving) => serving,
        Err(why) => {
            let _ = told.send(Err(why));
            // The other shards wait for their start or for the mesh: the process ends.
            return std::future::pending().await;
        }
    };
    let shard = serving.shard.clone();
    let accepting = serving.clone();
    let door =
        listener.try_clone().map_err(|e| format!("cannot keep hold of the listener: {e}"))?;
    shard.runtime.spawn(Queue::Network, {
        let shard = shard.clone();
        async move {
            let readiness = accepting.readiness.clone();
            let here = |fd| accepting.admit(fd);
            // Without it nobody could connect, which nobody would notice.
            let accepted = listener::accept(shard, &readiness, listener, here).await;
            accepted.expect("a listener can be watched");
        }
    });
    if let Some(metrics) = metrics {
        shard.runtime.spawn(Queue::Background, http::serve(shard.clone(), metrics));
    }
    give_back_freed_memory();
    let _ = ready.send(Ok(()));
    let _ = stop.await;
    // At once: the kernel would keep the port, and take connections, until the poll under way is
    // taken apart, some time after the process has ended.
    socket::shut_down(door.as_raw_fd());
    for other in 1..shard.shards {
        shard.mesh().post(other, Message::Stop);
    }
    serving.stop().await
}

/// Every other shard.
async fn follow(
    common: Common,
    id: ShardId,
    runtime: GlommioRuntime,
    ends: MeshEnds,
    started: &mpsc::Receiver<ShardStart>,
) -> Result<(), String> {
    // Blocks this thread: nothing else runs here yet.
    let Ok(start) = started.recv() else { return std::future::pending().await };
    let (shard, receivers) = open_shard(&common, id, runtime, ends, start, None).await?;
    let serving = Serving::new(&common, shard)?;
    serving.clone().hear_others(receivers);
    serving.stopping.wait().await;
    serving.stop().await
}

async fn start_runtime(common: &Common) -> Result<GlommioRuntime, String> {
    let core =
        if common.config.keeps_cores { Core::fixed() } else { Core::shared(common.cores.clone()) };
    GlommioRuntime::start(&common.config.data_dir, core).await.map_err(|e| format!("{e:?}"))
}

fn storage_config(config: &Config) -> StorageConfig {
    StorageConfig {
        data_dir: config.data_dir.clone(),
        journal_bytes_max: config.limits.journal_bytes_max,
        direct_append_bytes_min: config.limits.direct_append_bytes_min,
        direct_unflushed_append_bytes_min: config.limits.direct_unflushed_append_bytes_min,
        pending_bytes_max: config.limits.pending_bytes_max,
        cache_bytes_max: config.limits.cache_bytes_max,
        open_files_max: config.limits.open_files_max / config.shards(),
        pool_bytes_max: config.limits.pool_bytes_max / config.shards() as u64,
    }
}

/// Replay what the last run left and give the other shards their parts.
async fn recover(
    runtime: &GlommioRuntime,
    common: &Common,
    starts: &[mpsc::Sender<ShardStart>],
) -> Result<ShardStart, String> {
    let shards = common.config.shards() as ShardId;
    let owner = |id: TopicPartition| {
        let topic = common.image.topic_by_id(id.topic_id)?;
        usize::try_from(id.partition).ok().filter(|i| *i < topic.partitions.len())?;
        let (log, _) = topic_settings(&common.config, &common.image, id);
        Some((placement::owner(id, shards), log))
    };
    let config = storage_config(&common.config);
    let recovered = storage::recover(runtime, &config, shards, &owner)
        .await
        .map_err(|e| format!("the logs cannot be recovered: {e:?}"))?;
    let mut own = None;
    for start in recovered {
        match usize::from(start.shard) {
            0 => own = Some(start),
            id => {
                let gone = || format!("shard {id} ended while the broker was starting");
                starts[id - 1].send(start).map_err(|_| gone())?;
            }
        }
    }
    own.ok_or_else(|| "recovery gave the first shard nothing".into())
}

type Opening = (Rc<Shard<GlommioRuntime>>, Vec<(ShardId, Receiver<Message>)>);

/// One shard's ends of the channels to and from every other.
struct MeshEnds {
    to: Vec<(ShardId, Sender<Message>)>,
    from: Vec<(ShardId, Receiver<Message>)>,
}

/// A channel from every shard to every other; one element for each shard. Not glommio's: those are
/// looked at in its turn, which a busy shard gives it now and then.
fn mesh_ends(shards: usize, messages_max: usize) -> Vec<MeshEnds> {
    let none = || MeshEnds { to: Vec::new(), from: Vec::new() };
    let mut ends: Vec<MeshEnds> = (0..shards).map(|_| none()).collect();
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            let (sender, receiver) = futures_channel::mpsc::channel(messages_max);
            ends[from].to.push((to as ShardId, sender));
            ends[to].from.push((from as ShardId, receiver));
        }
    }
    ends
}

/// Join the mesh, open the store, take over the recovered partitions.
async fn open_shard(
    common: &Common,
    id: ShardId,
    runtime: GlommioRuntime,
    ends: MeshEnds,
    start: ShardStart,
    controller: Option<Rc<Controller>>,
) -> Result<Opening, String> {
    let MeshEnds { to, from: receivers } = ends;
    let mesh = Mesh::new(Box::new(Channels(RefCell::new(to))));
    let store = Store::open(runtime.clone(), storage_config(&common.config), start)
        .await
        .map_err(|e| format!("shard {id} cannot open its store: {e:?}"))?;
    let shards = common.config.shards() as ShardId;
    let config = common.config.clone();
    let shard = Shard::new(id, shards, runtime, config, mesh, store.clone(), controller);
    for (log, replay) in store.take_recovered() {
        shard.adopt(&common.image, log, &replay)?;
    }
    Ok((shard, receivers))
}

/// Channels as a transport of the mesh.
struct Channels(RefCell<Vec<(ShardId, Sender<Message>)>>);

impl Post for Channels {
    fn try_post(&self, to: ShardId, message: Message) -> Result<(), Option<Message>> {
        let mut senders = self.0.borrow_mut();
        let found = senders.iter_mut().find(|(id, _)| *id == to);
        let Some((_, sender)) = found else { return Err(None) };
        sender
            .try_send(message)
            .map_err(|refused| if refused.is_full() { Some(refused.into_inner()) } else { None })
    }
}

/// A serving shard: its connections and what they share.
struct Serving {
    shard: Rc<Shard<GlommioRuntime>>,
    readiness: Rc<Readiness>,
    identity: Arc<Identity>,
    memory: Rc<FrameMemory>,
    fetch_memory: Rc<FrameMemory>,
    sessions: Rc<RefCell<FetchSessions>>,
    hangups: Rc<LineLimit>,
    admissions: Arc<Admissions>,
    /// Descriptors of open connections, to end them when stopping.
    connections: RefCell<HashMap<u64, RawFd>>,
    next_connection: Cell<u64>,
    /// Waits of other shards' fetches; dropping the sender ends one.
    waits: RefCell<HashMap<(ShardId, u64), oneshot::Sender<()>>>,
    is_stopping: Cell<bool>,
    stopping: Signal,
    last_closed: Signal,
}

impl Serving {
    fn new(common: &Common, shard: Rc<Shard<GlommioRuntime>>) -> Result<Rc<Self>, String> {
        let readiness = Readiness::new(Rc::clone(shard.runtime.ring()));
        let limits = &common.config.limits;
        let sessions = limits.fetch_sessions_max.div_ceil(common.config.shards());
        let seed = shard.runtime.wall_ms() as u32 ^ (u32::from(shard.id) << 24);
        let serving = Rc::new(Self {
            identity: common.identity.clone(),
            memory: FrameMemory::new(limits.frame_memory_bytes_max),
            fetch_memory: FrameMemory::new(limits.fetch_memory_bytes_max),
            sessions: Rc::new(RefCell::new(FetchSessions::new(sessions, seed))),
            hangups: Rc::default(),
            admissions: common.admissions.clone(),
            connections: RefCell::default(),
            next_connection: Cell::new(0),
            waits: RefCell::default(),
            is_stopping: Cell::new(false),
            stopping: Signal::default(),
            last_closed: Signal::default(),
            readiness,
            shard,
        });
        let shard = serving.shard.clone();
        shard.runtime.settle();
        shard.runtime.spawn(Queue::Network, serving.readiness.clone().keep_time());
        shard.runtime.spawn(Queue::Background, shard.clone().keep_house());
        shard.runtime.spawn(Queue::Background, shard.clone().keep_clean());
        shard.runtime.spawn(Queue::Network, shard.clone().tend_groups());
        shard.runtime.spawn(Queue::Network, shard.clone().watch_for_stalls());
        Ok(serving)
    }

    /// Hear what other shards send, and send them what found no room at first.
    fn hear_others(self: Rc<Self>, receivers: Vec<(ShardId, Receiver<Message>)>) {
        for (from, mut receiver) in receivers {
            let serving = self.clone();
            self.shard.runtime.spawn(Queue::Network, async move {
                while let Some(message) = receiver.next().await {
                    serving.hear(from, message);
                }
            });
        }
        let shard = self.shard.clone();
        self.shard.runtime.spawn(Queue::Network, async move {
            loop {
                shard.mesh().outbox_filled().await;
                while !shard.mesh().drain_outbox() {
                    shard.runtime.sleep(OUTBOX_RETRY).await;
                }
            }
        });
    }

    /// One message from another shard. What fixes an order happens before this returns.
    fn hear(self: &Rc<Self>, from: ShardId, message: Message) {
        match message {
            Message::Call(id, call) => self.carry_out(from, id, call),
            Message::Reply(id, reply) => self.shard.mesh().answered(id, reply),
            Message::Forget(id) => drop(self.waits.borrow_mut().remove(&(from, id))),
            Message::Connection(fd) => self.admit(fd),
            Message::Stop => self.stopping.set(),
        }
    }

    fn carry_out(self: &Rc<Self>, from: ShardId, id: u64, call: Call) {
        // What may wait for long is given up when its asker hangs up.
        let is_wait = matches!(call, Call::Wait(_) | Call::Group(_));
        let mut begun = self.shard.begin(call);
        if let Some(reply) = (&mut begun).now_or_never() {
            self.shard.mesh().post(from, Message::Reply(id, reply));
            return;
        }
        let serving = self.clone();
        if !is_wait {
            self.shard.runtime.spawn(Queue::Network, async move {
                let reply = begun.await;
                serving.shard.mesh().post(from, Message::Reply(id, reply));
            });
            return;
        }
        // A wait ends early when its asker forgets it: the sender is dropped then.
        let (kept, forgotten) = oneshot::channel::<()>();
        self.waits.borrow_mut().insert((from, id), kept);
        self.shard.runtime.spawn(Queue::Network, async move {
            if let Either::Left((reply, _)) = select(begun, forgotten).await {
                serving.waits.borrow_mut().remove(&(from, id));
                serving.shard.mesh().post(from, Message::Reply(id, reply));
            }
        });
    }

    /// Serve a connection, if there is room for one more.
    fn admit(self: &Rc<Self>, fd: OwnedFd) {
        let metrics = &self.shard.metrics;
        let peer = peer_of(&fd);
        let live = self.shard.live_config();
        let Some(admission) = self.admissions.admit(peer.ip(), &live.limits) else {
            metrics.add(Value::ConnectionsRefused, 1);
            if let Some(unsaid) = self.hangups.may_log(self.shard.runtime.now()) {
                tracing::warn!(%peer, unsaid, "refused a connection: max.connections or \
                    max.connections.per.ip is reached; close some or raise the limit");
            }
            return;
        };
        if self.is_stopping.get() {
            return;
        }
        let id = self.next_connection.replace(self.next_connection.get() + 1);
        let raw = fd.as_raw_fd();
        let limits = &self.shard.config.limits;
        let idle = Duration::from_millis(limits.connection_idle_ms_max);
        let (receiver, sender) = match socket::split(&self.readiness, fd, STALLED) {
            Ok(halves) => halves,
            Err(error) => {
                tracing::warn!(%peer, "cannot serve a connection: {error}");
                return;
            }
        };
        metrics.add(Value::ConnectionsOpen, 1);
        self.connections.borrow_mut().insert(id, raw);
        let caller = Rc::new(Caller {
            shard: self.shard.clone(),
            sessions: self.sessions.clone(),
            identity: self.identity.clone(),
            fetch_memory: self.fetch_memory.clone(),
            hangups: self.hangups.clone(),
            peer,
            client_id: RefCell::default(),
            software: RefCell::default(),
            closing: Cell::new(false),
        });
        let frames = FrameReader::new(receiver, self.memory.clone(), limits.frame_bytes_max, idle);
        let limits = ConnectionLimits {
            requests_max: limits.connection_requests_max,
            bytes_max: limits.connection_bytes_max,
        };
        let serving = self.clone();
        self.shard.runtime.spawn(Queue::Network, async move {
            let _admission = admission;
            let registered = serving.clone();
            let closing = move || {
                registered.connections.borrow_mut().remove(&id);
            };
            connection::serve(caller, frames, sender, raw, limits, closing).await;
            serving.shard.metrics.sub(Value::ConnectionsOpen, 1);
            if serving.connections.borrow().is_empty() {
                serving.last_closed.set();
            }
        });
    }

    /// End the connections, write everything.
    async fn stop(&self) -> Result<(), String> {
        self.is_stopping.set(true);
        self.shard.close_groups();
        for fd in self.connections.borrow().values() {
            socket::shut_down(*fd);
        }
        let deadline = self.shard.runtime.sleep(DRAIN);
        let drained = async {
            while !self.connections.borrow().is_empty() {
                self.last_closed.wait().await;
            }
        };
        select(Box::pin(drained), Box::pin(deadline)).await;
        self.shard.store().close().await.map_err(|e| {
            format!("shard {} could not write everything at the end: {e:?}", self.shard.id)
        })
    }
}

fn peer_of(fd: &OwnedFd) -> SocketAddr {
    let socket = socket2::SockRef::from(fd);
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    socket.peer_addr().ok().and_then(|a| a.as_socket()).unwrap_or(unknown)
}

/// The lock of a data directory, held while it is open. It names the addresses that its broker
/// listens on: the next one knows by them whose a port is that does not come free at once.
struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// The addresses of the broker before this one, one in a line; nothing when there was none.
    fn last_run(&self) -> String {
        let mut text = String::new();
        // What cannot be read costs patience with a port, nothing else.
        let _ = (&self.file).take(LOCK_BYTES_MAX).read_to_string(&mut text);
        text
    }

    fn remember(&self, addresses: &[String]) -> Result<(), String> {
        let text = addresses.join("\n");
        let written =
            self.file.set_len(0).and_then(|()| self.file.write_all_at(text.as_bytes(), 0));
        written.map_err(|e| format!("cannot write {}: {e}", self.path.display()))
    }
}

/// One broker per data directory.
fn lock(config: &Config) -> Result<Lock, String> {
    let path = config.data_dir.join("lock");
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| format!("cannot open {}: {e}", path.display()))?;
    file.try_lock().map_err(|_| {
        format!(
            "the data directory {} is in use by another broker ({} is locked): stop it, or give \
             this one its own with --data-dir",
            config.data_dir.display(),
            path.display()
        )
    })?;
    Ok(Lock { file, path })
}

/// A panic ends the process, also in builds that unwind.
fn abort_on_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |what| {
        // A thread for blocking calls that finds its executor ended (glommio panics then): nobody
        // waits for its answer. It must neither abort a clean stop nor go on.
        let place = what.location().map_or("", |l| l.file());
        if place.ends_with("glommio-0.9.0/src/sys/blocking.rs")
            && what.payload().downcast_ref() == Some(&"failed to send response")
        {
            loop {
                std::thread::park();
            }
        }
        say(what);
        std::process::abort();
    }));
}

/// Frames and read buffers of a megabyte come and go thousands of times a second. By default the
/// allocator maps each afresh or gives it back to the kernel at once, and the page faults cost more
/// than the copy. What the budgets allow is kept instead.
fn keep_freed_memory() {
    // SAFETY: sets two numbers of the allocator before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 20);
    }
}

/// glommio says with its first sleep that this process uses membarrier(2). With one thread the
/// kernel only notes it; with several it first waits until every core has passed a quiet point,
/// which takes longer than the rest of a start. A kernel that refuses refuses glommio, too, which
/// does without.
fn announce_barriers() {
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;
    // SAFETY: takes no memory.
    unsafe { libc::syscall(libc::SYS_membarrier, REGISTER_PRIVATE_EXPEDITED, 0) };
}

/// What recovery read and freed is of no use to a broker that serves.
fn give_back_freed_memory() {
    // SAFETY: walks the allocator's own free lists, under its locks.
    unsafe { libc::malloc_trim(0) };
}

/// SIGTERM and SIGINT are taken by [`wait_for_stop`] alone: blocked here, before any thread
/// starts. One that did not block them would let the kernel end the process in its place.
fn block_signals() {
    let set = stop_signals();
    // SAFETY: a valid set; only this thread's mask (and those of its future threads) changes.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
}

fn stop_signals() -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the set before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::sigaddset(&mut set, libc::SIGINT);
        set
    }
}

/// Wait for a signal to stop; a second one ends the process at once.
fn wait_for_stop(stop: oneshot::Sender<()>) {
    let wait = || {
        let set = stop_signals();
        let mut signal = 0;
        // SAFETY: both point to live locals.
        unsafe { libc::sigwait(&set, &mut signal) };
        signal
    };
    let signal = wait();
    tracing::info!(signal, "stopping: connections end, everything is written");
    let _ = stop.send(());
    #[expect(clippy::disallowed_methods, reason = "a second signal asks for exactly that")]
    let again = std::thread::Builder::new().name("second-signal".into()).spawn(move || {
        wait();
        tracing::warn!("stopped at once by a second signal; the next start recovers");
        std::process::exit(130);
    });
    drop(again);
}
