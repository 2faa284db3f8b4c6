//! Every API that is advertised, in every version of it: a request gets an answer.
//!
//! Promise: no advertised version is one whose answer cannot be written. The requests are sampled
//! from the schemas, so an API or a version that is added later is asked, too.

use std::time::Duration;

use bytes::Bytes;
use thalweg::protocol::messages::describe_quorum::{
    DescribeQuorumRequestPartition, DescribeQuorumRequestTopic,
};
use thalweg::protocol::messages::metadata::MetadataRequestTopic;
use thalweg::protocol::{ApiKey, RequestBody, RequestHeader, ResponseBody, ResponseHeader};
use thalweg::wire::{Reader, Writer};

use crate::sample::{Style, message};
use crate::support::{Broker, Connection};

const TOPIC: &str = "swept";
const CORRELATION_ID: i32 = 7;

#[test]
fn every_advertised_version_is_answered() {
    if Broker::is_kafka() {
        return;
    }
    let mut broker = Broker::start("sweep");
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic(TOPIC, 1, &[]).expect("CreateTopics"), 0);
    let mut asked = 0;
    for key in ApiKey::ALL {
        for version in key.advertised().iter().filter(|version| key.serves(*version)) {
            for request in requests(*key, version) {
                let answer = ask(&broker, *key, version, &request);
                answer.unwrap_or_else(|why| panic!("{key:?} {version} {request:?}: {why}"));
                asked += 1;
            }
        }
    }
    broker.assert_alive();
    assert!(asked > 300, "only {asked} requests");
}

/// One that names nothing, and one that names what is there.
fn requests(key: ApiKey, version: i16) -> Vec<RequestBody> {
    let sample = message(key.request_schema(), version, key.flexible(), Style::Empty, 0);
    let mut reader = Reader::new(Bytes::from(sample));
    let mut empty = RequestBody::decode(key, &mut reader, version).expect("a sample");
    if let RequestBody::Produce(request) = &mut empty {
        // There is no answer to one with acks=0.
        request.acks = 1;
    }
    let mut telling = empty.clone();
    match &mut telling {
        RequestBody::Metadata(request) => {
            let by_name = MetadataRequestTopic { name: Some(TOPIC.into()), ..Default::default() };
            let nameless = MetadataRequestTopic { name: None, ..Default::default() };
            let is_null_allowed = version >= 10;
            let nameless = is_null_allowed.then_some(nameless);
            request.topics = Some([Some(by_name), nameless].into_iter().flatten().collect());
        }
        RequestBody::DescribeQuorum(request) => {
            request.topics = vec![DescribeQuorumRequestTopic {
                topic_name: "__cluster_metadata".into(),
                partitions: vec![DescribeQuorumRequestPartition::default()],
            }];
        }
        _ => {}
    }
    vec![empty, telling]
}

/// Ask on a connection of its own, so that one that is closed tells on one request.
fn ask(broker: &Broker, key: ApiKey, version: i16, request: &RequestBody) -> Result<(), String> {
    let mut writer = Writer::new();
    let header = RequestHeader {
        api_key: key,
        api_version: version,
        correlation_id: CORRELATION_ID,
        client_id: Some("sweep".into()),
    };
    header.encode(&mut writer).map_err(|error| error.to_string())?;
    request.encode(&mut writer, version).map_err(|error| error.to_string())?;
    let body = writer.into_bytes();
    let mut connection = Connection::open(broker.port()).map_err(|error| error.to_string())?;
    connection.set_timeout(Duration::from_secs(10));
    let length = u32::try_from(body.len()).expect("a short request").to_be_bytes();
    connection.write_raw(&[&length[..], &body[..]].concat()).map_err(|error| error.to_string())?;
    let answer = connection.read_frame().map_err(|error| error.to_string())?;
    let mut reader = Reader::new(answer);
    let header = ResponseHeader::decode(&mut reader, key.response_header_version(version));
    let header = header.map_err(|error| error.to_string())?;
    assert_eq!(header.correlation_id, CORRELATION_ID);
    ResponseBody::decode(key, &mut reader, version).map_err(|error| error.to_string())?;
    Ok(())
}
