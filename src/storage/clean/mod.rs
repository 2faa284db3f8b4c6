//! Log compaction: of every key the latest record is kept, in place, under its old offset.
//!
//! | file | owns |
//! |---|---|
//! | [`range`] | which part of a log is dirty, whether cleaning it is worth it, what is merged |
//! | [`key_map`] | the latest offset of each key, in bounded memory |
//! | [`filter`] | the two passes over the batches: learn the keys, judge the records |
//! | [`transactions`] | which markers and aborted records may go |

pub(crate) mod filter;
pub(crate) mod key_map;
#[cfg(test)]
mod model_tests;
pub(crate) mod range;
pub(crate) mod transactions;
