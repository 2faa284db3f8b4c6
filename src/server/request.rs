//! What a handler may know about its caller, and what it gives back.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::{NodeId, Uuid};
use crate::runtime::{LineLimit, Runtime};
use crate::shard::Shard;
use crate::wire::StrBytes;

use super::admissions::Admission;
use super::fetch_session::FetchSessions;
use super::memory::{FrameMemory, Lease};

/// Who this broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `cluster.id`: stable over restarts.
    pub cluster_id: String,
    /// Identity of the data directory.
    pub directory_id: Uuid,
    /// `node.id`
    pub node_id: NodeId,
    /// Host that clients are told.
    pub host: String,
    /// Port that clients are told.
    pub port: u16,
    /// `broker.rack`
    pub rack: Option<String>,
}

/// How clients reach a broker; each message that says so has a type of its own for it.
pub struct Endpoint {
    /// Id of the broker.
    pub node_id: NodeId,
    /// Name or address to connect to.
    pub host: StrBytes,
    /// Port to connect to.
    pub port: i32,
    /// Rack of the broker.
    pub rack: Option<StrBytes>,
}

impl Identity {
    /// How clients reach this broker.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            node_id: self.node_id,
            host: self.host.as_str().into(),
            port: i32::from(self.port),
            rack: self.rack.as_deref().map(Into::into),
        }
    }
}

/// The caller of a request: one connection on one shard.
pub struct Caller<R: Runtime> {
    /// The shard that serves the connection.
    pub shard: Rc<Shard<R>>,
    /// The shard's fetch sessions.
    pub sessions: Rc<RefCell<FetchSessions>>,
    /// Memory for answers that the shard has not sent; above all what its fetches have read.
    pub answer_memory: Rc<FrameMemory>,
    /// Who we are, as we tell clients.
    pub identity: Arc<Identity>,
    /// Limits the shard's lines about closed connections.
    pub hangups: Rc<LineLimit>,
    /// Limits the shard's lines about topics that could not be made for a request: clients ask
    /// again and again.
    pub uncreated: Rc<LineLimit>,
    /// The client's address.
    pub peer: SocketAddr,
    /// Counts the connection.
    pub admission: Admission,
    /// `client.id` of the last request, for log lines.
    pub client_id: RefCell<String>,
    /// Client software and version (ApiVersions v3+).
    pub software: RefCell<String>,
    /// The connection is to be closed once its answers are sent.
    pub closing: Cell<bool>,
}

/// An answer ready to be sent: its pieces in order.
#[derive(Debug, Default)]
pub struct Answer {
    /// Length, response header and body; batches in it are shared, not copied.
    pub pieces: Vec<Bytes>,
    /// Memory that the pieces hold until they are sent; of a Produce's none.
    pub lease: Option<Lease>,
}

impl Answer {
    /// Bytes of all pieces.
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }
}

/// An answer under way. `None`: there is none (acks=0). The error ends the connection and says
/// why.
pub type Answering = Pin<Box<dyn Future<Output = Result<Option<Answer>, Hangup>>>>;

/// Why a connection is closed by us.
#[derive(Clone, Debug)]
pub struct Hangup(pub String);
