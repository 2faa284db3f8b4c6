//! The metrics page and the health check, on a listener of their own.
//!
//! One request per connection, a bounded head, a deadline: a scraper needs no more.

use std::future::Future;
use std::io;
use std::net::TcpListener as StdListener;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::rc::Rc;
use std::time::Duration;

use futures_util::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};

use crate::metrics::{HEAD_BYTES_MAX, Head, Page, ProcessSnapshot, ShardSnapshot};
use crate::metrics::{health, parse_head, render, response};
use crate::protocol::ApiKey;
use crate::runtime::{Queue, Runtime};
use crate::shard::Shard;
use crate::shard::call::{Call, Reply};

/// Longest time for a request and its answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Serve the pages for ever.
pub async fn serve<R: Runtime>(shard: Rc<Shard<R>>, listener: StdListener) {
    // SAFETY: the listener's descriptor, given up by it.
    let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
    let open = Rc::new(std::cell::Cell::new(0));
    let most = shard.config.limits.metrics_connections_max;
    let started = shard.runtime.now();
    loop {
        match listener.accept().await {
            Ok(stream) if open.get() < most => {
                open.set(open.get() + 1);
                let (shard, open) = (shard.clone(), open.clone());
                shard.clone().runtime.spawn(Queue::Background, async move {
                    let uptime = shard.runtime.now().saturating_sub(started);
                    let _ = answer(&shard, stream, uptime).await;
                    open.set(open.get() - 1);
                });
            }
            Ok(refused) => drop(refused),
            Err(_) => shard.runtime.sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer<R: Runtime>(
    shard: &Rc<Shard<R>>,
    mut stream: TcpStream,
    uptime: Duration,
) -> io::Result<()> {
    stream.set_read_timeout(Some(DEADLINE)).map_err(io::Error::from)?;
    stream.set_write_timeout(Some(DEADLINE)).map_err(io::Error::from)?;
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    let (status, text, has_body) = loop {
        match parse_head(&head) {
            Head::Incomplete => {
                let count = stream.read(&mut chunk).await?;
                if count == 0 || head.len() > HEAD_BYTES_MAX {
                    return Ok(());
                }
                head.extend_from_slice(&chunk[..count]);
            }
            Head::Refuse(status) => break (status, String::new(), true),
            Head::Page { page, body } => {
                let (status, text) = page_text(shard, page, uptime).await;
                break (status, text, body);
            }
        }
    };
    stream.write_all(&response(status, &text, has_body)).await?;
    stream.close().await
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
                    durability: shard.config.durability.word(),
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
