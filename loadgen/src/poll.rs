//! epoll, edge-triggered: a socket is registered once for both directions and never changed, so
//! a wake-up costs one system call for all sockets that are ready. Timeouts are in nanoseconds
//! (`epoll_pwait2`), because an intended send time is not a whole millisecond.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Most events taken per wake-up.
const EVENTS_MAX: usize = 256;

/// A set of sockets to wait for.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// One socket that has news.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// What the socket was registered as.
    pub token: usize,
    /// There are bytes, an end or an error to read.
    pub readable: bool,
    /// Nothing comes behind the bytes there are, nor another event: read to the end now.
    pub ended: bool,
    /// There is room to write again.
    pub writable: bool,
}

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no memory is passed; the result is checked before use.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just created, is valid, and nobody else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX] })
    }

    /// Watch `socket` for both directions until it is closed.
    ///
    /// # Errors
    /// What `epoll_ctl` says.
    pub fn add(&self, socket: &impl AsRawFd, token: usize) -> io::Result<()> {
        let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event { events: interest as u32, u64: token as u64 };
        let (epoll, fd) = (self.epoll.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: both descriptors are open for the duration of the call, `event` is valid.
        let done = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Wait until a socket has news or `timeout` has passed; returns how many events there are
    /// for [`Poller::ready`].
    ///
    /// # Errors
    /// What `epoll_pwait2` says; an interruption by a signal is no error.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<usize> {
        let time = libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
        };
        // SAFETY: `events` has EVENTS_MAX initialised entries that outlive the call, `time` is a
        // valid timespec, and a null signal mask means that none is changed.
        let count = unsafe {
            libc::epoll_pwait2(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_MAX as i32,
                &time,
                std::ptr::null(),
            )
        };
        if count >= 0 {
            return Ok(count as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) }
    }

    /// Event `index` of the last wait.
    pub fn ready(&self, index: usize) -> Ready {
        let event = self.events[index];
        let bits = event.events as i32;
        let end_bits = libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR;
        Ready {
            token: event.u64 as usize,
            readable: bits & (libc::EPOLLIN | end_bits) != 0,
            ended: bits & end_bits != 0,
            writable: bits & libc::EPOLLOUT != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    #[test]
    fn news_wakes_and_silence_times_out() {
        let (mut here, there) = UnixStream::pair().unwrap();
        there.set_nonblocking(true).unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add(&there, 7).unwrap();
        assert_eq!(poller.wait(Duration::ZERO).unwrap(), 1, "room to write");
        assert!(poller.ready(0).writable && !poller.ready(0).readable);
        let begin = Instant::now();
        assert_eq!(poller.wait(Duration::from_micros(500)).unwrap(), 0);
        assert!(begin.elapsed() >= Duration::from_micros(500));
        here.write_all(b"x").unwrap();
        assert_eq!(poller.wait(Duration::from_secs(5)).unwrap(), 1);
        assert_eq!((poller.ready(0).token, poller.ready(0).readable), (7, true));
        assert!(!poller.ready(0).ended);
        here.write_all(b"y").unwrap();
        drop(here);
        assert_eq!(poller.wait(Duration::from_secs(5)).unwrap(), 1);
        assert!(poller.ready(0).readable && poller.ready(0).ended, "one event for both");
    }
}
