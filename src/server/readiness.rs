//! When a shard's sockets can be read or written: polls on the shard's own ring.
//!
//! One multishot poll stays armed for each socket and the kernel keeps what it has to tell until
//! it is asked: nothing is submitted and nobody is interrupted for a request.
//!
//! Always true: only the thread that opened it uses it. The bytes are moved by [`super::socket`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use io_uring::{opcode, types};
use slab::Slab;

use crate::runtime::ring::{Event, Ring};
use crate::runtime::wait::Earliest;

/// How precise time limits are: all sockets are looked at for it.
const SWEEP_MIN: Duration = Duration::from_millis(10);
/// Events after which nothing comes: the end of the stream, or a connection that is no more.
const OVER: i32 = (libc::POLLRDHUP | libc::POLLHUP) as i32;
/// Of those, the one that says that nothing can be sent, either.
const DEAD: i32 = libc::POLLHUP as i32;
/// What tells a socket's submissions apart in the lowest bits of their user data.
const READ: u64 = 0;
const WRITE: u64 = 1;
const REMOVE: u64 = 2;
const KIND_BITS: u32 = 2;

/// The sockets of one shard that are waited for.
pub struct Readiness {
    ring: Rc<Ring>,
    sockets: RefCell<Slab<Watched>>,
    /// When the first wait may end for its time.
    deadline: Earliest<Instant>,
}

/// One direction of a socket.
#[derive(Default)]
struct Side {
    is_ready: bool,
    /// The peer sends nothing more. The event that says so may also be the one of its last bytes,
    /// and no other follows: reading never has to wait again.
    is_over: bool,
    waiting: Option<Waker>,
    deadline: Option<Instant>,
    is_late: bool,
}

impl Side {
    fn set_ready(&mut self) -> Option<Waker> {
        self.is_ready = true;
        self.waiting.take()
    }

    fn take(&mut self) -> bool {
        std::mem::take(&mut self.is_ready) || self.is_over
    }
}

struct Watched {
    fd: RawFd,
    read: Side,
    write: Side,
    /// The connection was reset, or ended by ourselves.
    is_dead: bool,
    /// The kernel was asked about writing and has not answered.
    is_asked: bool,
    /// Submissions whose last event has not come: the number is not given away before.
    outstanding: u8,
    is_closed: bool,
    /// The kernel would not watch it any longer.
    is_broken: bool,
}

/// A socket that is watched until this is dropped. Who clears a direction ([`Watch::take`]) must
/// then use it up until the kernel says "not now".
pub struct Watch {
    readiness: Rc<Readiness>,
    number: usize,
}

/// Reading or writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Bytes, the end of the stream or an error have come.
    Read,
    /// The peer has made room.
    Write,
}

impl Readiness {
    /// Nothing to watch yet. `ring` must not have another listener.
    pub fn new(ring: Rc<Ring>) -> Rc<Self> {
        let readiness =
            Rc::new(Self { ring, sockets: RefCell::default(), deadline: Earliest::default() });
        let hearing = Rc::downgrade(&readiness);
        readiness.ring.listen(move |event| {
            if let Some(readiness) = hearing.upgrade() {
                readiness.note(event);
            }
        });
        readiness
    }

