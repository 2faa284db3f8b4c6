//! One connection to one broker: versions, correlation ids, one request at a time.
//!
//! After an error that leaves the stream in doubt the connection refuses further use. Memory for
//! a reply grows with the bytes that arrive, never to the announced length.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{BrokerAddress, ClientError};
use crate::protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::{
    ApiKey, ErrorCode, PREFIX_LEN, RESPONSE_LEN_MIN, Request, decode_response, encode_request,
    frame_len,
};
use crate::wire::{Message, Versions};

/// How to connect and how long to wait.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// Sent with every request (`client.id`).
    pub client_id: String,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for a reply, on top of what the request itself asks the broker to wait.
    pub request_timeout: Duration,
    /// Largest reply that is read.
    pub frame_bytes_max: usize,
    /// Asked now and then during a wait for a whole group; true gives it up.
    pub gives_up: Option<fn() -> bool>,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            client_id: "thalweg".into(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            frame_bytes_max: 256 << 20,
            gives_up: None,
        }
    }
}

/// How soon a wait is given up once the caller wants to.
const GLANCE: Duration = Duration::from_millis(100);

/// A wait for a reply.
#[derive(Clone, Copy)]
struct Wait {
    until: Instant,
    /// From the start, for the error.
    whole: Duration,
    gives_up: Option<fn() -> bool>,
}

impl Wait {
    fn new(whole: Duration, gives_up: Option<fn() -> bool>) -> Self {
        Self { until: Instant::now() + whole, whole, gives_up }
    }
}

/// A connection whose versions are negotiated.
#[derive(Debug)]
pub struct Connection {
    address: BrokerAddress,
    stream: TcpStream,
    options: ConnectionOptions,
    correlation_id: i32,
    versions: HashMap<i16, Versions>,
    is_broken: bool,
}

impl Connection {
    /// Connect and ask what the broker speaks.
    ///
    /// # Errors
    /// When nobody listens there, or what listens is no Kafka broker.
    pub fn open(address: &BrokerAddress, options: &ConnectionOptions) -> Result<Self, ClientError> {
        let mut connection = Self::dial(address, options)?;
        match connection.negotiate(ApiVersionsRequest::VERSIONS.max) {
            // A broker that does not know the version at all may just hang up; ask anew the
            // oldest way.
            Err(ClientError::Closed(..)) => {
                connection = Self::dial(address, options)?;
                connection.negotiate(0)?;
            }
            other => other?,
        }
        Ok(connection)
    }

