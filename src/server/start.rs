//! From a checked configuration to a serving broker, and back down.
//!
//! Up: lock the directory, bind the port, open the metadata, start one executor per core,
//! recover the logs on the first, give every shard its own, accept. Down (SIGTERM, SIGINT): accept
//! no more, end the connections, write everything, end. A second signal ends at once, which
//! recovery makes up for. A panic in any task ends the process: a shard that died in silence would
//! be worse than a restart.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;

use futures_channel::mpsc::Receiver;
use futures_channel::oneshot;
use glommio::{LocalExecutorBuilder, Placement};

use crate::cluster::configs;
use crate::cluster::controller::ControllerLimits;
use crate::cluster::image::Image;
use crate::cluster::log::{self as metadata, MetadataWriter, Opened};
use crate::cluster::placement;
use crate::config::{Config, Durability, HostPort};
use crate::model::{ShardId, TopicPartition, Uuid};
use crate::runtime::core::{Core, Cores};
use crate::runtime::glommio::{GlommioRuntime, no_ring};
use crate::runtime::{Queue, Runtime};
use crate::shard::Shard;
use crate::shard::call::{Call, Reply};
use crate::shard::control::{Controller, topic_settings};
use crate::shard::mesh::{Mesh, Message};
use crate::storage::{self, Owner, ShardStart, StorageConfig, Store};

use super::admissions::Admissions;
use super::channels::{self, Ends};
use super::listener;
use super::lock::Lock;
use super::request::Identity;
use super::serving::Serving;
use super::{http, process, socket};

/// Entries of a shard's submission ring: glommio's default costs a third more per request with a
/// thousand connections.
const RING_ENTRIES: usize = 1024;

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
    /// What acks=all waits for in topics without a setting of their own, changes at run time
    /// included.
    pub durability: Durability,
    /// Topics with `thalweg.durability=write` of their own.
    pub relaxed_topics: usize,
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
    removed: HashSet<Uuid>,
    stop: oneshot::Receiver<()>,
    starts: Vec<mpsc::Sender<ShardStart>>,
    ready: Told,
}

/// A shard's word to whoever started it: that the broker serves, or why it cannot.
type Told = mpsc::Sender<Result<(), String>>;

