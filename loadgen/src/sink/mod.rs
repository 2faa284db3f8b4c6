//! A broker that does nothing: it reads every request and answers at once. What the generator
//! reaches against it is the generator's own ceiling (with the loopback's); no broker on this
//! path can show more. With [`Store::Keep`] it is a small broker in memory for tests.
//!
//! One thread, one epoll set. Produce v7 requests with one partition take a fast path: parsed
//! from their first bytes, the rest read and thrown away.

mod arrival;
mod delay;
mod store;
mod topics;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Buf, Bytes};
use thalweg::protocol::{ApiKey, ErrorCode, RequestBody, RequestHeader};
use thalweg::wire::Reader;

use crate::clock;
use crate::histogram::Latency;
use crate::poll::Poller;
use crate::request::{Malformed, PRODUCE, Walk};
use delay::Clockwork;
use topics::{Outcome, Topics};

pub use delay::Delay;
pub use store::{Fault, Store};

const TICK: Duration = Duration::from_millis(5);
const SCRATCH_BYTES: usize = 256 << 10;
/// Largest request taken.
const FRAME_BYTES_MAX: usize = 128 << 20;
const CONNECTIONS_MAX: usize = 65_536;
/// Token of the listener; connections count from 0.
const LISTENER: usize = usize::MAX;
/// Enough of a Produce request to see its one partition: topic names have at most 249 bytes.
const PRODUCE_HEAD_BYTES: usize = 1024;

/// A sink at work in its own thread; dropped, it stops.
#[derive(Debug)]
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Option<Latency>>>>,
}

impl Sink {
    /// Listen on `address` (port 0 finds a free one) and serve.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(address: &str, store: Store) -> io::Result<Self> {
        Self::start_with(address, store, None, clock::sharpen_timers)
    }

    /// The same with late answers to Produce requests; `prepare` is called first on its thread.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start_with(
        address: &str,
        store: Store,
        delay: Option<Delay>,
        prepare: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut server = Server {
            topics: Topics::new(store, address.ip().to_string(), address.port()),
            poller: Poller::new()?,
            peers: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            clockwork: delay.map(Clockwork::new),
            waiting: BinaryHeap::new(),
            arrived_ns: 0,
        };
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("sink".into()).spawn(move || {
            prepare();
            server.serve(&listener, &stopped)?;
            Ok(server.clockwork.map(|clockwork| clockwork.caused))
        })?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Serve until `stop` is set by somebody else; then as [`Sink::finish`].
    ///
    /// # Errors
    /// What made it end.
    pub fn wait(self, stop: &AtomicBool) -> io::Result<Option<Latency>> {
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.finish()
    }

    /// Stop, and tell the delays that were caused if it was to cause any.
    ///
    /// # Errors
    /// What made it end before.
    pub fn finish(mut self) -> io::Result<Option<Latency>> {
        self.end()
    }

    fn end(&mut self) -> io::Result<Option<Latency>> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the sink's thread panicked")),
            None => Ok(None),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// An answer that waits for its time.
struct Delayed {
    release_ns: u64,
    arrived_ns: u64,
    records: u64,
    pieces: Vec<Bytes>,
}

struct Peer {
    token: usize,
    stream: TcpStream,
    partial: Vec<u8>,
    /// Bytes of the current request still to be thrown away.
    skip: usize,
    outbox: Vec<Bytes>,
    /// Oldest first; answers keep the order of requests.
    delayed: VecDeque<Delayed>,
    /// A fetch that waits: its frame and when to answer it anyway.
    parked: Option<(Bytes, u64)>,
}

struct Server {
    topics: Topics,
    poller: Poller,
    peers: Vec<Option<Peer>>,
    scratch: Vec<u8>,
    clockwork: Option<Clockwork>,
    /// Times at which peers have an answer to send, earliest first.
    waiting: BinaryHeap<Reverse<(u64, usize)>>,
    /// When the bytes at hand came; only kept for the clockwork.
    arrived_ns: u64,
}

