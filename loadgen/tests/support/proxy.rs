//! A proxy between loadgen and a broker that damages exactly one record batch of all that pass,
//! on its way to the broker or on its way back. It speaks the protocol through the kafka-protocol
//! crate, so that loadgen's own reading of it is not what judges loadgen.
//!
//! Always true: a client gets its answers in the order of its requests, whatever was held back,
//! forged or swallowed; without damage every byte passes as it came (but for the broker's address
//! in Metadata answers, which becomes the proxy's). It is fast enough for a million batches: what
//! has come goes on in one write, and only what may be damaged is decoded.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    FetchResponse, MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader,
    ResponseHeader, produce_response,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use super::damage::{Batches, Kind, Random};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const METADATA: i16 = 3;
/// Of a batch's second copy; no client uses it.
const COPY: i32 = i32::MIN;
/// What is read at once, and may wait for being written.
const BUFFER_BYTES: usize = 256 << 10;

/// Where a batch is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// On its way to the broker, which then stores and acknowledges what it got.
    Produced,
    /// On its way to the consumer.
    Fetched,
}

/// What to do to which batch.
#[derive(Clone, Copy, Debug)]
pub struct Damage {
    pub side: Side,
    pub kind: Kind,
    /// The batch, counted from 0 in the order in which they pass; the next one that can be
    /// damaged in this way.
    pub victim: u64,
    pub seed: u64,
}

/// What all connections share.
struct Shared {
    broker: SocketAddr,
    own: SocketAddr,
    damage: Option<Damage>,
    produced: AtomicU64,
    fetched: AtomicU64,
    /// Records of the batch that was damaged, and how many batches were.
    records: AtomicU64,
    damaged: AtomicU64,
}

/// A proxy that listens as long as the process lives.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn start(broker: SocketAddr, damage: Option<Damage>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            broker,
            own: address,
            damage,
            produced: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            records: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
        });
        let all = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                serve(&all, client).expect("the broker is there");
            }
        });
        Self { address, shared }
    }

    /// How many batches were damaged, and how many records were in them.
    pub fn damaged(&self) -> (u64, u64) {
        let read = |number: &AtomicU64| number.load(Ordering::SeqCst);
        (read(&self.shared.damaged), read(&self.shared.records))
    }

    /// Batches that came from the client, damaged or not.
    pub fn produced(&self) -> u64 {
        self.shared.produced.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// The damage, if it is for this side and not done yet.
    fn due(&self, side: Side) -> Option<Damage> {
        let is_due =
            |damage: &Damage| damage.side == side && self.damaged.load(Ordering::SeqCst) == 0;
        self.damage.filter(is_due)
    }

    fn done(&self, records: u64) {
        self.records.fetch_add(records, Ordering::SeqCst);
        self.damaged.fetch_add(1, Ordering::SeqCst);
    }
}

/// One client's connection.
struct Link {
    client: TcpStream,
    /// Correlation ids as the client waits for them.
    order: VecDeque<i32>,
    /// Key and version of what was asked.
    asked: HashMap<i32, (i16, i16)>,
    /// Answers that wait for their turn.
    ready: HashMap<i32, Vec<u8>>,
    /// The partition a misdirected batch was sent to, by correlation id.
    rightful: HashMap<i32, i32>,
}

impl Link {
    fn flush(&mut self) -> io::Result<()> {
        let mut out = Vec::new();
        while let Some(frame) = self.order.front().and_then(|first| self.ready.remove(first)) {
            self.order.pop_front();
            append_frame(&mut out, &frame);
        }
        self.client.write_all(&out)
    }
}

fn serve(shared: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
    let broker = TcpStream::connect(shared.broker)?;
    broker.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let link = Link {
        client: client.try_clone()?,
        order: VecDeque::new(),
        asked: HashMap::new(),
        ready: HashMap::new(),
        rightful: HashMap::new(),
    };
    let link = Arc::new(Mutex::new(link));
    let (up, down) = (shared.clone(), shared.clone());
    let (up_link, down_link) = (link.clone(), link);
    let (to_broker, from_broker) = (broker.try_clone()?, broker);
    // Each direction ends with its stream, and takes the other one along.
    thread::spawn(move || {
        let _ = upwards(&up, &up_link, client, &to_broker);
        let _ = to_broker.shutdown(std::net::Shutdown::Both);
    });
    thread::spawn(move || {
        let _ = downwards(&down, &down_link, from_broker);
        let _ = down_link.lock().unwrap().client.shutdown(std::net::Shutdown::Both);
    });
    Ok(())
}

