//! What a shard has sent glommio for (calls that block) and waits for: while there is something,
//! glommio gets its turns more often.

use std::cell::Cell;
use std::rc::Rc;

/// The errands of one shard.
#[derive(Clone, Debug, Default)]
pub struct Errands(Rc<Cell<usize>>);

/// One errand; it is over when this is dropped.
#[derive(Debug)]
pub struct Errand(Errands);

impl Errands {
    /// Another one is under way.
    pub fn begin(&self) -> Errand {
        self.0.set(self.0.get() + 1);
        Errand(self.clone())
    }

    /// Whether any is under way.
    pub fn are_under_way(&self) -> bool {
        self.0.get() > 0
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        let all = &self.0.0;
        all.set(all.get() - 1);
    }
}
