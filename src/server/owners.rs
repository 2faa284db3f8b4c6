//! What one request asks about partitions, on its way to the shards that own them and back to the
//! places in the response: one call to each owner, however much is asked.

use std::rc::Rc;

use futures_util::future::join_all;

use crate::model::ShardId;
use crate::runtime::Runtime;
use crate::shard::Shard;
use crate::shard::call::{Call, Reply};

/// Where a partition stands in a response: the place of its topic, and its own in there.
pub type Slot = (usize, usize);

/// Questions by the shard that will answer them.
pub struct ByOwner<T> {
    asked: Vec<(Vec<Slot>, Vec<T>)>,
}

impl<T> ByOwner<T> {
    /// No questions to any of so many shards.
    pub fn new(shards: ShardId) -> Self {
        let mut asked = Vec::new();
        asked.resize_with(usize::from(shards), Default::default);
        Self { asked }
    }

    /// One more for `owner`, whose answer belongs in `slot`.
    pub fn add(&mut self, owner: ShardId, slot: Slot, question: T) {
        let (slots, questions) = &mut self.asked[usize::from(owner)];
        slots.push(slot);
        questions.push(question);
    }

    /// Ask all owners at once; what each replies, and the slots of its answers in order.
    pub async fn ask<R: Runtime>(
        self,
        shard: &Rc<Shard<R>>,
        call: impl Fn(Vec<T>) -> Call,
    ) -> Vec<(Vec<Slot>, Reply)> {
        let asked = (0..).zip(self.asked).filter(|(_, (slots, _))| !slots.is_empty());
        let calls = asked.map(|(owner, (slots, questions))| {
            let reply = shard.call(owner, call(questions));
            async move { (slots, reply.await) }
        });
        join_all(calls).await
    }
}
