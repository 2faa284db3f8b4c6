//! One TCP socket: reading into memory that is not initialised, sending many pieces at a time.
//!
//! Bytes are read by non-blocking calls on the descriptor and sent with the shard's next turn: the
//! answers of all connections leave with one system call, and the clients that they wake do not
//! take the core away in between. Only when the kernel says "not now" does [`super::readiness`]
//! wait, which costs nothing.

use std::cell::Cell;
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use io_uring::{opcode, types};

use super::readiness::{Direction, Readiness, Watch};
use super::transfer::{LOOK_EVERY, Slow, Transfer};

/// Pieces sent at a time (the kernel's own limit, UIO_MAXIOV, is 1024).
const PIECES_PER_SEND_MAX: usize = 64;
/// Bytes that the first read of an idle connection takes along: most requests are smaller, and
/// ten thousand idle connections must not hold a large buffer each.
const FIRST_READ_BYTES: usize = 512;

/// Both halves own it. The watch goes first: it refers to the descriptor.
struct Socket {
    watch: Watch,
    stream: TcpStream,
}

/// The receiving half.
pub struct Receiver {
    socket: Rc<Socket>,
    patience: Cell<Duration>,
}

/// The sending half.
pub struct Sender {
    packet: Rc<Packet>,
    stalled: Duration,
}

/// What the kernel is given to send, and what it refers to. Nobody moves or changes it while the
/// kernel has it.
struct Packet {
    socket: Rc<Socket>,
    /// In reverse: the next one is last.
    pieces: Vec<Bytes>,
    vectors: Vec<libc::iovec>,
    message: libc::msghdr,
}

/// Both halves of the connection `fd`, on this executor.
///
/// # Errors
/// When the socket cannot be watched.
pub fn split(
    readiness: &Rc<Readiness>,
    fd: OwnedFd,
    stalled: Duration,
) -> io::Result<(Receiver, Sender)> {
    let stream = TcpStream::from(fd);
    stream.set_nodelay(true)?;
    let watch = readiness.watch(stream.as_raw_fd())?;
    let socket = Rc::new(Socket { watch, stream });
    let receiver = Receiver { socket: socket.clone(), patience: Cell::new(stalled) };
    Ok((receiver, Sender { packet: Rc::new(Packet::new(socket)), stalled }))
}

impl Receiver {
    /// Read what has arrived into `buffer`, at most `max` bytes, waiting until there is something.
    /// 0 means that the peer has finished sending.
    ///
    /// # Errors
    /// What the kernel says, or `TimedOut` after the idle time.
    pub async fn receive(&mut self, buffer: &mut BytesMut, max: usize) -> io::Result<usize> {
        loop {
            if self.socket.watch.take(Direction::Read) {
                match self.receive_now(buffer, max) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    other => return other,
                }
            }
            self.socket.watch.ready(Direction::Read, self.patience.get()).await?;
        }
    }

    /// Longest time that [`Receiver::receive`] waits.
    pub fn wait_at_most(&self, time: Duration) {
        self.patience.set(time);
    }

    /// One non-blocking receive: into the spare capacity of `buffer`, or a little into none.
    fn receive_now(&mut self, buffer: &mut BytesMut, max: usize) -> io::Result<usize> {
        let mut first = [MaybeUninit::uninit(); FIRST_READ_BYTES];
        let is_first = buffer.capacity() == buffer.len();
        let spare = if is_first { &mut first[..] } else { buffer.spare_capacity_mut() };
        let most = spare.len().min(max);
        // SAFETY: the kernel writes at most `most` bytes into memory that we own.
        let got = unsafe {
            let fd = self.socket.stream.as_raw_fd();
            libc::recv(fd, spare.as_mut_ptr().cast(), most, libc::MSG_DONTWAIT)
        };
        let count = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        if is_first {
            // SAFETY: the kernel has initialised `count` bytes.
            let read = unsafe { std::slice::from_raw_parts(first.as_ptr().cast(), count) };
            if count == most && count < max {
                buffer.reserve(max.min(64 * 1024));
            }
            buffer.extend_from_slice(read);
        } else {
            // SAFETY: the kernel has initialised `count` bytes of the spare capacity.
            unsafe { buffer.advance_mut(count) };
        }
        if count == most {
            self.socket.watch.put_back(Direction::Read);
        }
        Ok(count)
    }

    /// Wait until the peer has finished sending, though nobody reads what it sent before.
    pub async fn hung_up(&self) {
        self.socket.watch.hung_up().await;
    }

    /// Wait until the connection is reset or shut down.
    pub async fn dead(&self) {
        self.socket.watch.dead().await;
    }

    /// The descriptor, for [`shut_down`].
    pub fn fd(&self) -> RawFd {
        self.socket.stream.as_raw_fd()
    }
}

