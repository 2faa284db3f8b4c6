//! The only door to files. (Owned by the storage work; the trait is a sketch until it lands.)

/// Files and directories as storage needs them, with durability stated per call.
pub trait Disk: Clone + 'static {}