/// Run a broker until SIGTERM or SIGINT; `ready` is called once it serves.
///
/// # Errors
/// Why it could not start, or what could not be written at the end.
pub fn run(config: Config, ready: impl FnOnce(&Ready)) -> Result<(), String> {
    process::abort_on_panic();
    process::block_signals();
    process::keep_freed_memory();
    process::announce_barriers();
    let config = Arc::new(config);
    std::fs::create_dir_all(&config.data_dir)
        .map_err(|e| format!("cannot create {}: {e}", config.data_dir.display()))?;
    let lock = Lock::take(&config.data_dir)?;
    let backlog = config.limits.listen_backlog_max;
    let last_run = lock.last_run();
    let bind = |address: &HostPort| {
        let name = address.to_string();
        listener::bind(address, backlog, last_run.lines().any(|line| line == name))
    };
    let listener = bind(&config.listen)?;
    let listening = listener.local_addr().map_err(|e| e.to_string())?;
    let metrics = config.metrics_listen.as_ref().map(bind).transpose()?;
    // As configured, and as bound: port 0 has become another one.
    let mut addresses = vec![config.listen.to_string(), listening.to_string()];
    addresses.extend(config.metrics_listen.iter().map(ToString::to_string));
    lock.remember(&addresses)?;
    let Opened { properties, image, removed, writer } =
        metadata::open(&config.data_dir, config.node_id)?;
    let advertised = config.advertised(listening);
    let told = Ready {
        listening,
        advertised: advertised.clone(),
        metrics: metrics.as_ref().and_then(|m| m.local_addr().ok()),
        cluster_id: properties.cluster_id.clone(),
        durability: configs::live(&config, &image).0.durability,
        relaxed_topics: image.topics().filter(|topic| configs::is_relaxed(topic)).count(),
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
        admissions: Arc::new(Admissions::new(shards)),
        cores: Cores::new(),
        config,
    };
    let (ready_sender, is_ready) = mpsc::channel();
    let (stop_sender, stop) = oneshot::channel();
    let mut starts = Vec::new();
    let mut threads = Vec::new();
    let mut ends = channels::between(shards, common.config.limits.mesh_calls_max);
    for (id, ends) in (1..).zip(ends.split_off(1)) {
        let (start, started) = mpsc::channel();
        starts.push(start);
        let common = common.clone();
        threads.push(start_shard(id, common, &ready_sender, move |common, id, runtime| async move {
            follow(common, id, runtime?, ends, &started).await
        })?);
    }
    let ready_first = ready_sender.clone();
    let first = First { listener, metrics, writer, removed, stop, starts, ready: ready_first };
    let own = ends.remove(0);
    let leading = move |common, _, runtime| lead(common, runtime, own, first);
    threads.insert(0, start_shard(0, common, &ready_sender, leading)?);
    drop(ready_sender);
    match is_ready.recv() {
        Ok(Ok(())) => ready(&told),
        Ok(Err(why)) => return Err(why),
        Err(_) => return Err("a shard ended while the broker was starting".into()),
    }
    process::wait_for_stop(stop_sender);
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

/// One thread, pinned to its core to begin with, with one executor. What it lacks goes to `told`
/// before anybody can notice that the shard is gone.
fn start_shard<F>(
    id: usize,
    common: Common,
    told: &Told,
    body: impl FnOnce(Common, ShardId, Result<GlommioRuntime, String>) -> F + Send + 'static,
) -> Result<ShardThread, String>
where
    F: Future<Output = Result<(), String>> + 'static,
{
    let core = common.config.cores[id];
    let told = told.clone();
    let tell = move |why: String| {
        let _ = told.send(Err(why.clone()));
        why
    };
    let work = move || {
        let executor = LocalExecutorBuilder::new(Placement::Fixed(core))
            .name(&format!("shard-{id}"))
            .ring_depth(RING_ENTRIES)
            .make()
            .map_err(|e| tell(no_ring(&format!("executor on core {core}"), &e.into())))?;
        executor.run(async move {
            let runtime = start_runtime(&common).await.map_err(tell);
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
    ends: Ends,
    first: First,
) -> Result<(), String> {
    let First { listener, metrics, writer, removed, stop, starts, ready } = first;
    let told = ready.clone();
    let began = async {
        let runtime = runtime?;
        let own = recover(&runtime, &common, &removed, &starts).await?;
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
        let serving = Serving::new(&common.identity, &common.admissions, shard);
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
    let doors = [Some(&listener), metrics.as_ref()].into_iter().flatten();
    let doors: io::Result<Vec<StdListener>> = doors.map(StdListener::try_clone).collect();
    let doors = doors.map_err(|e| format!("cannot keep hold of the listeners: {e}"))?;
    shard.runtime.spawn(Queue::Network, {
        let shard = shard.clone();
        async move {
            let readiness = accepting.readiness.clone();
            let admissions = accepting.admissions.clone();
            let here = |fd| accepting.admit(fd);
            // Without it nobody could connect, which nobody would notice.
            let accepted = listener::accept(shard, &readiness, listener, &admissions, here).await;
            accepted.expect("a listener can be watched");
        }
    });
    if let Some(metrics) = metrics {
        let served = http::serve(shard.clone(), serving.readiness.clone(), metrics);
        shard.runtime.spawn(Queue::Background, async {
            served.await.expect("the metrics listener can be watched");
        });
    }
    process::give_back_freed_memory();
    let _ = ready.send(Ok(()));
    let _ = stop.await;
    // At once: the kernel would keep the port, and take connections, until the poll under way is
    // taken apart, some time after the process has ended.
    doors.iter().for_each(|door| socket::shut_down(door.as_raw_fd()));
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
    ends: Ends,
    started: &mpsc::Receiver<ShardStart>,
) -> Result<(), String> {
    // Blocks this thread: nothing else runs here yet.
    let Ok(start) = started.recv() else { return std::future::pending().await };
    let (shard, receivers) = open_shard(&common, id, runtime, ends, start, None).await?;
    let serving = Serving::new(&common.identity, &common.admissions, shard);
    serving.clone().hear_others(receivers);
    serving.stopping.wait().await;
    serving.stop().await
}

async fn start_runtime(common: &Common) -> Result<GlommioRuntime, String> {
    let core =
        if common.config.keeps_cores { Core::fixed() } else { Core::shared(common.cores.clone()) };
    GlommioRuntime::start(&common.config.data_dir, core).await.map_err(|e| e.to_string())
}

/// Replay what the last run left and give the other shards their parts.
async fn recover(
    runtime: &GlommioRuntime,
    common: &Common,
    removed: &HashSet<Uuid>,
    starts: &[mpsc::Sender<ShardStart>],
) -> Result<ShardStart, String> {
    let shards = common.config.shards() as ShardId;
    let owner = |id: TopicPartition| {
        let partitions = common.image.topic_by_id(id.topic_id).map_or(0, |t| t.partitions.len());
        if usize::try_from(id.partition).is_ok_and(|i| i < partitions) {
            let (log, _) = topic_settings(&common.config, &common.image, id);
            return Owner::Shard(placement::owner(id, shards), log);
        }
        if removed.contains(&id.topic_id) { Owner::Removed } else { Owner::Unknown }
    };
    let config = StorageConfig::from(&*common.config);
    let recovered = storage::recover(runtime, &config, shards, &owner)
        .await
        .map_err(|e| format!("the logs cannot be recovered: {e}"))?;
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

/// Join the mesh, open the store, take over the recovered partitions.
async fn open_shard(
    common: &Common,
    id: ShardId,
    runtime: GlommioRuntime,
    ends: Ends,
    start: ShardStart,
    controller: Option<Rc<Controller>>,
) -> Result<Opening, String> {
    let Ends { to, from: receivers } = ends;
    let mesh = Mesh::new(Box::new(to));
    let store = Store::open(runtime.clone(), StorageConfig::from(&*common.config), start)
        .await
        .map_err(|e| format!("shard {id} cannot open its store: {e}"))?;
    let shards = common.config.shards() as ShardId;
    let config = common.config.clone();
    let shard = Shard::new(id, shards, runtime, config, mesh, store.clone(), controller);
    for (log, replay) in store.take_recovered() {
        shard.adopt(&common.image, log, &replay)?;
    }
    Ok((shard, receivers))
}
