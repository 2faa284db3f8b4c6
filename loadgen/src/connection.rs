//! One non-blocking connection of the measuring core: prepared bytes go out with one vectored
//! write, whole answer frames come in. No allocation per request: buffers belong to the worker
//! and come back to it.
//!
//! Always true: bytes of one [`Outgoing`] leave in order and whole, or the connection is broken.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// Most spans handed to the kernel at once (a small part of IOV_MAX; fits the stack).
pub const SPANS_MAX: usize = 64;

/// A buffer on its way out: parts of `bytes`, in the order of `spans`.
#[derive(Debug)]
pub struct Outgoing {
    /// Prepared requests at fixed places.
    pub bytes: Box<[u8]>,
    /// Begin and end of what is to be sent.
    pub spans: Vec<(u32, u32)>,
    next: usize,
}

impl Outgoing {
    /// Around a prepared buffer, with nothing to send yet.
    pub fn new(bytes: Box<[u8]>) -> Self {
        Self { bytes, spans: Vec::with_capacity(SPANS_MAX), next: 0 }
    }

    /// Make it ready for the next use.
    pub fn reset(&mut self) {
        self.spans.clear();
        self.next = 0;
    }
}

/// A connection to a broker.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// The begin of an answer whose rest has not come yet.
    partial: Vec<u8>,
    pending: Option<Outgoing>,
}