impl Server {
    fn serve(&mut self, listener: &TcpListener, stop: &AtomicBool) -> io::Result<()> {
        self.poller.add(listener, LISTENER)?;
        while !stop.load(Ordering::Relaxed) {
            let wait = match self.waiting.peek() {
                None => TICK,
                Some(Reverse((at, _))) => {
                    Duration::from_nanos(at.saturating_sub(clock::monotonic_ns())).min(TICK)
                }
            };
            for event in 0..self.poller.wait(wait)? {
                let ready = self.poller.ready(event);
                if ready.token == LISTENER {
                    self.accept(listener)?;
                    continue;
                }
                let Some(mut peer) = self.peers[ready.token].take() else { continue };
                let served =
                    if ready.readable { self.read(&mut peer, ready.ended) } else { Ok(()) };
                // A peer that left or sent nonsense is closed; the sink goes on.
                if served.and_then(|()| flush(&mut peer)).is_ok() {
                    self.peers[ready.token] = Some(peer);
                }
            }
            self.release_due();
            self.retry_parked();
        }
        Ok(())
    }

    /// Send the delayed answers whose time has come.
    fn release_due(&mut self) {
        while let Some(Reverse((at, token))) = self.waiting.peek().copied() {
            let now = clock::monotonic_ns();
            if at > now {
                return;
            }
            self.waiting.pop();
            let (Some(peer), Some(clockwork)) = (&mut self.peers[token], &mut self.clockwork)
            else {
                continue;
            };
            let due = peer.delayed.iter().take_while(|answer| answer.release_ns <= now).count();
            let gone: Vec<Delayed> = peer.delayed.drain(..due).collect();
            peer.outbox.extend(gone.iter().flat_map(|answer| answer.pieces.iter().cloned()));
            if flush(peer).is_err() {
                self.peers[token] = None;
                continue;
            }
            let written = clock::monotonic_ns();
            for answer in gone.iter().filter(|answer| answer.records > 0) {
                clockwork.answered(answer.arrived_ns, written, answer.records);
            }
        }
    }

