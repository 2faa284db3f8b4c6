//! What can go wrong between a client and a cluster, as sentences for people.

use std::fmt;
use std::io;
use std::time::Duration;

use super::BrokerAddress;
use crate::model::NodeId;
use crate::protocol::ErrorCode;
use crate::record::BatchFault;
use crate::wire::{DecodeError, EncodeError, Versions};

/// Why a request got no good answer.
#[derive(Debug)]
pub enum ClientError {
    /// The host name has no address.
    Lookup(BrokerAddress, io::Error),
    /// No connection.
    Connect(BrokerAddress, io::Error),
    /// None of the bootstrap servers could be reached; one error for each.
    Bootstrap(Vec<Self>),
    /// The connection broke while this API was asked.
    Io(BrokerAddress, &'static str, io::Error),
    /// The broker closed the connection while this API was asked.
    Closed(BrokerAddress, &'static str),
    /// No reply to this API within this time.
    TimedOut(BrokerAddress, &'static str, Duration),
    /// The caller gave up the wait for a reply to this API.
    GivenUp(BrokerAddress, &'static str),
    /// What came is no reply.
    NotKafka(BrokerAddress, String),
    /// The reply of this API cannot be read.
    Malformed(BrokerAddress, &'static str, DecodeError),
    /// The request of this API cannot be written in the version both know.
    Unsayable(BrokerAddress, &'static str, EncodeError),
    /// No version of this API that both know: ours, theirs (`None`: the broker lacks the API).
    NoCommonVersion(BrokerAddress, &'static str, Versions, Option<Versions>),
    /// The broker said no: to what, the code, its own words.
    Refused {
        /// What was asked.
        what: String,
        /// The code.
        code: ErrorCode,
        /// The broker's message, if it sent one.
        message: Option<String>,
    },
    /// Nobody has such a topic or partition.
    Unknown(String),
    /// A reply lacks what it must have.
    Incomplete(BrokerAddress, &'static str),
    /// A broker is named as leader, but has no address.
    NoAddress(String, NodeId),
    /// The broker sent records that are none.
    BadBatch(String, BatchFault),
}

impl ClientError {
    /// The broker's code, when it was a broker that said no.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Unknown(_) => Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            _ => None,
        }
    }

    /// Whether it may be over when a broker is there again, or another one leads: asking again
    /// makes sense to who has time.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Lookup(..)
            | Self::Connect(..)
            | Self::Io(..)
            | Self::Closed(..)
            | Self::TimedOut(..)
            | Self::NoAddress(..) => true,
            Self::Bootstrap(errors) => errors.iter().any(Self::may_pass),
            Self::Refused { code, .. } => code.is_retriable(),
            _ => false,
        }
    }

    /// Whether the connection is of no more use.
    pub(super) fn breaks_connection(&self) -> bool {
        matches!(
            self,
            Self::Io(..)
                | Self::Closed(..)
                | Self::TimedOut(..)
                | Self::GivenUp(..)
                | Self::NotKafka(..)
                | Self::Malformed(..)
        )
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookup(address, error) => {
                write!(f, "cannot look up {address}: {error}; check the host name")
            }
            Self::Connect(address, error) => {
                let hint = match error.kind() {
                    io::ErrorKind::ConnectionRefused => {
                        "; is a broker running there, on this port?"
                    }
                    io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                        "; is the host right, is a firewall in the way?"
                    }
                    _ => "",
                };
                write!(f, "cannot connect to {address}: {}{hint}", plain(error))
            }
            Self::Bootstrap(errors) => match errors.as_slice() {
                [error] => error.fmt(f),
                errors => {
                    f.write_str("cannot reach any bootstrap server:")?;
                    errors.iter().try_for_each(|error| write!(f, "\n  {error}"))
                }
            },
            Self::Io(address, api, error) => {
                write!(f, "lost the connection to {address} during {api}: {}", plain(error))
            }
            Self::Closed(address, api) => write!(
                f,
                "{address} closed the connection instead of answering {api}; the broker's log may \
                 say why (another security protocol, a limit, a shutdown)"
            ),
            Self::TimedOut(address, api, after) => write!(
                f,
                "{address} did not answer {api} within {} ms: overloaded, or no Kafka broker?",
                after.as_millis()
            ),
            Self::GivenUp(address, api) => {
                write!(f, "the wait for {address} to answer {api} was given up")
            }
            Self::NotKafka(address, why) => write!(f, "{address} {why}"),
            Self::Malformed(address, api, error) => {
                write!(f, "{address} answered {api} with bytes that cannot be read: {error}")
            }
            Self::Unsayable(address, api, error) => {
                write!(f, "the version of {api} that {address} speaks cannot say this: {error}")
            }
            Self::NoCommonVersion(address, api, ours, Some(theirs)) => write!(
                f,
                "{address} speaks {api} {} to {}, this client {} to {}: use matching releases",
                theirs.min, theirs.max, ours.min, ours.max
            ),
            Self::NoCommonVersion(address, api, _, None) => {
                write!(f, "{address} does not have the API {api}")
            }
            Self::Refused { what, code, message } => {
                write!(f, "{what}: {code}: {}", message.as_deref().unwrap_or(code.text()))
            }
            Self::Unknown(what) => {
                write!(f, "{what} does not exist; `thalweg topic list` shows what does")
            }
            Self::Incomplete(address, what) => {
                write!(f, "{address} sent a reply without {what}")
            }
            Self::NoAddress(what, node) => write!(
                f,
                "{what} is led by broker {node}, whose address the cluster does not tell; \
                 is that broker down?"
            ),
            Self::BadBatch(what, fault) => {
                write!(f, "{what} holds bytes that are no record batch: {fault}")
            }
        }
    }
}

impl std::error::Error for ClientError {}

/// The operating system's words without their number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