    fn dial(address: &BrokerAddress, options: &ConnectionOptions) -> Result<Self, ClientError> {
        let found = (address.host.as_str(), address.port)
            .to_socket_addrs()
            .map_err(|error| ClientError::Lookup(address.clone(), error))?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for socket in found {
            let connected = TcpStream::connect_timeout(&socket, options.connect_timeout)
                .and_then(|stream| stream.set_nodelay(true).map(|()| stream));
            match connected {
                Ok(stream) => {
                    return Ok(Self {
                        address: address.clone(),
                        stream,
                        options: options.clone(),
                        correlation_id: 0,
                        versions: HashMap::new(),
                        is_broken: false,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(ClientError::Connect(address.clone(), last))
    }

    /// Ask for the versions, beginning with `version`; KIP-511 tells how to step down.
    fn negotiate(&mut self, version: i16) -> Result<(), ClientError> {
        const API: &str = "ApiVersions";
        let request = ApiVersionsRequest {
            client_software_name: "thalweg".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        let wait = Wait::new(self.options.request_timeout, None);
        let frame = self.exchange(version, &request, wait)?;
        // A refusal is written as version 0 whatever was asked, so look before decoding.
        let refused = frame.get(4..6) == Some(&ErrorCode::UNSUPPORTED_VERSION.0.to_be_bytes()[..]);
        let read_as = if refused { 0 } else { version };
        let (_, reply) =
            decode_response::<ApiVersionsRequest>(read_as, frame).map_err(|error| {
                self.broken(ClientError::Malformed(self.address.clone(), API, error))
            })?;
        if refused && version > 0 {
            let key = ApiKey::ApiVersions as i16;
            let theirs = reply.api_keys.iter().find(|api| api.api_key == key);
            return self.negotiate(theirs.map_or(0, |api| api.max_version.clamp(0, version - 1)));
        }
        if !reply.error_code.is_ok() {
            return Err(ClientError::Refused {
                what: format!("ApiVersions of {}", self.address),
                code: reply.error_code,
                message: None,
            });
        }
        self.remember(&reply);
        Ok(())
    }

    fn remember(&mut self, reply: &ApiVersionsResponse) {
        self.versions = reply
            .api_keys
            .iter()
            .map(|api| (api.api_key, Versions { min: api.min_version, max: api.max_version }))
            .collect();
    }

    /// Where it leads.
    pub fn address(&self) -> &BrokerAddress {
        &self.address
    }

    /// Whether an earlier error made it useless.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// What the broker says it speaks of an API.
    pub fn advertised(&self, key: ApiKey) -> Option<Versions> {
        self.versions.get(&(key as i16)).copied()
    }

    /// The newest version of an API that both sides know.
    ///
    /// # Errors
    /// When there is none.
    pub fn version<R: Request>(&self) -> Result<i16, ClientError> {
        self.version_up_to::<R>(i16::MAX)
    }

    /// As [`Connection::version`], not above `limit`.
    ///
    /// # Errors
    /// When there is none.
    pub fn version_up_to<R: Request>(&self, limit: i16) -> Result<i16, ClientError> {
        let (ours, theirs) = (R::VERSIONS, self.advertised(R::KEY));
        let common = theirs.map(|theirs| Versions {
            min: ours.min.max(theirs.min),
            max: ours.max.min(theirs.max).min(limit),
        });
        match common {
            Some(common) if common.min <= common.max => Ok(common.max),
            _ => {
                Err(ClientError::NoCommonVersion(self.address.clone(), R::KEY.name(), ours, theirs))
            }
        }
    }

    /// Ask and wait for the answer, in the newest version that both know.
    ///
    /// # Errors
    /// See [`ClientError`]; error codes inside the answer are the caller's to look at.
    pub fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        let version = self.version::<R>()?;
        self.call_at(version, request, Duration::ZERO)
    }

    /// Ask in a version of the caller's choice; `patience` is how long the request itself lets
    /// the broker wait (as in Fetch).
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn call_at<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        patience: Duration,
    ) -> Result<R::Response, ClientError> {
        self.ask(version, request, Wait::new(self.options.request_timeout + patience, None))
    }

    /// As [`Connection::call_at`], for what waits until others have come or a signal says that
    /// it is no longer wanted ([`ConnectionOptions::gives_up`]).
    ///
    /// # Errors
    /// As [`Connection::call`]; [`ClientError::GivenUp`].
    pub(super) fn call_of_group<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        patience: Duration,
    ) -> Result<R::Response, ClientError> {
        let whole = self.options.request_timeout + patience;
        self.ask(version, request, Wait::new(whole, self.options.gives_up))
    }

    fn ask<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        wait: Wait,
    ) -> Result<R::Response, ClientError> {
        let frame = self.exchange(version, request, wait)?;
        match decode_response::<R>(version, frame) {
            Ok((_, response)) => Ok(response),
            Err(error) => {
                let error = ClientError::Malformed(self.address.clone(), R::KEY.name(), error);
                Err(self.broken(error))
            }
        }
    }

    /// Send without waiting: for Produce with acks=0, which is never answered.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> Result<(), ClientError> {
        let api = R::KEY.name();
        if self.is_broken {
            return Err(ClientError::Closed(self.address.clone(), api));
        }
        self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
        let client_id = Some(self.options.client_id.as_str());
        let pieces = encode_request(version, self.correlation_id, client_id, request)
            .map_err(|error| ClientError::Unsayable(self.address.clone(), api, error))?;
        let sent = self
            .stream
            .set_write_timeout(Some(self.options.request_timeout))
            .and_then(|()| pieces.iter().try_for_each(|piece| self.stream.write_all(piece)));
        sent.map_err(|error| self.lost(api, error, self.options.request_timeout))
    }

    /// Send a request and receive the frame that answers it, header included.
    fn exchange<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        wait: Wait,
    ) -> Result<Bytes, ClientError> {
        self.send(version, request)?;
        let frame = self.receive(R::KEY.name(), wait)?;
        let answered = frame.first_chunk::<4>().map(|id| i32::from_be_bytes(*id));
        if answered != Some(self.correlation_id) {
            let why = format!(
                "answered with correlation id {answered:?} instead of {}: out of step",
                self.correlation_id
            );
            return Err(self.broken(ClientError::NotKafka(self.address.clone(), why)));
        }
        Ok(frame)
    }