    /// Watch the socket `fd`, which must stay open as long as the watch. It counts as readable and
    /// writable until it says otherwise.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn watch(self: &Rc<Self>, fd: RawFd) -> io::Result<Watch> {
        let number = self.sockets.borrow_mut().insert(Watched {
            fd,
            read: Side { is_ready: true, ..Side::default() },
            write: Side { is_ready: true, ..Side::default() },
            is_dead: false,
            is_asked: false,
            outstanding: 0,
            is_closed: false,
            is_broken: false,
        });
        let watch = Watch { readiness: self.clone(), number };
        self.arm(number, Direction::Read)?;
        Ok(watch)
    }

    /// End waits that took too long.
    pub async fn keep_time(self: Rc<Self>) {
        loop {
            let now = Instant::now();
            self.expire(now);
            let next = self.deadline.get();
            let sleep = next.map(|next| glommio::timer::sleep((next - now).max(SWEEP_MIN)));
            self.deadline.change(next, sleep).await;
        }
    }

    /// End the waits whose time is over; the next one is the earliest of the others.
    fn expire(&self, now: Instant) {
        self.deadline.clear();
        let mut late = Vec::new();
        for (_, watched) in self.sockets.borrow_mut().iter_mut() {
            for side in [&mut watched.read, &mut watched.write] {
                match side.deadline {
                    Some(deadline) if deadline <= now => {
                        side.deadline = None;
                        side.is_late = true;
                        late.extend(side.waiting.take());
                    }
                    Some(deadline) => self.deadline.expect(deadline),
                    None => {}
                }
            }
        }
        late.into_iter().for_each(Waker::wake);
    }

    fn note(&self, event: Event) {
        let Event { user_data: data, result, has_more } = event;
        let number = usize::try_from(data >> KIND_BITS).unwrap_or(usize::MAX);
        let kind = data & ((1 << KIND_BITS) - 1);
        let mut rearm = false;
        let waker = {
            let mut sockets = self.sockets.borrow_mut();
            let Some(watched) = sockets.get_mut(number) else { return };
            if !has_more {
                watched.outstanding -= 1;
            }
            if watched.is_closed {
                if watched.outstanding == 0 {
                    sockets.remove(number);
                }
                return;
            }
            match kind {
                READ => {
                    // After an error reading tells what it was.
                    rearm = !has_more && result >= 0;
                    watched.read.is_over |= result >= 0 && result & OVER != 0;
                    watched.is_dead |= result >= 0 && result & DEAD != 0;
                    watched.read.set_ready()
                }
                WRITE => {
                    watched.is_asked = false;
                    watched.write.set_ready()
                }
                _ => None,
            }
        };
        if rearm && self.arm(number, Direction::Read).is_err() {
            // Waiting ends the connection then.
            if let Some(watched) = self.sockets.borrow_mut().get_mut(number) {
                watched.is_broken = true;
            }
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Arm a poll: for reading once for all, for writing for one time.
    fn arm(&self, number: usize, direction: Direction) -> io::Result<()> {
        let mut sockets = self.sockets.borrow_mut();
        let Some(watched) = sockets.get_mut(number) else { return Ok(()) };
        if direction == Direction::Write && std::mem::replace(&mut watched.is_asked, true) {
            return Ok(());
        }
        let fd = types::Fd(watched.fd);
        let data = (number as u64) << KIND_BITS;
        let entry = match direction {
            Direction::Read => {
                let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
                opcode::PollAdd::new(fd, events).multi(true).build().user_data(data | READ)
            }
            Direction::Write => {
                opcode::PollAdd::new(fd, libc::POLLOUT as u32).build().user_data(data | WRITE)
            }
        };
        // SAFETY: a poll refers to a descriptor and to no memory.
        unsafe { self.ring.submit(&entry) }?;
        watched.outstanding += 1;
        Ok(())
    }
}

impl Watch {
    /// The ring that the socket is watched with.
    pub fn ring(&self) -> &Rc<Ring> {
        &self.readiness.ring
    }

    /// Whether `direction` may go; it counts as used up from now on.
    pub fn take(&self, direction: Direction) -> bool {
        self.with(direction, Side::take).unwrap_or(true)
    }

    /// There may be more.
    pub fn put_back(&self, direction: Direction) {
        self.with(direction, |side| side.is_ready = true);
    }

    /// Wait until `direction` may go, at most for `time` (and some 10 ms more).
    ///
    /// # Errors
    /// `TimedOut`, or what the kernel says when it is asked.
    pub async fn ready(&self, direction: Direction, time: Duration) -> io::Result<()> {
        let asks = Cell::new(true);
        poll_fn(|cx| {
            let ask = {
                let mut sockets = self.readiness.sockets.borrow_mut();
                let Some(watched) = sockets.get_mut(self.number).filter(|w| !w.is_broken) else {
                    return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
                };
                let side = match direction {
                    Direction::Read => &mut watched.read,
                    Direction::Write => &mut watched.write,
                };
                if side.is_ready || side.is_over {
                    side.deadline = None;
                    return Poll::Ready(Ok(()));
                }
                let is_first = asks.replace(false);
                if is_first {
                    let deadline = Instant::now() + time;
                    side.deadline = Some(deadline);
                    side.is_late = false;
                    self.readiness.deadline.expect(deadline);
                }
                if side.is_late {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                side.waiting = Some(cx.waker().clone());
                is_first && direction == Direction::Write
            };
            if ask && let Err(error) = self.readiness.arm(self.number, Direction::Write) {
                return Poll::Ready(Err(error));
            }
            Poll::Pending
        })
        .await
    }

    /// Wait until the peer has finished sending.
    pub async fn hung_up(&self) {
        self.until(|watched| watched.read.is_over || watched.is_dead || watched.is_broken).await;
    }

    /// Wait until nothing can be sent to the peer any more.
    pub async fn dead(&self) {
        self.until(|watched| watched.is_dead || watched.is_broken).await;
    }

    /// Wait in the place of a reader, whom every event of the socket wakes.
    async fn until(&self, is_met: impl Fn(&Watched) -> bool) {
        poll_fn(|cx| {
            let mut sockets = self.readiness.sockets.borrow_mut();
            let Some(watched) = sockets.get_mut(self.number).filter(|w| !is_met(w)) else {
                return Poll::Ready(());
            };
            watched.read.waiting = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn with<T>(&self, direction: Direction, change: impl FnOnce(&mut Side) -> T) -> Option<T> {
        let mut sockets = self.readiness.sockets.borrow_mut();
        let watched = sockets.get_mut(self.number)?;
        Some(change(match direction {
            Direction::Read => &mut watched.read,
            Direction::Write => &mut watched.write,
        }))
    }
}

impl Drop for Watch {
    /// Ends the polls: each holds the socket open by itself.
    fn drop(&mut self) {
        let is_over = {
            let mut sockets = self.readiness.sockets.borrow_mut();
            let Some(watched) = sockets.get_mut(self.number) else { return };
            watched.is_closed = true;
            let is_over = watched.outstanding == 0;
            if is_over {
                sockets.remove(self.number);
            } else {
                watched.outstanding += 2;
            }
            is_over
        };
        if is_over {
            return;
        }
        let data = (self.number as u64) << KIND_BITS;
        for kind in [READ, WRITE] {
            let remove = opcode::PollRemove::new(data | kind).build().user_data(data | REMOVE);
            // Refused only when the ring itself is broken; the number then stays taken.
            // SAFETY: refers to a number alone.
            let _ = unsafe { self.readiness.ring.submit(&remove) };
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use futures_util::FutureExt;

    use super::super::socket;
    use super::*;
    use crate::runtime::core::Core;
    use crate::runtime::glommio::GlommioRuntime;
    use crate::runtime::{Queue, Runtime};

    const TMP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target");

    /// Run `test` on an executor with a watched connection and its other end.
    pub(in super::super) fn with_connection<F>(
        test: impl FnOnce(Rc<Readiness>, TcpStream, TcpStream) -> F,
    ) where
        F: Future<Output = ()>,
    {
        let dir = tempfile::tempdir_in(TMP).unwrap();
        glommio::LocalExecutor::default().run(async {
            let runtime = GlommioRuntime::start(dir.path(), Core::fixed()).await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (near, _) = listener.accept().unwrap();
            let readiness = Readiness::new(Rc::clone(runtime.ring()));
            runtime.spawn(Queue::Network, readiness.clone().keep_time());
            test(readiness, near, far).await;
        });
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn bytes_wake_the_reader_again_and_again() {
        with_connection(|readiness, near, mut far| async move {
            let (mut receiver, _sender) = socket::split(&readiness, near.into(), LONG).unwrap();
            let mut buffer = bytes::BytesMut::new();
            let mut expected = Vec::new();
            for round in 0..100u8 {
                // Larger than one first read every other time.
                let sent = vec![round; 1 + usize::from(round % 2) * 5000];
                far.write_all(&sent).unwrap();
                expected.extend_from_slice(&sent);
                while buffer.len() < expected.len() {
                    assert!(receiver.receive(&mut buffer, 1 << 16).await.unwrap() > 0);
                }
            }
            assert_eq!(buffer, expected);
            drop(far);
            assert_eq!(receiver.receive(&mut buffer, 1 << 16).await.unwrap(), 0);
        });
    }

    /// The kernel tells of bytes and of the end behind them in one event when both were there.
    #[test]
    fn the_end_is_seen_when_it_came_with_the_last_bytes() {
        with_connection(|readiness, near, mut far| async move {
            let (mut receiver, _sender) = socket::split(&readiness, near.into(), LONG).unwrap();
            far.write_all(b"last words").unwrap();
            far.shutdown(std::net::Shutdown::Write).unwrap();
            while readiness.ring.turn(None).unwrap() == 0 {}
            receiver.wait_at_most(Duration::from_millis(100));
            let mut buffer = bytes::BytesMut::new();
            assert_eq!(receiver.receive(&mut buffer, 100).await.unwrap(), 10);
            assert_eq!(receiver.receive(&mut buffer, 100).await.unwrap(), 0);
        });
    }

    #[test]
    fn who_hangs_up_is_heard_while_nobody_reads() {
        with_connection(|readiness, near, far| async move {
            let (receiver, _sender) = socket::split(&readiness, near.into(), LONG).unwrap();
            let mut far_end = &far;
            far_end.write_all(b"and then").unwrap();
            while readiness.ring.turn(None).unwrap() == 0 {}
            assert!(receiver.hung_up().now_or_never().is_none(), "bytes are no end");
            far.shutdown(std::net::Shutdown::Write).unwrap();
            receiver.hung_up().await;
            assert!(receiver.dead().now_or_never().is_none(), "it still listens");
            socket::shut_down(receiver.fd());
            receiver.dead().await;
        });
    }

    #[test]
    fn a_wait_ends_with_its_time() {
        with_connection(|readiness, near, far| async move {
            let _open = far;
            let (mut receiver, _sender) = socket::split(&readiness, near.into(), LONG).unwrap();
            receiver.wait_at_most(Duration::from_millis(20));
            let mut buffer = bytes::BytesMut::new();
            // When the second one begins nothing else has a deadline.
            for _ in 0..2 {
                let error = receiver.receive(&mut buffer, 100).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            }
        });
    }

    #[test]
    fn a_full_peer_holds_the_sender_until_it_reads() {
        with_connection(|readiness, near, mut far| async move {
            let (receiver, mut sender) = socket::split(&readiness, near.into(), LONG).unwrap();
            let piece = bytes::Bytes::from(vec![7u8; 1 << 20]);
            let reader = std::thread::spawn(move || {
                let mut all = Vec::new();
                far.read_to_end(&mut all).unwrap();
                all
            });
            sender.send(&mut vec![piece.clone(); 32], || false).await.unwrap();
            socket::shut_down(receiver.fd());
            let all = glommio::executor().spawn_blocking(move || reader.join().unwrap()).await;
            assert_eq!(all.len(), 32 << 20);
            assert!(all.iter().all(|byte| *byte == 7));
        });
    }

    #[test]
    fn a_peer_that_takes_nothing_is_given_up_soon_when_it_is_in_the_way() {
        with_connection(|readiness, near, far| async move {
            let _open = far;
            let (_receiver, mut sender) = socket::split(&readiness, near.into(), LONG).unwrap();
            let mut pieces = vec![bytes::Bytes::from(vec![7u8; 64 << 20])];
            let begun = Instant::now();
            let error = sender.send(&mut pieces, || true).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(error.to_string().contains("while others waited"), "{error}");
            assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
        });
    }

    /// The kernel may not have begun with it.
    #[test]
    fn a_send_that_is_given_up_leaves_whole_and_the_next_one_follows() {
        with_connection(|readiness, near, mut far| async move {
            let (_receiver, mut sender) = socket::split(&readiness, near.into(), LONG).unwrap();
            let piece = |byte| vec![bytes::Bytes::from(vec![byte; 1000])];
            readiness.ring.gather(true);
            assert!(sender.send(&mut piece(1), || false).now_or_never().is_none());
            sender.send(&mut piece(2), || false).await.unwrap();
            let mut both = [0; 2000];
            far.read_exact(&mut both).unwrap();
            assert!(both[..1000].iter().all(|b| *b == 1) && both[1000..].iter().all(|b| *b == 2));
        });
    }

    #[test]
    fn dropping_both_halves_closes_the_connection_and_frees_the_number() {
        with_connection(|readiness, near, mut far| async move {
            let halves = socket::split(&readiness, near.into(), LONG).unwrap();
            drop(halves);
            let read = glommio::executor().spawn_blocking(move || far.read(&mut [0; 8]));
            assert_eq!(read.await.unwrap(), 0);
            // The events of the removed polls are what frees it.
            while !readiness.sockets.borrow().is_empty() {
                readiness.ring.turn(Some(LONG)).unwrap();
            }
        });
    }
}
