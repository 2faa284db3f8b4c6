//! The metrics page and the health check, on a listener of their own.
//!
//! One request per connection, a bounded head, a deadline: a scraper needs no more.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::metrics::{HEAD_BYTES_MAX, Head, Page, ProcessSnapshot, ShardSnapshot};
use crate::metrics::{health, parse_head, render, response};
use crate::protocol::ApiKey;
use crate::runtime::{Queue, Runtime};
use crate::shard::Shard;
use crate::shard::call::{Call, Reply};

use super::listener::{self, Refusals};
use super::readiness::Readiness;
use super::socket::{self, Receiver};

/// Longest time for a request, and for its answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Serve the pages until the listener is shut down.
///
/// # Errors
/// When the listener cannot be watched.
pub async fn serve<R: Runtime>(
    shard: Rc<Shard<R>>,
    readiness: Rc<Readiness>,
    listener: TcpListener,
) -> io::Result<()> {
    let watch = readiness.watch(listener.as_raw_fd())?;
    let refusals = Refusals::default();
    let open = Rc::new(Cell::new(0));
    let most = shard.config.limits.metrics_connections_max;
    let started = shard.runtime.now();
    loop {
        match listener::take(&listener, &watch).await {
            Ok(fd) if open.get() < most => {
                open.set(open.get() + 1);
                let (open, readiness) = (open.clone(), readiness.clone());
                let shard = shard.clone();
                shard.clone().runtime.spawn(Queue::Background, async move {
                    let uptime = shard.runtime.now().saturating_sub(started);
                    let _ = answer(&shard, &readiness, fd, uptime).await;
                    open.set(open.get() - 1);
                });
            }
            Ok(refused) => drop(refused),
            // EINVAL: shut down, because the broker stops.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(()),
            Err(error) => refusals.rest_after(&error, &shard.runtime).await,
        }
    }
}

async fn answer<R: Runtime>(
    shard: &Rc<Shard<R>>,
    readiness: &Rc<Readiness>,
    fd: OwnedFd,
    uptime: Duration,
) -> io::Result<()> {
    let (mut receiver, mut sender) = socket::split(readiness, fd, DEADLINE)?;
    let head = read_head(&mut receiver, || shard.runtime.now(), DEADLINE).await?;
    let (status, text, has_body) = match head {
        Head::Incomplete => return Ok(()),
        Head::Refuse(status) => (status, String::new(), true),
        Head::Page { page, body } => {
            let (status, text) = page_text(shard, page, uptime).await;
            (status, text, body)
        }
    };
    sender.send(&mut vec![Bytes::from(response(status, &text, has_body))], || false).await?;
    // Now, not when the kernel has taken the poll apart: many clients read to the end.
    socket::shut_down(receiver.fd());
    Ok(())
}

/// What is asked for within `time`; incomplete if the peer says no more.
async fn read_head(
    receiver: &mut Receiver,
    now: impl Fn() -> Duration,
    time: Duration,
) -> io::Result<Head> {
    let deadline = now() + time;
    let mut head = BytesMut::new();
    loop {
        let left = deadline.checked_sub(now()).ok_or(io::ErrorKind::TimedOut)?;
        receiver.wait_at_most(left);
        let came = receiver.receive(&mut head, HEAD_BYTES_MAX).await?;
        match parse_head(&head) {
            Head::Incomplete if came > 0 => {}
            said => return Ok(said),
        }
    }
}

fn page_text<R: Runtime>(
    shard: &Rc<Shard<R>>,
    page: Page,
    uptime: Duration,
) -> impl Future<Output = (u16, String)> + use<R> {
    let shard = shard.clone();
    async move {
        let replies = shard.ask_all(|| Call::Metrics).await;
        let snapshots: Vec<ShardSnapshot> = replies
            .into_iter()
            .filter_map(|reply| match reply {
                Reply::Metrics(snapshot) => Some(*snapshot),
                _ => None,
            })
            .collect();
        match page {
            Page::Metrics => {
                let process = ProcessSnapshot {
                    version: env!("CARGO_PKG_VERSION"),
                    durability: shard.live_config().durability.word(),
                    uptime,
                };
                let name = |key| ApiKey::try_from(key).map_or("unknown", ApiKey::name);
                (200, render(&process, &snapshots, &name))
            }
            Page::Health => {
                let (is_healthy, text) = health(&snapshots);
                (if is_healthy { 200 } else { 503 }, text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::super::readiness::tests::with_connection;
    use super::*;

    #[test]
    fn a_head_that_comes_byte_by_byte_has_one_deadline() {
        with_connection(|readiness, near, mut far| async move {
            let (mut receiver, _sender) = socket::split(&readiness, near.into(), DEADLINE).unwrap();
            far.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let dripping = std::thread::spawn(move || {
                // Ends when the connection does.
                (0..HEAD_BYTES_MAX)
                    .take_while(|_| {
                        far.write_all(b"G").is_ok() && far.read(&mut [0]).is_err_and(is_silence)
                    })
                    .count()
            });
            let time = Cell::new(Duration::ZERO);
            let now = || time.replace(time.get() + DEADLINE / 5);
            let late = read_head(&mut receiver, now, DEADLINE).await;
            assert_eq!(late.err().map(|e| e.kind()), Some(io::ErrorKind::TimedOut));
            socket::shut_down(receiver.fd());
            let dripped = dripping.join().unwrap();
            assert!(dripped < HEAD_BYTES_MAX / 4, "{dripped}");
        });
    }

    fn is_silence(error: io::Error) -> bool {
        error.kind() == io::ErrorKind::WouldBlock
    }
}
