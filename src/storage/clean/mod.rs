//! Log compaction: of every key the latest record is kept, in place, under its old offset.
//!
//! | file | owns |
//! |---|---|
//! | [`range`] | which part of a log is dirty, whether cleaning it is worth it, what is merged |
//! | [`key_map`] | the latest offset of each key, in bounded memory |
//! | [`filter`] | the two passes over the batches: learn the keys, judge the records |
//! | [`transactions`] | which markers and aborted records may go |
//! | [`throttle`] | how fast it may go |
//! | [`round`] | one cleaning of one log |
//! | [`output`] | writing a cleaned segment |
//! | [`swap`] | cleaned segments take the place of others, as one step |

mod filter;
mod key_map;
#[cfg(test)]
mod model_tests;
mod output;
mod range;
#[cfg(test)]
mod reader_tests;
mod round;
mod swap;
#[cfg(test)]
mod swap_tests;
mod throttle;
mod transactions;
#[cfg(test)]
mod turns_tests;

pub use filter::{CleanFacts, LastRecord};
pub use range::{Compaction, Dirt};
pub use round::{CleanError, CleanLimits, CleanOutcome};
pub use throttle::Throttle;
pub use transactions::AbortedTransaction;
