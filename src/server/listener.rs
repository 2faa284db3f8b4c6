//! Accepting connections and handing them to shards.
//!
//! One listener for the whole broker, without SO_REUSEPORT: the kernel would spread a few
//! connections unevenly over several listeners, and a second broker on the same port would bind in
//! silence. An accepted socket goes to the shard that has the least to do for its connections.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::HostPort;
use crate::metrics::Value;
use crate::runtime::wait::step_aside;
use crate::runtime::{LineLimit, Runtime};
use crate::shard::Shard;
use crate::shard::mesh::Message;

use super::admissions::Admissions;
use super::readiness::{Direction, Readiness, Watch};

/// Rest after the kernel refused to accept (no descriptors left).
const REST_AFTER_REFUSAL: Duration = Duration::from_millis(100);
/// While that lasts the log says so this often.
const REFUSAL_TOLD_EVERY: Duration = Duration::from_secs(10);
/// Longest wait for a connection without a look, should the kernel no longer watch the listener.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long an address in use may take to come free. The kernel takes an io_uring apart after its
/// process has ended, and until then the poll under way keeps a dead broker's port.
const PORT_RELEASE: Duration = Duration::from_secs(3);
/// Rest between two attempts at a port.
const PORT_RETRY: Duration = Duration::from_millis(10);

/// Bind `address`. When a broker that has just ended may still have it (`was_ours`), wait a little
/// for it; another program's port is refused at once.
///
/// # Errors
/// With address, cause and fix.
pub fn bind(address: &HostPort, backlog: i32, was_ours: bool) -> Result<TcpListener, String> {
    let target = target(address)?;
    let attempt = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        if target.is_ipv6() && target.ip().is_unspecified() {
            // Every address means those of IPv4, too, as it does in Java, whatever the system says.
            socket.set_only_v6(false)?;
        }
        // A restarted broker must not wait for old connections' TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.bind(&target.into())?;
        socket.listen(backlog)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    // The broker starts here: no shard waits for this thread yet.
    let patience = if was_ours { PORT_RELEASE } else { Duration::ZERO };
    let mut attempts_left = patience.as_millis() / PORT_RETRY.as_millis();
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

/// The address to bind; no host means every address of the machine.
fn target(address: &HostPort) -> Result<SocketAddr, String> {
    if address.host.is_empty() {
        let has_ipv6 = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).is_ok();
        let any: IpAddr =
            if has_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        return Ok(SocketAddr::new(any, address.port));
    }
    let mut resolved = (address.host.as_str(), address.port)
        .to_socket_addrs()
        .map_err(|e| format!("cannot resolve {address}: {e}; give HOST:PORT or IP:PORT"))?;
    resolved.next().ok_or_else(|| format!("{address} resolves to no address"))
}

/// Accept until the listener is shut down, and hand out: to `here` what falls to this shard, over
/// the mesh the rest.
///
/// # Errors
/// When the listener cannot be watched.
pub async fn accept<R: Runtime>(
    shard: Rc<Shard<R>>,
    readiness: &Rc<Readiness>,
    listener: TcpListener,
    admissions: &Admissions,
    here: impl Fn(OwnedFd),
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let watch = readiness.watch(listener.as_raw_fd())?;
    let refusals = Refusals::default();
    loop {
        match take(&listener, &watch).await {
            Ok(fd) => {
                shard.metrics.add(Value::ConnectionsAccepted, 1);
                match admissions.place() {
                    to if to == shard.id => here(fd),
                    to => shard.mesh().post(to, Message::Connection(fd)),
                }
                // A flood of new connections leaves time for those there are.
                step_aside().await;
            }
            // EINVAL: shut down, because the broker stops.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(()),
            Err(error) => refusals.rest_after(&error, &shard.runtime).await,
        }
    }
}

/// What the kernel refused to accept on one listener.
pub struct Refusals(LineLimit);

impl Default for Refusals {
    fn default() -> Self {
        Self(LineLimit::new(1, REFUSAL_TOLD_EVERY))
    }
}

impl Refusals {
    /// Say that nothing can be accepted, and why, and wait a little: connections under way go on,
    /// new ones stay in the backlog.
    pub async fn rest_after<R: Runtime>(&self, error: &io::Error, runtime: &R) {
        if self.0.may_log(runtime.now()).is_some() {
            tracing::warn!(
                "cannot accept a connection: {error}; new ones wait. If descriptors have run out, \
                 raise the limit (ulimit -n, LimitNOFILE)"
            );
        }
        runtime.sleep(REST_AFTER_REFUSAL).await;
    }
}

/// The next connection, waiting for one.
///
/// # Errors
/// What the kernel says; `InvalidInput` when the listener was shut down.
pub async fn take(listener: &TcpListener, watch: &Watch) -> io::Result<OwnedFd> {
    loop {
        match watch.ready(Direction::Read, LOOK_EVERY).await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            other => other?,
        }
        watch.take(Direction::Read);
        match listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            accepted => {
                // There may be another one.
                watch.put_back(Direction::Read);
                return accepted.map(|(stream, _)| stream.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn address(text: &str) -> HostPort {
        HostPort::parse(text).unwrap()
    }

    #[test]
    fn a_taken_port_is_refused_with_the_fix() {
        let first = bind(&address("127.0.0.1:0"), 16, false).unwrap();
        let same = address(&first.local_addr().unwrap().to_string());
        let again = bind(&same, 16, false).unwrap_err();
        assert!(again.contains("another process listens there"), "{again}");
        // One of ours that is on its way out is waited for.
        let leaving = std::thread::spawn(move || drop(first));
        bind(&same, 16, true).unwrap();
        leaving.join().unwrap();
    }

    /// `PLAINTEXT://:9092` is the listener of Kafka's own example.
    #[test]
    fn no_host_means_every_address_of_either_kind() {
        let listener = bind(&address("PLAINTEXT://:0"), 16, false).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a client that speaks IPv4");
        if listener.local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("a client that speaks IPv6");
        }
    }
}