fn read_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut frame = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

fn append_frame(out: &mut Vec<u8>, frame: &[u8]) {
    let size = u32::try_from(frame.len()).expect("a frame's size");
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(frame);
}

/// Whether a whole frame can be read without waiting.
fn has_frame(reader: &BufReader<TcpStream>) -> bool {
    let ahead = reader.buffer();
    ahead.len() >= 4 && ahead.len() - 4 >= number(ahead, 0) as usize
}

fn number(frame: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"))
}

fn upwards(
    shared: &Shared,
    link: &Mutex<Link>,
    client: TcpStream,
    mut broker: &TcpStream,
) -> io::Result<()> {
    let mut client = BufReader::with_capacity(BUFFER_BYTES, client);
    let mut held: Option<(i32, Vec<u8>)> = None;
    let mut out = Vec::new();
    loop {
        let frame = read_frame(&mut client)?;
        let (api, correlation) = (number(&frame, 0), number(&frame, 4));
        let (key, version) = ((api >> 16) as i16, api as i16);
        {
            let mut link = link.lock().unwrap();
            link.order.push_back(correlation);
            link.asked.insert(correlation, (key, version));
        }
        let place = match key {
            PRODUCE => Some(shared.produced.fetch_add(1, Ordering::SeqCst)),
            _ => None,
        };
        let due = shared.due(Side::Produced);
        let due = due.filter(|damage| place.is_some_and(|place| place >= damage.victim));
        if let (Some(damage), None) = (due, &held) {
            for frame in hurt(shared, link, &damage, Produce::read(&frame), &mut held)? {
                append_frame(&mut out, &frame);
            }
        } else {
            append_frame(&mut out, &frame);
            // The one that was held back follows its successor.
            let follows = |(partition, _): &mut (i32, Vec<u8>)| {
                place.is_some() && *partition == Produce::read(&frame).partition
            };
            if let Some((_, first)) = held.take_if(follows) {
                append_frame(&mut out, &first);
            }
        }
        if out.len() >= BUFFER_BYTES || !has_frame(&client) {
            broker.write_all(&out)?;
            out.clear();
        }
    }
}

/// A Produce request with its one batch.
struct Produce {
    header: RequestHeader,
    request: ProduceRequest,
    partition: i32,
    batch: Vec<u8>,
}

impl Produce {
    fn read(frame: &[u8]) -> Self {
        let mut bytes = Bytes::copy_from_slice(frame);
        let version = number(frame, 0) as i16;
        let header = RequestHeader::decode(&mut bytes, ProduceRequest::header_version(version));
        let header = header.expect("a header");
        let request = ProduceRequest::decode(&mut bytes, version).expect("a Produce request");
        let part = &request.topic_data[0].partition_data[0];
        let (partition, batch) = (part.index, part.records.clone().expect("records").to_vec());
        Self { header, request, partition, batch }
    }

    fn frame(&self, correlation: i32, partition: i32, batch: Vec<u8>) -> Vec<u8> {
        let version = self.header.request_api_version;
        let header = self.header.clone().with_correlation_id(correlation);
        let mut request = self.request.clone();
        let part = &mut request.topic_data[0].partition_data[0];
        part.index = partition;
        part.records = Some(batch.into());
        let mut out = BytesMut::new();
        header.encode(&mut out, ProduceRequest::header_version(version)).expect("a header");
        request.encode(&mut out, version).expect("a request");
        out.to_vec()
    }

    /// What a broker says that has stored it.
    fn acknowledgement(&self) -> Vec<u8> {
        let part = produce_response::PartitionProduceResponse::default()
            .with_index(self.partition)
            .with_base_offset(0);
        let topic = produce_response::TopicProduceResponse::default()
            .with_name(self.request.topic_data[0].name.clone())
            .with_partition_responses(vec![part]);
        let answer = ProduceResponse::default().with_responses(vec![topic]);
        encode(&answer, self.header.correlation_id, self.header.request_api_version)
    }
}

/// An answer as it goes over the wire, without its size.
fn encode<A: Encodable + HeaderVersion>(answer: &A, correlation: i32, version: i16) -> Vec<u8> {
    let mut out = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut out, A::header_version(version)).expect("a header");
    answer.encode(&mut out, version).expect("an answer");
    out.to_vec()
}

