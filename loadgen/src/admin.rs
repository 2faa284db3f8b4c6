//! What has to be asked before and after measuring, one blocking request at a time: versions,
//! metadata, topics, offsets, producer ids. Speed does not matter here; it goes through the
//! schemas of `thalweg::protocol`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::Bytes;
use thalweg::protocol::messages::{
    api_versions::ApiVersionsRequest,
    create_topics::{CreatableTopic, CreateTopicsRequest},
    delete_topics::{DeleteTopicState, DeleteTopicsRequest},
    init_producer_id::InitProducerIdRequest,
    list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic},
    metadata::{MetadataRequest, MetadataRequestTopic},
};
use thalweg::protocol::{
    ErrorCode, RESPONSE_LEN_MIN, Request, decode_response, encode_request, frame_len,
};
use thalweg::wire::Message;

use crate::request;

const TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long a new topic may take to get its leaders.
const LEADERS_LIMIT: Duration = Duration::from_secs(20);
const LEADERS_PAUSE: Duration = Duration::from_millis(20);

/// A blocking connection that knows what the broker speaks.
#[derive(Debug)]
pub struct Admin {
    stream: TcpStream,
    address: SocketAddr,
    correlation: i32,
    served: Vec<(i16, i16, i16)>,
}

/// Who leads which partition of the topic.
#[derive(Clone, Debug)]
pub struct TopicMap {
    /// By partition: where its leader listens.
    pub leaders: Vec<SocketAddr>,
}

