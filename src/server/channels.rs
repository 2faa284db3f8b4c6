//! Channels between all shards, as the transport of the mesh.

use std::cell::RefCell;

use futures_channel::mpsc::{Receiver, Sender};

use crate::model::ShardId;
use crate::shard::mesh::{Message, Post};

/// The sending ends of one shard.
pub struct Channels(RefCell<Vec<(ShardId, Sender<Message>)>>);

impl Post for Channels {
    fn try_post(&self, to: ShardId, message: Message) -> Result<(), Option<Message>> {
        let mut senders = self.0.borrow_mut();
        let found = senders.iter_mut().find(|(id, _)| *id == to);
        let Some((_, sender)) = found else { return Err(None) };
        sender
            .try_send(message)
            .map_err(|refused| if refused.is_full() { Some(refused.into_inner()) } else { None })
    }
}

/// One shard's ends of the channels to and from every other.
pub struct Ends {
    /// What it sends with.
    pub to: Channels,
    /// What it hears, by shard.
    pub from: Vec<(ShardId, Receiver<Message>)>,
}

/// A channel of `messages_max` messages from every shard to every other; one element for each
/// shard. Not glommio's: those are looked at in its turn, which a busy shard gives it now and then.
pub fn between(shards: usize, messages_max: usize) -> Vec<Ends> {
    let none = || Ends { to: Channels(RefCell::default()), from: Vec::new() };
    let mut ends: Vec<Ends> = (0..shards).map(|_| none()).collect();
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            let (sender, receiver) = futures_channel::mpsc::channel(messages_max);
            ends[from].to.0.get_mut().push((to as ShardId, sender));
            ends[to].from.push((from as ShardId, receiver));
        }
    }
    ends
}
