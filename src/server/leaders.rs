//! Who leads a partition, told beside an error to a client that asked the wrong broker or knows an
//! old epoch (KIP-951).

use std::sync::Arc;

use super::request::{Endpoint, Identity};
use crate::cluster::image::Topic;
use crate::model::NodeId;
use crate::protocol::messages::{fetch, produce};

/// The leaders that one answer names.
pub struct Leaders<'a> {
    identity: &'a Identity,
    is_named: bool,
}

impl<'a> Leaders<'a> {
    /// None is named yet.
    pub fn new(identity: &'a Identity) -> Self {
        Self { identity, is_named: false }
    }

    /// Leader and epoch of a partition, as far as they are known.
    pub fn name(&mut self, topic: Option<&Arc<Topic>>, partition: i32) -> Option<(NodeId, i32)> {
        let (leader, epoch) = topic?.leader(partition)?;
        self.is_named |= leader == self.identity.node_id;
        Some((leader, epoch))
    }

    /// Addresses of those that were named: ours, for this broker knows no other.
    pub fn endpoint(&self) -> Option<Endpoint> {
        self.is_named.then(|| self.identity.endpoint())
    }
}

macro_rules! from_endpoint {
    ($($message:ident)*) => {
        $(impl From<Endpoint> for $message::NodeEndpoint {
            fn from(Endpoint { node_id, host, port, rack }: Endpoint) -> Self {
                Self { node_id, host, port, rack }
            }
        })*
    };
}

from_endpoint! { fetch produce }
