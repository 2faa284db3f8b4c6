//! A command in a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than any of these tests should take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A child whose three standard streams are a terminal.
pub struct Pty {
    /// The process.
    pub child: Child,
    ours: File,
    /// Until its end: what a closed terminal was set to could not be asked.
    theirs: Option<OwnedFd>,
    /// Its modes when the command had ended.
    modes_at_end: (libc::tcflag_t, u8),
    heard: Receiver<Vec<u8>>,
    /// Everything it has written so far.
    pub text: String,
}

impl Pty {
    /// Start `command` in a terminal of this size.
    pub fn start(command: &mut Command, columns: u16, rows: u16) -> Self {
        let (mut ours, mut theirs) = (0, 0);
        let size = winsize(columns, rows);
        // SAFETY: two descriptors and a size to write to; null means no name and usual settings.
        let done = unsafe {
            let none = std::ptr::null_mut();
            libc::openpty(&mut ours, &mut theirs, none, std::ptr::null_mut(), &size)
        };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: both were just opened and belong to nobody else.
        let (ours, theirs) = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        let stream = || Stdio::from(theirs.try_clone().expect("a descriptor"));
        command.stdin(stream()).stdout(stream()).stderr(stream());
        // SAFETY: both calls are async-signal-safe; descriptor 0 is the terminal.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().expect("it starts");
        let mut reader = ours.try_clone().expect("a descriptor");
        let (said, heard) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            while let Ok(got) = reader.read(&mut buffer) {
                if said.send(buffer[..got].to_vec()).is_err() {
                    return;
                }
            }
        });
        let (theirs, text) = (Some(theirs), String::new());
        Self { child, ours, theirs, modes_at_end: (0, 0), heard, text }
    }

    /// Read on until `wanted` has been written behind byte `from`; returns where it ends.
    pub fn await_text(&mut self, wanted: &str, from: usize) -> usize {
        let begin = Instant::now();
        loop {
            if let Some(at) = self.text[from..].find(wanted) {
                return from + at + wanted.len();
            }
            let left = PATIENCE.saturating_sub(begin.elapsed());
            match self.heard.recv_timeout(left) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("no {wanted:?} in {:?}", &self.text[from..]),
            }
        }
    }

    /// Press keys.
    pub fn press(&mut self, keys: &[u8]) {
        self.ours.write_all(keys).expect("a terminal");
    }

    /// Make the terminal another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = winsize(columns, rows);
        // SAFETY: TIOCSWINSZ reads one winsize.
        let done = unsafe { libc::ioctl(self.ours.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        assert_eq!(done, 0);
    }

    /// Its modes: local flags and what Ctrl-Z means.
    pub fn modes(&self) -> (libc::tcflag_t, u8) {
        let Some(theirs) = &self.theirs else { return self.modes_at_end };
        // SAFETY: all-zero bytes are a valid termios, which tcgetattr fills.
        let mut mode: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let done = unsafe { libc::tcgetattr(theirs.as_raw_fd(), &mut mode) };
        assert_eq!(done, 0);
        (mode.c_lflag, mode.c_cc[libc::VSUSP])
    }

    /// Wait for its end and hear the rest; returns its exit code.
    pub fn end(&mut self) -> Option<i32> {
        let code = self.child.wait().expect("a child").code();
        self.modes_at_end = self.modes();
        // With nobody left on its other side the terminal ends, behind the last that was written.
        self.theirs = None;
        while let Ok(bytes) = self.heard.recv_timeout(PATIENCE) {
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
        code
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn winsize(columns: u16, rows: u16) -> libc::winsize {
    libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