/// What goes to the broker in the place of a damaged Produce request.
fn hurt(
    shared: &Shared,
    link: &Mutex<Link>,
    damage: &Damage,
    produce: Produce,
    held: &mut Option<(i32, Vec<u8>)>,
) -> io::Result<Vec<Vec<u8>>> {
    let correlation = produce.header.correlation_id;
    let partition = produce.partition;
    let records = u64::try_from(number(&produce.batch, 57)).expect("a count");
    let as_it_was = produce.frame(correlation, partition, produce.batch.clone());
    let random = &mut Random(damage.seed);
    shared.done(records);
    Ok(match damage.kind {
        Kind::Drop => {
            let mut link = link.lock().unwrap();
            link.ready.insert(correlation, produce.acknowledgement());
            link.flush()?;
            Vec::new()
        }
        Kind::Duplicate => {
            vec![as_it_was, produce.frame(COPY, partition, produce.batch.clone())]
        }
        Kind::Reorder => {
            *held = Some((partition, as_it_was));
            Vec::new()
        }
        Kind::Flip | Kind::FlipSealed => {
            let mut batch = produce.batch.clone();
            damage.kind.flip(&mut batch, random);
            vec![produce.frame(correlation, partition, batch)]
        }
        Kind::Misdirect => {
            link.lock().unwrap().rightful.insert(correlation, partition);
            vec![produce.frame(correlation, partition ^ 1, produce.batch.clone())]
        }
    })
}

fn downwards(shared: &Shared, link: &Mutex<Link>, broker: TcpStream) -> io::Result<()> {
    let mut broker = BufReader::with_capacity(BUFFER_BYTES, broker);
    loop {
        let mut frame = read_frame(&mut broker)?;
        let correlation = number(&frame, 0);
        if correlation == COPY {
            continue;
        }
        let mut link = link.lock().unwrap();
        let (key, version) = link.asked.remove(&correlation).expect("it was asked");
        match key {
            METADATA => frame = with_own_address(shared, &frame, correlation, version),
            FETCH => frame = fetched(shared, frame, correlation, version),
            PRODUCE => {
                if let Some(partition) = link.rightful.remove(&correlation) {
                    frame = with_partition(&frame, partition, correlation, version);
                }
            }
            _ => {}
        }
        link.ready.insert(correlation, frame);
        if !has_frame(&broker) {
            link.flush()?;
        }
    }
}

fn decode<A: Decodable + HeaderVersion>(frame: &[u8], version: i16) -> A {
    let mut bytes = Bytes::copy_from_slice(frame);
    ResponseHeader::decode(&mut bytes, A::header_version(version)).expect("a header");
    A::decode(&mut bytes, version).expect("an answer")
}

fn with_own_address(shared: &Shared, frame: &[u8], correlation: i32, version: i16) -> Vec<u8> {
    let mut answer: MetadataResponse = decode(frame, version);
    for broker in &mut answer.brokers {
        broker.host = StrBytes::from_string(shared.own.ip().to_string());
        broker.port = shared.own.port().into();
    }
    encode(&answer, correlation, version)
}

fn with_partition(frame: &[u8], partition: i32, correlation: i32, version: i16) -> Vec<u8> {
    let mut answer: ProduceResponse = decode(frame, version);
    answer.responses[0].partition_responses[0].index = partition;
    encode(&answer, correlation, version)
}

fn fetched(shared: &Shared, frame: Vec<u8>, correlation: i32, version: i16) -> Vec<u8> {
    let Some(damage) = shared.due(Side::Fetched) else { return frame };
    let mut answer: FetchResponse = decode(&frame, version);
    let Some(topic) = answer.responses.first_mut() else { return frame };
    let records = topic.partitions.iter().map(|part| part.records.as_deref().unwrap_or_default());
    let here = records.clone().map(Batches::count).sum();
    let before = shared.fetched.fetch_add(here, Ordering::SeqCst);
    if before + here <= damage.victim {
        return frame;
    }
    let mut all: Vec<Batches> = records.map(Batches::split).collect();
    let wanted = damage.victim.saturating_sub(before);
    let Some(records) = damage.kind.among(&mut all, wanted as usize, &mut Random(damage.seed))
    else {
        return frame;
    };
    shared.done(records);
    for (part, batches) in topic.partitions.iter_mut().zip(&all) {
        let mut bytes = BytesMut::new();
        bytes.put_slice(&batches.bytes());
        part.records = Some(bytes.freeze());
    }
    encode(&answer, correlation, version)
}