    /// Answer now, or when the clockwork says so.
    fn respond(&mut self, peer: &mut Peer, pieces: Vec<Bytes>, records: u64) {
        let Some(clockwork) = self.clockwork.as_mut().filter(|_| {
            // What is not delayed itself must still not overtake what is.
            records > 0 || !peer.delayed.is_empty()
        }) else {
            return peer.outbox.extend(pieces);
        };
        let arrived_ns = self.arrived_ns;
        let own = if records > 0 { clockwork.release_ns(arrived_ns) } else { arrived_ns };
        let release_ns = own.max(peer.delayed.back().map_or(0, |before| before.release_ns));
        peer.delayed.push_back(Delayed { release_ns, arrived_ns, records, pieces });
        self.waiting.push(Reverse((release_ns, peer.token)));
    }

    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let free = self.peers.iter().position(Option::is_none);
            let token = free.unwrap_or(self.peers.len());
            if token >= CONNECTIONS_MAX {
                continue;
            }
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            if self.clockwork.is_some() {
                arrival::stamp(&stream);
            }
            self.poller.add(&stream, token)?;
            let (partial, outbox) = (Vec::new(), Vec::new());
            let delayed = VecDeque::new();
            let peer =
                Some(Peer { token, stream, partial, skip: 0, outbox, delayed, parked: None });
            if token == self.peers.len() {
                self.peers.push(peer);
            } else {
                self.peers[token] = peer;
            }
        }
    }

    fn read(&mut self, peer: &mut Peer, to_end: bool) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = self.read_with(peer, to_end, &mut scratch);
        self.scratch = scratch;
        result
    }

    fn read_with(
        &mut self,
        peer: &mut Peer,
        to_end: bool,
        scratch: &mut Vec<u8>,
    ) -> io::Result<()> {
        loop {
            let begin = peer.partial.len();
            if begin + SCRATCH_BYTES > scratch.len() {
                scratch.resize(begin + SCRATCH_BYTES, 0);
            }
            scratch[..begin].copy_from_slice(&peer.partial);
            peer.partial.clear();
            let room = &mut scratch[begin..begin + SCRATCH_BYTES];
            let got = if self.clockwork.is_some() {
                arrival::read(&peer.stream, room).map(|(got, at_ns)| {
                    self.arrived_ns = at_ns;
                    got
                })
            } else {
                (&peer.stream).read(room)
            };
            let got = match got {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.take(peer, &scratch[..begin + got])?;
            if got == 0 || (got < SCRATCH_BYTES && !to_end) {
                return Ok(());
            }
        }
    }

    /// Use the bytes of a peer: whole requests, the begin of one to throw away, or keep the rest.
    fn take(&mut self, peer: &mut Peer, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            let now = peer.skip.min(bytes.len());
            peer.skip -= now;
            bytes = &bytes[now..];
            let Some(size) = bytes.first_chunk::<4>() else { break };
            let size = usize::try_from(i32::from_be_bytes(*size)).unwrap_or(usize::MAX);
            if !(8..=FRAME_BYTES_MAX).contains(&size) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let there = &bytes[4..bytes.len().min(4 + size)];
            if (there.len() == size || there.len() >= PRODUCE_HEAD_BYTES)
                && self.produce_fast(peer, there, size)
            {
                peer.skip = size - there.len();
                bytes = &bytes[4 + there.len()..];
                continue;
            }
            if there.len() < size {
                break;
            }
            self.serve_frame(peer, Bytes::copy_from_slice(there))?;
            bytes = &bytes[4 + size..];
        }
        peer.partial.extend_from_slice(bytes);
        Ok(())
    }

    /// Answer a Produce v7 request with one partition from its first bytes. False when it is
    /// something else.
    fn produce_fast(&mut self, peer: &mut Peer, head: &[u8], size: usize) -> bool {
        if !self.topics.discards() {
            return false;
        }
        let Ok(Some(found)) = read_produce_head(head, size) else { return false };
        let result = self.topics.count(found.topic, found.partition, found.records);
        if found.acks != 0 {
            let (code, base_offset) = match result {
                Ok(base_offset) => (ErrorCode::NONE, base_offset),
                Err(code) => (code, -1),
            };
            let answer = produce_answer(&found, code, base_offset);
            if self.clockwork.is_some() {
                self.respond(peer, vec![answer], found.records as u64);
            } else {
                peer.outbox.push(answer);
            }
        }
        true
    }

    fn serve_frame(&mut self, peer: &mut Peer, frame: Bytes) -> io::Result<()> {
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
        let mut reader = Reader::new(frame.clone());
        let header = RequestHeader::decode(&mut reader).map_err(invalid)?;
        let (key, version) = (header.api_key, header.api_version);
        let body = if key == ApiKey::ApiVersions && !key.serves(version) {
            // A version from the future is answered in version 0 (KIP-511).
            RequestBody::ApiVersions(Default::default())
        } else {
            RequestBody::decode(key, &mut reader, version).map_err(invalid)?
        };
        let version = if key.serves(version) { version } else { 0 };
        let records = if self.clockwork.is_some() { store::records_in(&body) } else { 0 };
        let outcome = self.topics.answer(version, header.correlation_id, body);
        match outcome.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))? {
            Outcome::Answer(pieces) => self.respond(peer, pieces, records),
            Outcome::Silence => {}
            Outcome::HangUp => return Err(io::ErrorKind::ConnectionAborted.into()),
            Outcome::Park { wait_ms } => {
                let until = clock::monotonic_ns() + wait_ms as u64 * 1_000_000;
                peer.parked = Some((frame, until));
            }
        }
        Ok(())
    }

    /// Look again at fetches that found nothing.
    fn retry_parked(&mut self) {
        for index in 0..self.peers.len() {
            let parked = self.peers[index].as_mut().and_then(|peer| peer.parked.take());
            let Some((frame, until)) = parked else { continue };
            let Some(mut peer) = self.peers[index].take() else { continue };
            let expired = clock::monotonic_ns() >= until;
            let frame = if expired { without_wait(&frame) } else { frame };
            let served = self.serve_frame(&mut peer, frame).and_then(|()| flush(&mut peer));
            if let Some((_, waits)) = &mut peer.parked {
                *waits = until;
            }
            if served.is_ok() {
                self.peers[index] = Some(peer);
            }
        }
    }
}

