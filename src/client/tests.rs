//! A connection against brokers that misbehave, played by a thread on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::protocol::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker,
};
use crate::protocol::{ApiKey, ErrorCode, RequestHeader, encode_response};
use crate::wire::Reader;

/// What a broker does with one connection.
type Part = Box<dyn FnOnce(&mut TcpStream) + Send>;

/// A broker for one connection after the other.
fn broker(parts: Vec<Part>) -> (BrokerAddress, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        for part in parts {
            let (mut stream, _) = listener.accept().unwrap();
            part(&mut stream);
        }
    });
    (BrokerAddress { host: "127.0.0.1".into(), port }, thread)
}

fn options() -> ConnectionOptions {
    ConnectionOptions { request_timeout: Duration::from_millis(500), ..Default::default() }
}

fn read_request(stream: &mut TcpStream) -> RequestHeader {
    let mut len = [0; 4];
    stream.read_exact(&mut len).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut frame).unwrap();
    RequestHeader::decode(&mut Reader::new(Bytes::from(frame))).unwrap()
}

fn answer<M: crate::wire::Message>(stream: &mut TcpStream, header: &RequestHeader, v: i16, m: &M) {
    for piece in encode_response(header.api_key, v, header.correlation_id, m).unwrap() {
        stream.write_all(&piece).unwrap();
    }
}

fn versions(error_code: ErrorCode, list: &[(ApiKey, i16, i16)]) -> ApiVersionsResponse {
    let api = |(key, min_version, max_version): &(ApiKey, i16, i16)| ApiVersion {
        api_key: *key as i16,
        min_version: *min_version,
        max_version: *max_version,
    };
    let api_keys = list.iter().map(api).collect();
    ApiVersionsResponse { error_code, api_keys, ..Default::default() }
}

/// Plays a broker that knows these APIs, up to its first request behind the negotiation.
fn negotiated(stream: &mut TcpStream, list: &[(ApiKey, i16, i16)]) -> RequestHeader {
    let header = read_request(stream);
    answer(stream, &header, header.api_version, &versions(ErrorCode::NONE, list));
    read_request(stream)
}

#[test]
fn versions_step_down_as_kip_511_says() {
    let (address, thread) = broker(vec![Box::new(|stream| {
        let first = read_request(stream);
        assert_eq!(first.api_version, 4);
        let no = versions(ErrorCode::UNSUPPORTED_VERSION, &[(ApiKey::ApiVersions, 0, 2)]);
        answer(stream, &first, 0, &no);
        let second = read_request(stream);
        assert_eq!(second.api_version, 2);
        answer(stream, &second, 2, &versions(ErrorCode::NONE, &[(ApiKey::Metadata, 0, 8)]));
    })]);
    let connection = Connection::open(&address, &options()).unwrap();
    assert_eq!(connection.version::<MetadataRequest>().unwrap(), 8);
    assert_eq!(connection.version_up_to::<MetadataRequest>(5).unwrap(), 5);
    let error = connection.version::<crate::protocol::messages::fetch::FetchRequest>().unwrap_err();
    assert!(error.to_string().contains("does not have the API Fetch"), "{error}");
    thread.join().unwrap();
}

#[test]
fn a_broker_that_hangs_up_is_asked_the_oldest_way() {
    let (address, thread) = broker(vec![
        Box::new(|stream| drop(read_request(stream))),
        Box::new(|stream| {
            let header = read_request(stream);
            assert_eq!(header.api_version, 0);
            answer(stream, &header, 0, &versions(ErrorCode::NONE, &[]));
        }),
    ]);
    Connection::open(&address, &options()).unwrap();
    thread.join().unwrap();
}

#[test]
fn what_is_no_broker_is_named() {
    let cases: [(&[u8], &str); 5] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "speaks TLS"),
        (b"\x7f\xff\xff\xff", "sent 2147483647 as the length of its reply"),
        (b"SSH-2.0", "sent 1397966893 (the text \"SSH-\") as the length of its reply"),
        (b"\x00\x00\x00\x06\x00\x00\x00\x63\x00\x00", "out of step"),
    ];
    for (bytes, expected) in cases {
        let (address, thread) = broker(vec![Box::new(move |stream| {
            read_request(stream);
            stream.write_all(bytes).unwrap();
        })]);
        let error = Connection::open(&address, &options()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(&address.to_string()), "{error}");
        thread.join().unwrap();
    }
}

#[test]
fn silence_ends_at_the_deadline_and_spoils_the_connection() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let (address, thread) = broker(vec![Box::new(move |stream| {
        let header = negotiated(stream, &[(ApiKey::Metadata, 0, 0)]);
        assert_eq!(header.api_key, ApiKey::Metadata);
        // Announce a long reply and send one byte of it: no memory, no patience.
        stream.write_all(&[0x0f, 0xff, 0xff, 0xff, 1]).unwrap();
        wait.recv().unwrap();
    })]);
    let mut connection = Connection::open(&address, &options()).unwrap();
    let request = MetadataRequest { topics: Some(vec![]), ..Default::default() };
    let error = connection.call_at(0, &request, Duration::ZERO).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut(..)), "{error}");
    assert!(connection.is_broken());
    assert!(connection.call(&request).is_err());
    release.send(()).unwrap();
    thread.join().unwrap();
}

#[test]
fn an_unreachable_cluster_says_where_and_why() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let list = BrokerAddress::parse_list(&format!("127.0.0.1:{port},127.0.0.1:{port}")).unwrap();
    let error = Client::connect(ClientOptions::new(list)).unwrap_err().to_string();
    assert!(error.contains(&format!("127.0.0.1:{port}: connection refused")), "{error}");
}

/// A client of a broker that answers what every client asks first, and nothing more.
fn client(connection: ConnectionOptions) -> Client {
    let (address, thread) = broker(vec![Box::new(|stream| {
        let header = negotiated(stream, &[(ApiKey::Metadata, 0, 12)]);
        let node = MetadataResponseBroker {
            node_id: 3,
            host: "elsewhere".into(),
            port: 7,
            ..Default::default()
        };
        let reply = MetadataResponse {
            brokers: vec![node],
            cluster_id: Some("c".into()),
            controller_id: 3,
            ..Default::default()
        };
        answer(stream, &header, header.api_version, &reply);
    })]);
    let options = ClientOptions { connection, ..ClientOptions::new(vec![address]) };
    let client = Client::connect(options).unwrap();
    thread.join().unwrap();
    client
}

#[test]
fn the_cluster_is_learnt_from_metadata() {
    let client = client(options());
    assert_eq!(client.cluster_id(), Some("c"));
    assert_eq!(client.brokers(), [(3, "elsewhere:7".parse().unwrap())]);
}

#[test]
fn who_gives_up_does_not_ask_again() {
    let code = ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
    let asked = |gives_up: fn() -> bool| {
        let mut client =
            client(ConnectionOptions { gives_up: Some(gives_up), ..Default::default() });
        let mut answers = 0..3;
        let outcome = client.again_while_it_may_heal(|_| match answers.next() {
            Some(_) => Err(ClientError::Refused { what: "join".into(), code, message: None }),
            None => Ok(()),
        });
        (outcome.err().and_then(|error| error.code()), answers.len())
    };
    assert_eq!(asked(|| false), (None, 0));
    assert_eq!(asked(|| true), (Some(code), 2));
}
