//! When bytes came to a socket, by the kernel's own clock: a broker's latency begins there, not
//! when its thread got a core and read them.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use crate::clock;

/// Ask the kernel to stamp what comes in on `stream`; without it [`read`] takes its own time.
pub fn stamp(stream: &TcpStream) {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open, `on` is valid for `length` bytes during the call.
    unsafe {
        let value = (&raw const on).cast();
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, value, length);
    }
}

/// Room for one control message with a time, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Read into `buffer`; returns how much and when the last of it came, in monotonic nanoseconds.
///
/// # Errors
/// As [`std::io::Read::read`].
pub fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<(usize, u64)> {
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero bytes are a valid msghdr: no name, no parts, no control messages.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: `message` points to one part of `buffer.len()` writable bytes and to a control
    // buffer of the length given; all live until the call returns.
    let got = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, 0) };
    let read_ns = clock::monotonic_ns();
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    let stamped = stamp_of(&message).and_then(|wall_ns| {
        // The kernel stamps with the wall clock; the difference is taken now.
        u64::try_from(wall_ns.checked_sub(clock::wall_offset_ns())?).ok()
    });
    // Never after it was read, nor so long before that somebody must have set the clock.
    let arrived =
        stamped.filter(|at| (read_ns.saturating_sub(STAMP_AGE_NS_MAX)..=read_ns).contains(at));
    Ok((got, arrived.unwrap_or(read_ns)))
}

/// An older stamp is taken for the sign of a clock that was set.
const STAMP_AGE_NS_MAX: u64 = 10_000_000_000;

/// The time in the control messages of `message`, wall-clock nanoseconds.
fn stamp_of(message: &libc::msghdr) -> Option<i64> {
    // SAFETY: the kernel has filled the control buffer and set its length; the macros stay
    // within it, and a message of this type carries a whole timespec (which need not be aligned).
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(found) = header.as_ref() {
            if found.cmsg_level == libc::SOL_SOCKET && found.cmsg_type == libc::SO_TIMESTAMPNS {
                let time = libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned();
                return time.tv_sec.checked_mul(1_000_000_000)?.checked_add(time.tv_nsec);
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    const LATE_NS: u64 = 30_000_000;

    #[test]
    fn bytes_are_as_old_as_their_arrival_however_late_they_are_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (here, _) = listener.accept().unwrap();
        stamp(&here);
        let mut buffer = [0; 16];
        // Read 30 ms late. The kernel begins to stamp a little after it was asked to.
        let age = |there: &mut TcpStream, buffer: &mut [u8]| {
            let begin = clock::monotonic_ns();
            there.write_all(b"early").unwrap();
            let written = clock::monotonic_ns();
            while clock::monotonic_ns() < written + LATE_NS {
                std::thread::yield_now();
            }
            let (got, arrived) = read(&here, buffer).unwrap();
            assert_eq!(&buffer[..got], b"early");
            // A microsecond for the two readings of two clocks.
            assert!(arrived >= begin - 1_000, "before it was sent: {begin} {arrived}");
            arrived - written.min(arrived)
        };
        let young = (0..100).find(|_| age(&mut there, &mut buffer) < LATE_NS / 2);
        assert!(young.is_some(), "each was as young as the reading of it");
        here.set_nonblocking(true).unwrap();
        let nothing = read(&here, &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop(there);
        here.set_nonblocking(false).unwrap();
        assert_eq!(read(&here, &mut buffer).unwrap().0, 0);
    }
}
