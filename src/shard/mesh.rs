//! The only place where data changes thread: typed calls between shards.
//!
//! A call is posted to its shard's channel and answered by id. Messages from one shard to another
//! arrive in the order in which they were posted, which is what keeps the batches of one
//! connection in order on the shard that owns the partition.
//!
//! Queues are bounded by the calls in flight: a connection waits for its own calls, and the
//! number of its requests in flight is limited. The channels themselves are bounded; what does
//! not fit waits in an outbox that a task empties, so that answering never waits for asking.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use futures_channel::oneshot;

use crate::model::ShardId;

use super::call::{Call, Reply};

/// What travels between shards.
#[derive(Debug)]
pub enum Message {
    /// Do something and answer with the same id.
    Call(u64, Call),
    /// The answer.
    Reply(u64, Reply),
    /// Nobody waits for this call's answer any more.
    Forget(u64),
    /// A connection to serve.
    Connection(OwnedFd),
    /// Stop: finish what is under way, write everything, end.
    Stop,
    /// The sender's connections have ended: no request of theirs will ask anything any more.
    Drained,
}

/// Sends messages to one other shard without waiting; the transport behind it is a
/// channel of `futures` in the broker and a queue of the simulator's choice in tests.
pub trait Post {
    /// Take `message` now, or give it back when the channel is full.
    ///
    /// # Errors
    /// The message itself, when there is no room for it at the moment; `None` inside when the
    /// other shard is gone for good.
    fn try_post(&self, to: ShardId, message: Message) -> Result<(), Option<Message>>;
}

/// The transport of a broker with one shard.
struct Nobody;

impl Post for Nobody {
    fn try_post(&self, _: ShardId, _: Message) -> Result<(), Option<Message>> {
        Err(None)
    }
}

struct Inner {
    transport: Box<dyn Post>,
    outbox: RefCell<VecDeque<(ShardId, Message)>>,
    /// Told when the outbox is no longer empty.
    outbox_filled: RefCell<Option<oneshot::Sender<()>>>,
    pending: RefCell<BTreeMap<u64, oneshot::Sender<Reply>>>,
    next_id: Cell<u64>,
}

/// This shard's end of the mesh.
#[derive(Clone)]
pub struct Mesh(Rc<Inner>);

impl Mesh {
    /// A mesh over `transport`.
    pub fn new(transport: Box<dyn Post>) -> Self {
        Self(Rc::new(Inner {
            transport,
            outbox: RefCell::default(),
            outbox_filled: RefCell::default(),
            pending: RefCell::default(),
            next_id: Cell::new(1),
        }))
    }

    /// That of a shard without others.
    pub fn alone() -> Self {
        Self::new(Box::new(Nobody))
    }

    /// Calls whose answers have not come.
    pub fn calls_pending(&self) -> usize {
        self.0.pending.borrow().len()
    }

    /// Ask another shard. The call is on its way when this returns, so calls from one task
    /// arrive in order; dropping the future tells the other shard that nobody listens.
    pub fn call(&self, to: ShardId, call: Call) -> impl Future<Output = Reply> + use<> {
        let id = self.0.next_id.replace(self.0.next_id.get() + 1);
        let (answer, heard) = oneshot::channel();
        self.0.pending.borrow_mut().insert(id, answer);
        self.post(to, Message::Call(id, call));
        let guard = Listening { mesh: self.clone(), to, id, answered: false };
        async move {
            let mut guard = guard;
            let reply = heard.await.unwrap_or(Reply::Gone);
            guard.answered = true;
            reply
        }
    }

    /// An answer came.
    pub fn answered(&self, id: u64, reply: Reply) {
        let waiting = self.0.pending.borrow_mut().remove(&id);
        if let Some(waiting) = waiting {
            let _ = waiting.send(reply);
        }
    }

    /// Send without waiting; what finds no room goes when there is.
    pub fn post(&self, to: ShardId, message: Message) {
        let mut outbox = self.0.outbox.borrow_mut();
        let refused = if outbox.is_empty() {
            self.0.transport.try_post(to, message)
        } else {
            Err(Some(message))
        };
        if let Err(Some(message)) = refused {
            outbox.push_back((to, message));
            if let Some(filled) = self.0.outbox_filled.take() {
                let _ = filled.send(());
            }
        }
    }

    /// Send what waits in the outbox; what is still refused stays. True when it is empty.
    pub fn drain_outbox(&self) -> bool {
        let mut outbox = self.0.outbox.borrow_mut();
        while let Some((to, message)) = outbox.pop_front() {
            match self.0.transport.try_post(to, message) {
                Ok(()) | Err(None) => {}
                Err(Some(message)) => {
                    outbox.push_front((to, message));
                    return false;
                }
            }
        }
        true
    }

    /// Completes when the outbox holds something.
    pub async fn outbox_filled(&self) {
        let heard = {
            if !self.0.outbox.borrow().is_empty() {
                return;
            }
            let (filled, heard) = oneshot::channel();
            self.0.outbox_filled.replace(Some(filled));
            heard
        };
        let _ = heard.await;
    }
}

/// Tells the other shard to forget a call whose asker went away (a closed connection, a fetch
/// whose wait ended elsewhere).
struct Listening {
    mesh: Mesh,
    to: ShardId,
    id: u64,
    answered: bool,
}

impl Drop for Listening {
    fn drop(&mut self) {
        if !self.answered && self.mesh.0.pending.borrow_mut().remove(&self.id).is_some() {
            self.mesh.post(self.to, Message::Forget(self.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A transport with room for a few messages.
    struct Small(Rc<RefCell<VecDeque<Message>>>, usize);

    impl Post for Small {
        fn try_post(&self, _to: ShardId, message: Message) -> Result<(), Option<Message>> {
            let mut queue = self.0.borrow_mut();
            if queue.len() >= self.1 {
                return Err(Some(message));
            }
            queue.push_back(message);
            Ok(())
        }
    }

    #[test]
    fn order_is_kept_when_the_channel_is_full_and_dropped_calls_are_forgotten() {
        let sent = Rc::new(RefCell::new(VecDeque::new()));
        let mesh = Mesh::new(Box::new(Small(sent.clone(), 2)));
        let calls: Vec<_> = (0..5).map(|_| mesh.call(1, Call::Metrics)).collect();
        let mut ids = Vec::new();
        while ids.len() < 5 {
            ids.extend(sent.borrow_mut().drain(..).map(|m| match m {
                Message::Call(id, _) => id,
                other => panic!("{other:?}"),
            }));
            mesh.drain_outbox();
        }
        assert_eq!(ids, [1, 2, 3, 4, 5]);
        mesh.answered(1, Reply::Wait);
        assert_eq!(mesh.calls_pending(), 4);
        drop(calls);
        assert_eq!(mesh.calls_pending(), 0);
        mesh.drain_outbox();
        assert!(matches!(sent.borrow_mut().pop_front(), Some(Message::Forget(2))));
    }
}
