//! A shard that serves: its connections, what they share, and what other shards ask of it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::mpsc::Receiver;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use futures_util::{FutureExt, StreamExt};

use crate::metrics::Value;
use crate::model::ShardId;
use crate::runtime::glommio::GlommioRuntime;
use crate::runtime::{LineLimit, Queue, Runtime};
use crate::shard::Shard;
use crate::shard::call::Call;
use crate::shard::mesh::Message;

use super::admissions::Admissions;
use super::connection::{self, ConnectionLimits};
use super::fetch_session::{FetchSessions, SessionLimits};
use super::frames::FrameReader;
use super::memory::FrameMemory;
use super::readiness::Readiness;
use super::request::{Caller, Identity};
use super::signal::Signal;
use super::socket;

/// Rest before a message that found no room in a channel is tried again.
const OUTBOX_RETRY: Duration = Duration::from_micros(50);
/// A client that takes no answers for so long is cut off.
const STALLED: Duration = Duration::from_secs(60);
/// Lines about topics that could not be made for a request, at most so many in such a time.
const UNCREATED_LINES: u32 = 5;
const UNCREATED_TOLD_EVERY: Duration = Duration::from_secs(60);
/// How long the connections of all shards may take to finish when the broker stops.
const DRAIN: Duration = Duration::from_secs(5);

/// A serving shard: its connections and what they share.
pub struct Serving {
    /// What it serves.
    pub shard: Rc<Shard<GlommioRuntime>>,
    /// Of its sockets.
    pub readiness: Rc<Readiness>,
    identity: Arc<Identity>,
    memory: Rc<FrameMemory>,
    answer_memory: Rc<FrameMemory>,
    sessions: Rc<RefCell<FetchSessions>>,
    hangups: Rc<LineLimit>,
    uncreated: Rc<LineLimit>,
    /// Of the whole broker.
    pub admissions: Arc<Admissions>,
    /// Descriptors of open connections, to end them when stopping.
    connections: RefCell<HashMap<u64, RawFd>>,
    next_connection: Cell<u64>,
    /// Waits of other shards' fetches; dropping the sender ends one.
    waits: RefCell<HashMap<(ShardId, u64), oneshot::Sender<()>>>,
    is_stopping: Cell<bool>,
    /// Set when another shard says that the broker stops.
    pub stopping: Signal,
    /// Other shards whose connections have ended.
    drained: Cell<ShardId>,
    /// Set when the last connection here, or those of another shard, have ended.
    ended: Signal,
}

impl Serving {
    /// `shard` with no connection yet; begins what it does in the background.
    pub fn new(
        identity: &Arc<Identity>,
        admissions: &Arc<Admissions>,
        shard: Rc<Shard<GlommioRuntime>>,
    ) -> Rc<Self> {
        let readiness = Readiness::new(Rc::clone(shard.runtime.ring()));
        let limits = &shard.config.limits;
        let sessions = SessionLimits {
            sessions_max: limits.fetch_sessions_max.div_ceil(usize::from(shard.shards)),
            partitions_max: limits.session_partitions_max,
            session_partitions_max: limits.request_partitions_max,
            idle_max: Duration::from_millis(limits.connection_idle_ms_max),
        };
        let seed = shard.runtime.wall_ms() as u32 ^ (u32::from(shard.id) << 24);
        let serving = Rc::new(Self {
            identity: identity.clone(),
            memory: FrameMemory::new(limits.frame_memory_bytes_max),
            answer_memory: FrameMemory::new(limits.fetch_memory_bytes_max),
            sessions: Rc::new(RefCell::new(FetchSessions::new(sessions, seed))),
            hangups: Rc::default(),
            uncreated: Rc::new(LineLimit::new(UNCREATED_LINES, UNCREATED_TOLD_EVERY)),
            admissions: admissions.clone(),
            connections: RefCell::default(),
            next_connection: Cell::new(0),
            waits: RefCell::default(),
            is_stopping: Cell::new(false),
            stopping: Signal::default(),
            drained: Cell::new(0),
            ended: Signal::default(),
            readiness,
            shard,
        });
        let shard = serving.shard.clone();
        shard.runtime.settle();
        shard.runtime.spawn(Queue::Network, serving.readiness.clone().keep_time());
        shard.runtime.spawn(Queue::Background, shard.clone().keep_house());
        shard.runtime.spawn(Queue::Background, shard.clone().keep_clean());
        shard.runtime.spawn(Queue::Network, shard.clone().tend_groups());
        shard.runtime.spawn(Queue::Network, shard.clone().keep_watch());
        serving
    }

    /// Hear what other shards send, and send them what found no room at first.
    pub fn hear_others(self: Rc<Self>, receivers: Vec<(ShardId, Receiver<Message>)>) {
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
            Message::Drained => {
                self.drained.set(self.drained.get() + 1);
                self.ended.set();
            }
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
    pub fn admit(self: &Rc<Self>, fd: OwnedFd) {
        let metrics = &self.shard.metrics;
        let peer = peer_of(&fd);
        let live = self.shard.live_config();
        let Some(admission) = self.admissions.admit(peer.ip(), self.shard.id, &live.limits) else {
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
            answer_memory: self.answer_memory.clone(),
            hangups: self.hangups.clone(),
            uncreated: self.uncreated.clone(),
            peer,
            admission,
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
            let registered = serving.clone();
            let closing = move || {
                registered.connections.borrow_mut().remove(&id);
            };
            connection::serve(caller, frames, sender, raw, limits, closing).await;
            serving.shard.metrics.sub(Value::ConnectionsOpen, 1);
            if serving.connections.borrow().is_empty() {
                serving.ended.set();
            }
        });
    }

    /// Every connection has ended, here and on the other shards: until then these may ask for
    /// what only this shard can do.
    async fn drain(&self) {
        while !self.connections.borrow().is_empty() {
            self.ended.wait().await;
        }
        let (own, shards) = (self.shard.id, self.shard.shards);
        for other in (0..shards).filter(|other| *other != own) {
            self.shard.mesh().post(other, Message::Drained);
        }
        while self.drained.get() < shards - 1 {
            self.ended.wait().await;
        }
    }

    /// End the connections, write everything.
    ///
    /// # Errors
    /// What could not be written.
    pub async fn stop(&self) -> Result<(), String> {
        self.is_stopping.set(true);
        self.shard.close_groups();
        for fd in self.connections.borrow().values() {
            socket::shut_down(*fd);
        }
        let deadline = self.shard.runtime.sleep(DRAIN);
        if let Either::Right(_) = select(pin!(self.drain()), pin!(deadline)).await {
            let open = self.connections.borrow().len();
            let others = self.shard.shards - 1 - self.drained.get();
            tracing::warn!(
                shard = self.shard.id,
                open,
                shards_waited_for = others,
                "connections did not end within {} s of the stop: requests under way there are \
                 not answered; nothing acknowledged is lost",
                DRAIN.as_secs()
            );
        }
        self.shard.store().close().await.map_err(|e| {
            format!("shard {} could not write everything at the end: {e:?}", self.shard.id)
        })
    }
}

fn peer_of(fd: &OwnedFd) -> SocketAddr {
    let socket = socket2::SockRef::from(fd);
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let peer = socket.peer_addr().ok().and_then(|a| a.as_socket()).unwrap_or(unknown);
    // One that speaks IPv4 to a listener for both is called by its own name.
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