impl Connection {
    /// Connect within `timeout`.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, partial: Vec::new(), pending: None })
    }

    /// Begin to connect and wait for nothing: [`Connection::is_connected`] tells how far it is, and
    /// a poller when to ask.
    ///
    /// # Errors
    /// What the operating system says at once.
    pub fn begin(address: SocketAddr) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(Self { stream: socket.into(), partial: Vec::new(), pending: None }),
        }
    }

    /// Whether bytes can be sent already.
    ///
    /// # Errors
    /// Why they never can.
    pub fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether earlier bytes still wait for room in the socket.
    #[inline]
    pub fn is_sending(&self) -> bool {
        self.pending.is_some()
    }

    /// Send all spans of `out` (only when not [`Connection::is_sending`]). Gives the buffer back
    /// if everything has left; otherwise the rest leaves with [`Connection::resume`].
    ///
    /// # Errors
    /// When the connection is broken; the buffer goes with it.
    pub fn send(&mut self, out: Outgoing) -> io::Result<Option<Outgoing>> {
        debug_assert!(self.pending.is_none());
        self.pending = Some(out);
        self.resume()
    }

    /// Go on sending, as [`Connection::send`].
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn resume(&mut self) -> io::Result<Option<Outgoing>> {
        let Some(out) = self.pending.as_mut() else { return Ok(None) };
        while out.next < out.spans.len() {
            let mut slices = [IoSlice::new(&[]); SPANS_MAX];
            let mut used = 0;
            for (from, to) in out.spans[out.next..].iter().take(SPANS_MAX) {
                slices[used] = IoSlice::new(&out.bytes[*from as usize..*to as usize]);
                used += 1;
            }
            match (&self.stream).write_vectored(&slices[..used]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(mut written) => {
                    while written > 0 {
                        let (from, to) = &mut out.spans[out.next];
                        let part = written.min((*to - *from) as usize);
                        *from += part as u32;
                        written -= part;
                        if from == to {
                            out.next += 1;
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.pending.take())
    }

    /// Read what there is through `scratch` and call `each` with every whole frame, without its
    /// size. Frames longer than `scratch` break the connection: answers here are small. With
    /// `to_end` (see [`super::poll::Ready::ended`]) the end of the stream is read as well.
    ///
    /// # Errors
    /// When the peer closed, or what the operating system says.
    pub fn receive(
        &mut self,
        scratch: &mut [u8],
        to_end: bool,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        loop {
            let begin = self.partial.len();
            scratch[..begin].copy_from_slice(&self.partial);
            self.partial.clear();
            let space = scratch.len() - begin;
            let got = match (&self.stream).read(&mut scratch[begin..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut rest = &scratch[..begin + got];
            while let Some((size, behind)) = rest.split_first_chunk::<4>() {
                let size = i32::from_be_bytes(*size);
                let size = usize::try_from(size).ok().filter(|s| *s <= scratch.len() - 4);
                let Some(size) = size else {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the broker announced an answer of impossible size",
                    ));
                };
                let Some((frame, behind)) = behind.split_at_checked(size) else { break };
                each(frame);
                rest = behind;
            }
            self.partial.extend_from_slice(rest);
            // A short read means that the socket is empty: the edge will fire again.
            if got == 0 || (got < space && !to_end) {
                return Ok(());
            }
        }
    }

    /// Read up to `buffer.len()` bytes; `None` when there are none now.
    ///
    /// # Errors
    /// When the peer closed, or what the operating system says.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match (&self.stream).read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => return Ok(Some(got)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here =
            Connection::open(listener.local_addr().unwrap(), Duration::from_secs(5)).unwrap();
        (here, listener.accept().unwrap().0)
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        [&(body.len() as i32).to_be_bytes()[..], body].concat()
    }

    #[test]
    fn spans_leave_in_order_even_when_the_socket_is_full() {
        let (mut here, mut there) = pair();
        let bytes: Vec<u8> = (0..8_000_000u32).map(|i| (i % 251) as u8).collect();
        let mut out = Outgoing::new(bytes.clone().into());
        let spans = [(5_000_000, 8_000_000), (0, 1), (100, 4_000_000)];
        out.spans.extend_from_slice(&spans);
        let expected: Vec<u8> =
            spans.iter().flat_map(|(a, b)| bytes[*a as usize..*b as usize].to_vec()).collect();
        assert!(here.send(out).unwrap().is_none(), "8 MB cannot fit");
        let mut got = Vec::new();
        let mut chunk = vec![0u8; 1 << 20];
        loop {
            let n = there.read(&mut chunk).unwrap();
            got.extend_from_slice(&chunk[..n]);
            if here.is_sending() {
                here.resume().unwrap();
            } else if got.len() == expected.len() {
                break;
            }
        }
        assert!(got == expected);
    }

    #[test]
    fn frames_are_found_wherever_the_stream_is_cut() {
        let (mut here, mut there) = pair();
        let stream: Vec<u8> = [frame(b"first"), frame(b""), frame(&[7; 90])].concat();
        let mut scratch = vec![0u8; 128];
        let mut got: Vec<Vec<u8>> = Vec::new();
        for byte in stream {
            there.write_all(&[byte]).unwrap();
            let before: usize = got.iter().map(|f| f.len() + 4).sum::<usize>() + here.partial.len();
            while got.iter().map(|f| f.len() + 4).sum::<usize>() + here.partial.len() == before {
                here.receive(&mut scratch, false, |f| got.push(f.to_vec())).unwrap();
            }
        }
        assert_eq!(got, [b"first".to_vec(), vec![], vec![7; 90]]);
    }

    #[test]
    fn an_impossible_size_and_a_closed_peer_are_errors() {
        let (mut here, mut there) = pair();
        there.write_all(&[0x7f, 0xff, 0xff, 0xff]).unwrap();
        let mut scratch = vec![0u8; 128];
        let error = loop {
            if let Err(error) = here.receive(&mut scratch, false, |_| ()) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let (mut here, there) = pair();
        drop(there);
        let error = loop {
            if let Err(error) = here.receive(&mut scratch, false, |_| ()) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_end_behind_the_last_frame_is_seen_with_it() {
        let (mut here, mut there) = pair();
        there.write_all(&frame(b"last")).unwrap();
        drop(there);
        let (mut got, mut scratch) = (Vec::new(), vec![0u8; 128]);
        let error = here.receive(&mut scratch, true, |f| got.push(f.to_vec())).unwrap_err();
        assert_eq!((error.kind(), got), (io::ErrorKind::UnexpectedEof, vec![b"last".to_vec()]));
    }
}
