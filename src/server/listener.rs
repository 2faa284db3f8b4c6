//! Accepting connections and handing them to shards.
//!
//! One listener for the whole broker, without SO_REUSEPORT: the kernel would spread a few
//! connections unevenly over several listeners, and a second broker on the same port would bind in
//! silence. Accepted sockets go round the shards one by one.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use glommio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use crate::metrics::Value;
use crate::runtime::Runtime;
use crate::shard::Shard;
use crate::shard::mesh::Message;

/// Rest after the kernel refused to accept (no descriptors left): connections under way go on, new
/// ones wait in the backlog.
const REST_AFTER_REFUSAL: Duration = Duration::from_millis(100);
/// How long an address in use may take to come free. The kernel takes an io_uring apart after its
/// process has ended, and until then the accept under way keeps a dead broker's port.
const PORT_RELEASE: Duration = Duration::from_secs(3);
/// Rest between two attempts at a port.
const PORT_RETRY: Duration = Duration::from_millis(10);

/// Bind `address`.
///
/// # Errors
/// With address, cause and fix.
pub fn bind(address: &str, backlog: i32) -> Result<StdListener, String> {
    let mut resolved = address
        .to_socket_addrs()
        .map_err(|e| format!("cannot resolve {address}: {e}; give HOST:PORT or IP:PORT"))?;
    let target = resolved.next().ok_or_else(|| format!("{address} resolves to no address"))?;
    let attempt = || -> io::Result<StdListener> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted broker must not wait for old connections' TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.bind(&target.into())?;
        socket.listen(backlog)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    // The broker starts here: no shard waits for this thread yet.
    let mut attempts_left = PORT_RELEASE.as_millis() / PORT_RETRY.as_millis();
    let bound = loop {
        match attempt() {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && attempts_left > 0 => {
                attempts_left -= 1;
                std::thread::sleep(PORT_RETRY);
            }
            outcome => break outcome,
        }
    };
    bound.map_err(|e| {
        let fix = match e.kind() {
            io::ErrorKind::AddrInUse => {
                "another process listens there: stop it, or choose another port"
            }
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
            io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
            _ => "choose another address",
        };
        format!("cannot listen on {address}: {e}; {fix}")
    })
}

/// Counts a connection of the whole broker while it lives.
#[derive(Debug)]
pub struct Admission(Arc<AtomicUsize>);

impl Admission {
    /// Count one more, unless there are `max`.
    pub fn admit(open: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        if open.fetch_add(1, Ordering::Relaxed) >= max {
            open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self(open.clone()))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accept for ever and hand out: to `here` what falls to this shard, over the mesh the rest.
pub async fn accept<R: Runtime>(
    shard: Rc<Shard<R>>,
    listener: StdListener,
    here: impl Fn(OwnedFd, SocketAddr),
) {
    // SAFETY: the listener's descriptor, given up by it.
    let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
    let mut next = 0;
    loop {
        match take(&listener).await {
            Ok((fd, peer)) => {
                shard.metrics.add(Value::ConnectionsAccepted, 1);
                if next == shard.id {
                    here(fd, peer);
                } else {
                    shard.mesh().post(next, Message::Connection(fd));
                }
                next = (next + 1) % shard.shards;
            }
            Err(error) => {
                tracing::warn!(
                    "cannot accept a connection: {error}; waiting. If descriptors have run out, \
                     raise the limit (ulimit -n, LimitNOFILE)"
                );
                shard.runtime.sleep(REST_AFTER_REFUSAL).await;
            }
        }
    }
}

async fn take(listener: &TcpListener) -> io::Result<(OwnedFd, SocketAddr)> {
    let stream = listener.accept().await.map_err(io::Error::from)?;
    let peer = stream.peer_addr().map_err(io::Error::from)?;
    // The stream is bound to this executor; its duplicate may go to any.
    // SAFETY: the descriptor is open while `stream` lives.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    let fd = borrowed.try_clone_to_owned()?;
    Ok((fd, peer))
}
