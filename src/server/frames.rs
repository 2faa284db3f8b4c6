//! From a byte stream to frames.
//!
//! Always true: memory grows with the bytes that have arrived, never with the length that a frame
//! announces; a length outside the limits ends the connection before anything is allocated for it;
//! a frame that has begun goes on arriving, faster while others wait for memory.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use crate::protocol::{ApiKey, PREFIX_LEN, REQUEST_LEN_MIN, frame_len};

use super::memory::{FrameMemory, Lease, SMALL_BYTES};
use super::socket::Receiver;
use super::transfer::{LOOK_EVERY, Slow, Transfer};

/// Largest frame of any request but Produce. Their bodies expand in memory (a name is more than
/// its bytes), and none needs more: a hundred thousand committed offsets are 5 MiB.
const NOT_PRODUCE_BYTES_MAX: usize = 8 << 20;
/// Spare bytes asked for at a time while a frame arrives.
const STEP_BYTES: usize = SMALL_BYTES;
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
    /// No frame began for too long.
    Idle,
    /// A frame did not get on.
    TooSlow(String),
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
        let length = self.length().await?;
        let mut lease = self.memory.lease(length);
        // Most frames are whole already and need no clock.
        if self.buffer.len() < length {
            self.receiver.wait_at_most(LOOK_EVERY);
            self.arrive(length, &mut lease).await?;
            self.receiver.wait_at_most(self.idle);
        }
        lease.grow_to(length).await;
        self.hint = length;
        Ok(Frame { bytes: self.buffer.split_to(length).freeze(), lease })
    }

    /// Whether the next frame has begun to arrive.
    pub fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// What the frames come from.
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// The length of the next frame, taken from the stream.
    async fn length(&mut self) -> Result<usize, FrameEnd> {
        loop {
            let length = frame_len(&self.buffer, REQUEST_LEN_MIN, self.frame_bytes_max);
            match length.map_err(|e| FrameEnd::BadLength(e.to_string()))? {
                Some(length) => {
                    self.buffer.advance(PREFIX_LEN);
                    return Ok(length);
                }
                None => {
                    if self.buffer.is_empty() {
                        // Hold nothing while idle.
                        self.buffer = BytesMut::new();
                    }
                    self.fill(STEP_BYTES).await?;
                }
            }
        }
    }

    /// Wait until a frame of `length` bytes is in the buffer.
    async fn arrive(&mut self, length: usize, lease: &mut Lease) -> Result<(), FrameEnd> {
        let mut transfer = Transfer::frame(length);
        let mut is_checked = length <= NOT_PRODUCE_BYTES_MAX;
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
            let have = self.buffer.len();
            let missing = length - have;
            if self.buffer.capacity() == have || self.buffer.capacity() < self.hint.min(length) {
                let step = STEP_BYTES.max(have).max(self.hint.min(HINT_BYTES_MAX)).min(missing);
                if lease.grow_to(have + step).await {
                    transfer.excuse(missing);
                }
                self.buffer.reserve(step);
            }
            // Not beyond a large frame's end, so that the next one begins in memory of its own.
            let most = if missing > STEP_BYTES / 2 { missing } else { STEP_BYTES };
            match self.fill(most).await {
                Ok(()) | Err(FrameEnd::Idle) => {}
                Err(FrameEnd::Closed) => return Err(FrameEnd::CutShort),
                Err(end) => return Err(end),
            }
            self.check_transfer(&mut transfer, length, lease)?;
        }
        Ok(())
    }

    /// Whether the frame that arrives gets on as it must.
    fn check_transfer(
        &self,
        transfer: &mut Transfer,
        length: usize,
        lease: &Lease,
    ) -> Result<(), FrameEnd> {
        let have = self.buffer.len();
        let left = || length.saturating_sub(have);
        let why = match transfer.look(left, || lease.is_in_the_way()) {
            Ok(()) => return Ok(()),
            Err(Slow::Late(time)) => format!("is not there after {} s", time.as_secs()),
            Err(Slow::Stalled(time)) => format!("had nothing more come for {} s", time.as_secs()),
            Err(Slow::InTheWay(step)) => format!(
                "came by fewer than {step} bytes in a second while others waited for memory \
                 (thalweg.frame.memory.bytes.max)"
            ),
        };
        Err(FrameEnd::TooSlow(format!(
            "a frame of {length} bytes of which {have} have come {why}: the client or the network \
             is too slow, or hangs"
        )))
    }

    async fn fill(&mut self, most: usize) -> Result<(), FrameEnd> {
        match self.receiver.receive(&mut self.buffer, most).await {
            Ok(0) if self.buffer.is_empty() => Err(FrameEnd::Closed),
            Ok(0) => Err(FrameEnd::CutShort),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::TimedOut => Err(FrameEnd::Idle),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Err(FrameEnd::Closed),
            Err(e) => Err(FrameEnd::Io(e)),
        }
    }
}