impl Sender {
    /// Send all pieces in order. Nothing is copied on our side.
    ///
    /// # Errors
    /// What the kernel says, or `TimedOut`, with the reason, when the peer took nothing for the
    /// stall time, or too little while it `is_in_the_way` of others.
    pub async fn send(
        &mut self,
        pieces: &mut Vec<Bytes>,
        is_in_the_way: impl Fn() -> bool,
    ) -> io::Result<()> {
        pieces.reverse();
        // Most answers go at once and need no clock.
        let mut progress = None;
        loop {
            while pieces.last().is_some_and(Bytes::is_empty) {
                pieces.pop();
            }
            if pieces.is_empty() {
                return Ok(());
            }
            match self.send_some(pieces).await {
                Ok(sent) => {
                    consume(pieces, sent);
                    if let Some((_, left)) = &mut progress {
                        *left -= sent;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.packet.socket.watch.take(Direction::Write);
                    let (transfer, left) = progress.get_or_insert_with(|| {
                        let left = pieces.iter().map(Bytes::len).sum();
                        (Transfer::answer(left, self.stalled), left)
                    });
                    self.wait_for_room(transfer, *left, &is_in_the_way).await?;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Wait until the kernel takes more; it has not been given `left` bytes yet.
    async fn wait_for_room(
        &self,
        transfer: &mut Transfer,
        left: usize,
        is_in_the_way: impl Fn() -> bool,
    ) -> io::Result<()> {
        loop {
            let left = || left + self.unacknowledged();
            transfer.look(left, &is_in_the_way).map_err(|slow| {
                let why = match slow {
                    Slow::Stalled(time) => format!("none for {} s", time.as_secs()),
                    Slow::Late(time) => format!("not all of them in {} s", time.as_secs()),
                    Slow::InTheWay(step) => format!(
                        "fewer than {step} bytes of them in a second while others waited for \
                         memory (thalweg.fetch.memory.bytes.max, thalweg.frame.memory.bytes.max)"
                    ),
                };
                let why = format!(
                    "the client takes no answers (its receive buffer stays full): \
                                   {why}"
                );
                io::Error::new(io::ErrorKind::TimedOut, why)
            })?;
            match self.packet.socket.watch.ready(Direction::Write, LOOK_EVERY).await {
                Err(e) if e.kind() == io::ErrorKind::TimedOut => {}
                other => return other,
            }
        }
    }

    /// Bytes that the kernel has and the peer has not: room comes in steps of megabytes, so it
    /// alone would not tell a slow peer from one that stands still.
    fn unacknowledged(&self) -> usize {
        let mut bytes: libc::c_int = 0;
        // SAFETY: writes one integer of ours; the descriptor is open.
        let asked = unsafe {
            let fd = self.packet.socket.stream.as_raw_fd();
            libc::ioctl(fd, libc::TIOCOUTQ, &raw mut bytes)
        };
        if asked < 0 { 0 } else { usize::try_from(bytes).unwrap_or(0) }
    }

    /// One send of as many pieces as fit and the kernel takes; `pieces` is in reverse.
    async fn send_some(&mut self, pieces: &mut Vec<Bytes>) -> io::Result<usize> {
        if Rc::strong_count(&self.packet) > 1 {
            // A send was given up and the kernel still has its packet.
            self.packet = Rc::new(Packet::new(Rc::clone(&self.packet.socket)));
        }
        let packet = Rc::get_mut(&mut self.packet).expect("a packet of ours alone");
        mem::swap(&mut packet.pieces, pieces);
        packet.point();
        let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32;
        let fd = types::Fd(packet.socket.stream.as_raw_fd());
        let send = opcode::SendMsg::new(fd, &raw const packet.message).flags(flags).build();
        let ring = Rc::clone(packet.socket.watch.ring());
        let kept = Box::new(Rc::clone(&self.packet));
        // SAFETY: descriptor, message, vectors and pieces are the packet's, which is kept and,
        // being shared, cannot be changed meanwhile; the kernel only reads.
        let sent = unsafe { ring.perform(send, kept) }.await;
        let packet = Rc::get_mut(&mut self.packet).expect("the kernel has given it back");
        mem::swap(&mut packet.pieces, pieces);
        sent.map(|sent| sent as usize)
    }
}

impl Packet {
    fn new(socket: Rc<Socket>) -> Self {
        // SAFETY: all-zero is a valid msghdr.
        let message = unsafe { mem::zeroed() };
        Self { socket, pieces: Vec::new(), vectors: Vec::new(), message }
    }

    /// Let the message refer to as many of the pieces as one send takes.
    fn point(&mut self) {
        let next = self.pieces.iter().rev().take(PIECES_PER_SEND_MAX);
        self.vectors.clear();
        self.vectors.extend(next.map(|piece| libc::iovec {
            iov_base: piece.as_ptr().cast_mut().cast(),
            iov_len: piece.len(),
        }));
        self.message.msg_iov = self.vectors.as_mut_ptr();
        self.message.msg_iovlen = self.vectors.len();
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
