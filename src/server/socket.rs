//! One TCP socket on a glommio executor, with what glommio's stream does not offer: reading into
//! memory that is not initialised, and sending many pieces with one call.
//!
//! Bytes are moved by non-blocking calls on the descriptor; only when the kernel says "not now"
//! does the stream wait, which costs nothing.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpStream;

/// Pieces sent with one system call (the kernel's own limit, UIO_MAXIOV, is 1024).
const PIECES_PER_CALL_MAX: usize = 64;
/// Bytes that the first read of an idle connection takes along: most requests are smaller, and
/// ten thousand idle connections must not hold a large buffer each.
const FIRST_READ_BYTES: usize = 512;

/// The receiving half.
pub struct Receiver {
    stream: TcpStream,
    first: Box<[u8; FIRST_READ_BYTES]>,
    /// The last read took everything there was: ask the kernel to wake us before trying again.
    is_drained: bool,
}

/// The sending half.
pub struct Sender {
    stream: TcpStream,
}

/// Both halves of the connection `fd`, on this executor.
///
/// # Errors
/// When the descriptor cannot be duplicated (out of descriptors).
pub fn split(fd: OwnedFd, stalled: Duration) -> io::Result<(Receiver, Sender)> {
    let other = fd.try_clone()?;
    let to_stream = |fd: OwnedFd| {
        // SAFETY: the descriptor is an open TCP socket that nothing else owns.
        unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) }
    };
    let receiving = to_stream(fd);
    let sending = to_stream(other);
    receiving.set_nodelay(true).map_err(io::Error::from)?;
    sending.set_write_timeout(Some(stalled)).map_err(io::Error::from)?;
    let first = Box::new([0; FIRST_READ_BYTES]);
    Ok((Receiver { stream: receiving, first, is_drained: true }, Sender { stream: sending }))
}

impl Receiver {
    /// Read what has arrived into `buffer`, at most `max` bytes, waiting until there is something.
    /// 0 means that the peer has finished sending.
    ///
    /// # Errors
    /// What the kernel says, or `TimedOut` after the idle time.
    pub async fn receive(&mut self, buffer: &mut BytesMut, max: usize) -> io::Result<usize> {
        if !self.is_drained {
            match self.receive_now(buffer, max) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
        let most = max.min(FIRST_READ_BYTES);
        let count = self.stream.read(&mut self.first[..most]).await?;
        self.is_drained = count < most;
        buffer.extend_from_slice(&self.first[..count]);
        Ok(count)
    }

    /// Longest time that [`Receiver::receive`] waits.
    pub fn wait_at_most(&self, time: Duration) {
        // Refused only for zero, which waits for ever; no limit is zero.
        let _ = self.stream.set_read_timeout(Some(time.max(Duration::from_millis(1))));
    }

    /// One non-blocking receive into the spare capacity of `buffer`.
    fn receive_now(&mut self, buffer: &mut BytesMut, max: usize) -> io::Result<usize> {
        if buffer.capacity() == buffer.len() {
            buffer.reserve(max.min(64 * 1024));
        }
        let spare = buffer.spare_capacity_mut();
        let most = spare.len().min(max);
        // SAFETY: the kernel writes at most `most` bytes into spare memory that we own.
        let got = unsafe {
            libc::recv(self.stream.as_raw_fd(), spare.as_mut_ptr().cast(), most, libc::MSG_DONTWAIT)
        };
        let count = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the kernel has initialised `count` bytes of the spare capacity.
        unsafe { buffer.advance_mut(count) };
        self.is_drained = count < most;
        Ok(count)
    }

    /// The descriptor, for [`shut_down`].
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl Sender {
    /// Send all pieces in order. Nothing is copied on our side.
    ///
    /// # Errors
    /// What the kernel says, or `TimedOut` when the peer took nothing for the stall time.
    pub async fn send(&mut self, pieces: &mut Vec<Bytes>) -> io::Result<()> {
        pieces.reverse();
        while pieces.last().is_some_and(Bytes::is_empty) {
            pieces.pop();
        }
        while !pieces.is_empty() {
            let sent = match self.send_now(pieces) {
                Ok(sent) => sent,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let piece = pieces.last().map_or(&[][..], |p| &p[..]);
                    self.stream.write(piece).await?
                }
                Err(e) => return Err(e),
            };
            consume(pieces, sent);
        }
        Ok(())
    }

    /// One non-blocking send of as many pieces as fit; `pieces` is in reverse.
    fn send_now(&mut self, pieces: &[Bytes]) -> io::Result<usize> {
        let mut vectors =
            [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; PIECES_PER_CALL_MAX];
        let mut count = 0;
        for (vector, piece) in vectors.iter_mut().zip(pieces.iter().rev()) {
            *vector =
                libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
            count += 1;
        }
        // SAFETY: all-zero is a valid msghdr.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = vectors.as_mut_ptr();
        message.msg_iovlen = count;
        // SAFETY: the vectors point into `pieces`, which outlive the call; the kernel only reads.
        let sent = unsafe {
            libc::sendmsg(
                self.stream.as_raw_fd(),
                &message,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Drop the first `sent` bytes of reversed `pieces`.
fn consume(pieces: &mut Vec<Bytes>, mut sent: usize) {
    while let Some(piece) = pieces.last_mut() {
        if sent < piece.len() {
            piece.advance(sent);
            return;
        }
        sent -= piece.len();
        pieces.pop();
    }
}

/// End a connection from outside its tasks: both halves see the end of the stream and finish by
/// themselves (cancelled tasks leak in glommio).
pub fn shut_down(fd: RawFd) {
    // SAFETY: shutdown of a descriptor; the worst it does to a wrong one is an error.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_consumed_across_their_borders() {
        let mut pieces: Vec<Bytes> =
            ["abc", "", "de", "f"].map(|p| Bytes::from_static(p.as_bytes())).to_vec();
        pieces.reverse();
        consume(&mut pieces, 4);
        assert_eq!(pieces.iter().rev().map(|p| p.len()).collect::<Vec<_>>(), [1, 1]);
        consume(&mut pieces, 2);
        assert!(pieces.is_empty());
    }
}
