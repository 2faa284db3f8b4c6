//! From a byte stream to frames.
//!
//! Always true: memory grows with the bytes that have arrived, never with the length that a frame
//! announces; a length outside the limits ends the connection before anything is allocated for it.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};

use crate::protocol::{ApiKey, PREFIX_LEN, REQUEST_LEN_MIN, frame_len};

use super::memory::{FrameMemory, Lease};
use super::socket::Receiver;

/// Largest frame of any request but Produce. Their bodies expand in memory (a name is more than
/// its bytes), and none needs more: a hundred thousand committed offsets are 5 MiB.
const NOT_PRODUCE_BYTES_MAX: usize = 8 << 20;
/// Spare bytes asked for at a time while a frame arrives.
const STEP_BYTES: usize = 64 * 1024;
/// A frame that has begun must go on arriving: longest time between two of its bytes.
const FRAME_STALL_MAX: Duration = Duration::from_secs(30);
/// While others wait for memory, the frame that exceeds the budget must be whole in this time.
const FAVOURED_MAX: Duration = Duration::from_secs(60);
/// A connection that has sent a whole frame of some size gets this much at once for its next one.
const HINT_BYTES_MAX: usize = 1024 * 1024 + STEP_BYTES;

/// One request, without its length prefix, and the memory it holds until it has been answered.
#[derive(Debug)]
pub struct Frame {
    /// Header and body.
    pub bytes: Bytes,
    /// Given back when the answer has been sent.
    pub lease: Lease,
}

/// Why no further frame comes.
#[derive(Debug)]
pub enum FrameEnd {
    /// The peer has finished.
    Closed,
    /// The peer closed in the middle of a frame.
    CutShort,
    /// Idle, or stalled in the middle of a frame, for too long.
    TimedOut,
    /// The length is no frame's length.
    BadLength(String),
    /// The kernel said so.
    Io(io::Error),
}

/// Reads frames from one connection.
pub struct FrameReader {
    receiver: Receiver,
    buffer: BytesMut,
    memory: Rc<FrameMemory>,
    frame_bytes_max: usize,
    /// Longest wait for the first byte of a frame.
    idle: Duration,
    /// Size of the last whole frame.
    hint: usize,
}

impl FrameReader {
    /// A reader of `receiver`'s frames.
    pub fn new(
        receiver: Receiver,
        memory: Rc<FrameMemory>,
        frame_bytes_max: usize,
        idle: Duration,
    ) -> Self {
        receiver.wait_at_most(idle);
        Self { receiver, buffer: BytesMut::new(), memory, frame_bytes_max, idle, hint: 0 }
    }

    /// The next frame, waiting until it is whole.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn next(&mut self) -> Result<Frame, FrameEnd> {
        let length = loop {
            let length = frame_len(&self.buffer, REQUEST_LEN_MIN, self.frame_bytes_max);
            match length.map_err(|e| FrameEnd::BadLength(e.to_string()))? {
                Some(length) => break length,
                None => {
                    if self.buffer.is_empty() {
                        // Hold nothing while idle.
                        self.buffer = BytesMut::new();
                    }
                    self.fill(STEP_BYTES).await?;
                }
            }
        };
        self.buffer.advance(PREFIX_LEN);
        let mut lease = self.memory.lease();
        // Most frames are whole already and need no clock.
        let mut begun = None;
        let mut is_checked = length <= NOT_PRODUCE_BYTES_MAX;
        self.receiver.wait_at_most(FRAME_STALL_MAX);
        while self.buffer.len() < length {
            if !is_checked && let Some(key) = self.buffer.first_chunk() {
                is_checked = true;
                let key = i16::from_be_bytes(*key);
                if key != ApiKey::Produce as i16 {
                    return Err(FrameEnd::BadLength(format!(
                        "a request with API key {key} and {length} bytes: requests other than \
                         Produce may have {NOT_PRODUCE_BYTES_MAX}"
                    )));
                }
            }
            let begun = *begun.get_or_insert_with(Instant::now);
            if lease.is_favoured() && begun.elapsed() > FAVOURED_MAX {
                return Err(FrameEnd::TimedOut);
            }
            let have = self.buffer.len();
            let missing = length - have;
            if self.buffer.capacity() == have || self.buffer.capacity() < self.hint.min(length) {
                let step = STEP_BYTES.max(have).max(self.hint.min(HINT_BYTES_MAX)).min(missing);
                lease.grow_to(have + step).await;
                self.buffer.reserve(step);
            }
            // Not beyond a large frame's end, so that the next one begins in memory of its own.
            let most = if missing > STEP_BYTES / 2 { missing } else { STEP_BYTES };
            self.fill(most).await.map_err(|end| match end {
                FrameEnd::Closed => FrameEnd::CutShort,
                other => other,
            })?;
        }
        lease.grow_to(length).await;
        self.receiver.wait_at_most(self.idle);
        self.hint = length;
        Ok(Frame { bytes: self.buffer.split_to(length).freeze(), lease })
    }

    async fn fill(&mut self, most: usize) -> Result<(), FrameEnd> {
        match self.receiver.receive(&mut self.buffer, most).await {
            Ok(0) if self.buffer.is_empty() => Err(FrameEnd::Closed),
            Ok(0) => Err(FrameEnd::CutShort),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::TimedOut => Err(FrameEnd::TimedOut),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Err(FrameEnd::Closed),
            Err(e) => Err(FrameEnd::Io(e)),
        }
    }
}