    fn receive(&mut self, api: &'static str, wait: Wait) -> Result<Bytes, ClientError> {
        let prefix = self.read_bytes(PREFIX_LEN, api, wait)?;
        match frame_len(&prefix, RESPONSE_LEN_MIN, self.options.frame_bytes_max) {
            Ok(Some(len)) => Ok(Bytes::from(self.read_bytes(len, api, wait)?)),
            Ok(None) => Err(self.broken(ClientError::Closed(self.address.clone(), api))),
            Err(_) => {
                let error = ClientError::NotKafka(self.address.clone(), self.guess(&prefix));
                Err(self.broken(error))
            }
        }
    }

    /// What listens there, if not a Kafka broker in plaintext.
    fn guess(&self, prefix: &[u8]) -> String {
        match prefix {
            [0x15 | 0x16, 0x03, ..] => {
                "speaks TLS, which this client does not; use a plaintext listener".into()
            }
            b"HTTP" => "speaks HTTP: that port is no Kafka listener".into(),
            _ => {
                let length = prefix.first_chunk().map_or(0, |bytes| i32::from_be_bytes(*bytes));
                let limit = self.options.frame_bytes_max;
                let text = if prefix.iter().all(|byte| byte.is_ascii_graphic()) {
                    format!(" (the text {:?})", String::from_utf8_lossy(prefix))
                } else {
                    String::new()
                };
                format!(
                    "sent {length}{text} as the length of its reply, outside of the limits of \
                     {RESPONSE_LEN_MIN} to {limit} bytes: no Kafka listener is on that port, or \
                     one that speaks TLS; else the request was for too much at once"
                )
            }
        }
    }

    /// Exactly `len` bytes before the deadline. Memory grows with what has come.
    fn read_bytes(
        &mut self,
        len: usize,
        api: &'static str,
        wait: Wait,
    ) -> Result<Vec<u8>, ClientError> {
        const STEP_BYTES: usize = 256 * 1024;
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let have = bytes.len();
            // Double what is there, so that a long reply is copied a bounded number of times.
            let step = (len - have).min(STEP_BYTES.max(have));
            bytes.resize(have + step, 0);
            let mut filled = have;
            while filled < have + step {
                if wait.gives_up.is_some_and(|gives_up| gives_up()) {
                    return Err(self.broken(ClientError::GivenUp(self.address.clone(), api)));
                }
                let mut left = wait.until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(self.lost(api, io::ErrorKind::TimedOut.into(), wait.whole));
                }
                if wait.gives_up.is_some() {
                    left = left.min(GLANCE);
                }
                let read = self
                    .stream
                    .set_read_timeout(Some(left))
                    .and_then(|()| self.stream.read(&mut bytes[filled..]));
                match read {
                    Ok(0) => {
                        return Err(self.broken(ClientError::Closed(self.address.clone(), api)));
                    }
                    Ok(read) => filled += read,
                    // Time is looked at above.
                    Err(error) if is_pause(&error) => {}
                    Err(error) => return Err(self.lost(api, error, wait.whole)),
                }
            }
        }
        Ok(bytes)
    }

    fn lost(&mut self, api: &'static str, error: io::Error, after: Duration) -> ClientError {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, WouldBlock};
        let address = self.address.clone();
        self.broken(match error.kind() {
            TimedOut | WouldBlock => ClientError::TimedOut(address, api, after),
            ConnectionReset | BrokenPipe => ClientError::Closed(address, api),
            _ => ClientError::Io(address, api, error),
        })
    }

    fn broken(&mut self, error: ClientError) -> ClientError {
        self.is_broken |= error.breaks_connection();
        error
    }
}

/// Whether nothing has come yet.
fn is_pause(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