/// The same Fetch request with no time to wait, so that it is answered empty.
fn without_wait(frame: &Bytes) -> Bytes {
    let mut bytes = frame.to_vec();
    let client_id = usize::from(u16::from_be_bytes([bytes[8], bytes[9]]));
    let client_id = if client_id == 0xffff { 0 } else { client_id };
    // Header v1 (a flexible one has an empty tag section of one byte), replica id, wait.
    let flexible = usize::from(i16::from_be_bytes([bytes[2], bytes[3]]) >= 12);
    let wait = 10 + client_id + flexible + 4;
    if let Some(field) = bytes.get_mut(wait..wait + 4) {
        field.fill(0);
    }
    Bytes::from(bytes)
}

fn flush(peer: &mut Peer) -> io::Result<()> {
    let mut sent = 0;
    while sent < peer.outbox.len() {
        let slices: Vec<IoSlice<'_>> =
            peer.outbox[sent..].iter().take(512).map(|b| IoSlice::new(b)).collect();
        match (&peer.stream).write_vectored(&slices) {
            Ok(mut written) => {
                while sent < peer.outbox.len() && written >= peer.outbox[sent].len() {
                    written -= peer.outbox[sent].len();
                    sent += 1;
                }
                if sent < peer.outbox.len() {
                    peer.outbox[sent].advance(written);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    peer.outbox.drain(..sent);
    Ok(())
}

struct ProduceHead<'a> {
    correlation: i32,
    acks: i16,
    topic: &'a str,
    partition: i32,
    records: i32,
}

/// The parts of a Produce v7 request that the answer needs; `None` when it is another request
/// or has more than one partition.
fn read_produce_head(head: &[u8], size: usize) -> Result<Option<ProduceHead<'_>>, Malformed> {
    let mut walk = Walk(head);
    if (walk.i16()?, walk.i16()?) != PRODUCE {
        return Ok(None);
    }
    let correlation = walk.i32()?;
    walk.string()?; // client id
    walk.string()?; // transactional id
    let acks = walk.i16()?;
    walk.i32()?; // timeout
    if walk.i32()? != 1 {
        return Ok(None);
    }
    let topic = walk.string()?;
    if walk.i32()? != 1 {
        return Ok(None);
    }
    let (partition, batch_bytes) = (walk.i32()?, walk.i32()?);
    let before = head.len() - walk.0.len();
    let mut batch = Walk(walk.0);
    batch.take(57)?;
    let records = batch.i32()?;
    let topic = std::str::from_utf8(topic).map_err(|_| Malformed("a topic is no UTF-8"))?;
    let whole = before as i64 + i64::from(batch_bytes) == size as i64 && records > 0;
    Ok(whole.then_some(ProduceHead { correlation, acks, topic, partition, records }))
}

fn produce_answer(head: &ProduceHead<'_>, code: ErrorCode, base_offset: i64) -> Bytes {
    let size = 4 + 4 + 2 + head.topic.len() + 4 + 30 + 4;
    let mut out = Vec::with_capacity(4 + size);
    out.extend_from_slice(&(size as i32).to_be_bytes());
    out.extend_from_slice(&head.correlation.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    crate::request::put_string(&mut out, head.topic);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&head.partition.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(&base_offset.to_be_bytes());
    out.extend_from_slice(&(-1i64).to_be_bytes()); // log append time
    out.extend_from_slice(&0i64.to_be_bytes()); // log start offset
    out.extend_from_slice(&0i32.to_be_bytes()); // throttle time
    Bytes::from(out)
}