impl Admin {
    /// Connect to the first reachable address of `server` (`HOST:PORT`) and ask what it speaks.
    ///
    /// # Errors
    /// Says what failed and what to look at.
    pub fn connect(server: &str) -> Result<Self, String> {
        let addresses = server.to_socket_addrs().map_err(|error| {
            format!("--bootstrap-server {server:?} is no HOST:PORT that resolves: {error}")
        })?;
        let mut last = format!("{server} resolves to no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
                Ok(stream) => return Self::greet(stream, address),
                Err(error) => last = format!("cannot connect to {address}: {error}"),
            }
        }
        Err(format!("{last}; is the broker running and listening there?"))
    }

    fn greet(stream: TcpStream, address: SocketAddr) -> Result<Self, String> {
        let set = |result: std::io::Result<()>| result.map_err(|e| e.to_string());
        set(stream.set_nodelay(true))?;
        set(stream.set_read_timeout(Some(TIMEOUT)))?;
        set(stream.set_write_timeout(Some(TIMEOUT)))?;
        let mut admin = Self { stream, address, correlation: 0, served: Vec::new() };
        // Version 0 is what every broker answers.
        let answer = admin.send(0, &ApiVersionsRequest::default())?;
        let keys = answer.api_keys.iter();
        admin.served = keys.map(|k| (k.api_key, k.min_version, k.max_version)).collect();
        for (name, (key, version)) in [("Produce", request::PRODUCE), ("Fetch", request::FETCH)] {
            if !admin.serves(key, version) {
                return Err(format!(
                    "{address} does not serve {name} v{version}, which loadgen measures with"
                ));
            }
        }
        Ok(admin)
    }

    fn serves(&self, key: i16, version: i16) -> bool {
        self.served.iter().any(|(k, min, max)| *k == key && (*min..=*max).contains(&version))
    }

    /// Ask in the newest version both sides know.
    fn ask<R: Request>(&mut self, body: &R) -> Result<R::Response, String> {
        let ours = <R as Message>::VERSIONS;
        let key = R::KEY as i16;
        let version = ours.iter().rev().find(|v| self.serves(key, *v)).ok_or_else(|| {
            format!(
                "{} serves no version of {} that loadgen knows ({}-{})",
                self.address,
                R::KEY.name(),
                ours.min,
                ours.max
            )
        })?;
        self.send(version, body)
    }

    fn send<R: Request>(&mut self, version: i16, body: &R) -> Result<R::Response, String> {
        let name = R::KEY.name();
        let address = self.address;
        let failed = |what: &str, why: &dyn std::fmt::Display| {
            format!("{name} v{version} to {address} failed: {what}: {why}")
        };
        self.correlation += 1;
        let frame = encode_request(version, self.correlation, Some(request::CLIENT_ID), body)
            .map_err(|e| failed("it cannot be encoded", &e))?;
        for piece in frame {
            self.stream.write_all(&piece).map_err(|e| failed("sending", &e))?;
        }
        let mut prefix = [0u8; 4];
        self.stream.read_exact(&mut prefix).map_err(|e| failed("no answer", &e))?;
        let length = frame_len(&prefix, RESPONSE_LEN_MIN, ANSWER_BYTES_MAX)
            .map_err(|e| failed("the answer is no Kafka frame", &e))?
            .expect("four bytes are there");
        let mut answer = Vec::new();
        // Memory follows the bytes that come, not the length that was announced.
        let got = (&self.stream).take(length as u64).read_to_end(&mut answer);
        if got.map_err(|e| failed("half an answer", &e))? != length {
            return Err(failed("half an answer", &"the broker closed the connection"));
        }
        let (header, answer) = decode_response::<R>(version, Bytes::from(answer))
            .map_err(|e| failed("the answer cannot be read", &e))?;
        if header.correlation_id != self.correlation {
            return Err(failed("wrong answer", &"another correlation id"));
        }
        Ok(answer)
    }

    /// Where the partitions of `topic` are led; `None` when there is no such topic.
    fn lookup(&mut self, topic: &str) -> Result<Option<Result<TopicMap, String>>, String> {
        let wanted = MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
        let answer = self.ask(&MetadataRequest {
            topics: Some(vec![wanted]),
            allow_auto_topic_creation: false,
            ..Default::default()
        })?;
        let found = answer.topics.iter().find(|t| t.name.as_deref() == Some(topic));
        let Some(found) = found else { return Ok(None) };
        if found.error_code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
            return Ok(None);
        }
        if found.error_code != ErrorCode::NONE {
            return Ok(Some(Err(format!("topic {topic}: {:?}", found.error_code))));
        }
        let mut leaders = vec![None; found.partitions.len()];
        for partition in &found.partitions {
            let broker = answer.brokers.iter().find(|b| b.node_id == partition.leader_id);
            let Some(broker) = broker else {
                let index = partition.partition_index;
                return Ok(Some(Err(format!("partition {index} of {topic} has no leader"))));
            };
            let host = (broker.host.as_str(), broker.port as u16);
            let address = host.to_socket_addrs().ok().and_then(|mut all| all.next());
            let slot = leaders.get_mut(partition.partition_index as usize);
            let (Some(address), Some(slot)) = (address, slot) else {
                return Err(format!(
                    "broker {} advertises {}:{}, which does not resolve here; check its \
                     advertised.listeners",
                    broker.node_id,
                    broker.host.as_str(),
                    broker.port
                ));
            };
            *slot = Some(address);
        }
        let leaders: Option<Vec<_>> = leaders.into_iter().collect();
        Ok(Some(leaders.map(|leaders| TopicMap { leaders }).ok_or("partitions missing".into())))
    }

    /// Find `topic`, creating it if absent, and wait until every partition has a leader. The
    /// second value says whether it was created.
    ///
    /// # Errors
    /// When it cannot be created or gets no leaders in time.
    pub fn ensure_topic(
        &mut self,
        topic: &str,
        partitions: u32,
        replication_factor: i16,
    ) -> Result<(TopicMap, bool), String> {
        let mut created = false;
        if self.lookup(topic)?.is_none() {
            let wanted = CreatableTopic {
                name: topic.into(),
                num_partitions: partitions as i32,
                replication_factor,
                ..Default::default()
            };
            let answer = self.ask(&CreateTopicsRequest {
                topics: vec![wanted],
                timeout_ms: 30_000,
                ..Default::default()
            })?;
            let result = answer.topics.first().ok_or("CreateTopics answered for no topic")?;
            if !matches!(result.error_code, ErrorCode::NONE | ErrorCode::TOPIC_ALREADY_EXISTS) {
                let why = result.error_message.as_deref().unwrap_or(result.error_code.text());
                return Err(format!("cannot create {topic}: {:?}: {why}", result.error_code));
            }
            created = result.error_code == ErrorCode::NONE;
        }
        let begin = Instant::now();
        loop {
            let why = match self.lookup(topic)? {
                Some(Ok(map)) if !map.leaders.is_empty() => return Ok((map, created)),
                Some(Err(why)) => why,
                _ => format!("topic {topic} does not show up after its creation"),
            };
            if begin.elapsed() > LEADERS_LIMIT {
                return Err(format!("{why}, after {} s", LEADERS_LIMIT.as_secs()));
            }
            std::thread::sleep(LEADERS_PAUSE);
        }
    }

    /// Delete `topic`; a topic that is not there is fine.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn delete_topic(&mut self, topic: &str) -> Result<(), String> {
        let state = DeleteTopicState { name: Some(topic.into()), ..Default::default() };
        let names = DeleteTopicsRequest {
            topics: if self.serves(20, 6) { vec![state] } else { Vec::new() },
            topic_names: vec![topic.into()],
            timeout_ms: 30_000,
        };
        let answer = self.ask(&names)?;
        for result in &answer.responses {
            let code = result.error_code;
            if !matches!(code, ErrorCode::NONE | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) {
                return Err(format!("cannot delete topic {topic}: {code:?}"));
            }
        }
        Ok(())
    }

    /// The end offsets of these partitions, all led by this broker.
    ///
    /// # Errors
    /// When one of them cannot be had.
    pub fn end_offsets(&mut self, topic: &str, wanted: &[u32]) -> Result<Vec<i64>, String> {
        const LATEST: i64 = -1;
        let partitions = wanted.iter().map(|index| ListOffsetsPartition {
            partition_index: *index as i32,
            timestamp: LATEST,
            ..Default::default()
        });
        let answer = self.ask(&ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic { name: topic.into(), partitions: partitions.collect() }],
            timeout_ms: 30_000,
            ..Default::default()
        })?;
        let found = answer.topics.first().map_or(&[][..], |t| &t.partitions);
        let offset = |index: &u32| {
            let part = found.iter().find(|p| p.partition_index == *index as i32);
            let part = part.ok_or(format!("ListOffsets is silent about partition {index}"))?;
            if part.error_code != ErrorCode::NONE {
                return Err(format!("ListOffsets of partition {index}: {:?}", part.error_code));
            }
            Ok(part.offset)
        };
        wanted.iter().map(offset).collect()
    }

    /// A fresh producer id and epoch.
    ///
    /// # Errors
    /// When the broker gives none.
    pub fn producer_id(&mut self) -> Result<(i64, i16), String> {
        let begin = Instant::now();
        loop {
            let answer = self.ask(&InitProducerIdRequest {
                transaction_timeout_ms: i32::MAX,
                ..Default::default()
            })?;
            if answer.error_code == ErrorCode::NONE {
                return Ok((answer.producer_id, answer.producer_epoch));
            }
            if !answer.error_code.is_retriable() || begin.elapsed() > LEADERS_LIMIT {
                return Err(format!("InitProducerId: {:?}", answer.error_code));
            }
            std::thread::sleep(LEADERS_PAUSE);
        }
    }
}

/// Kafka's name of an error code, with its number.
pub fn error_name(code: i16) -> String {
    match ErrorCode(code).name() {
        Some(name) => format!("{name} ({code})"),
        None => format!("error {code}"),
    }
}
