//! A shard's own io_uring beside glommio's: what a request waits for goes through it.
//!
//! glommio arms and cancels several timers of its own for every round of its rings and the kernel
//! interrupts the core for every answer. Here one system call a turn submits what has gathered and
//! takes what has come, and the kernel keeps what it has to tell until it is asked
//! (`IORING_SETUP_DEFER_TASKRUN`). [`super::tasks`] takes the turns.
//!
//! Always true: only the thread that opened it uses it (its [`Ring::bell`] apart); memory and file
//! of an operation stay until the kernel is done with them, whoever still waits for it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};
use slab::Slab;

/// Submissions between two turns; more are handed over at once.
const SUBMISSIONS: u32 = 512;
/// Events the kernel can note before it needs its overflow list.
const EVENTS: u32 = 4096;
/// Set in the user data of an operation; the rest is its number. Other user data is the listener's.
const OPERATION: u64 = 1 << 63;
/// The user data of the bell's poll.
const BELL: u64 = u64::MAX;
/// How long a ring that ends waits at a time for what is under way.
const END_STEP: Duration = Duration::from_millis(100);
/// After so many of these steps memory is leaked rather than given back under the device's feet.
const END_STEPS_MAX: usize = 300;

/// One event that belongs to no operation.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// What was submitted with it.
    pub user_data: u64,
    /// What the kernel says: negative is an error number.
    pub result: i32,
    /// More events come for the same submission.
    pub has_more: bool,
}

/// Hears events that belong to no operation.
type Listener = Box<dyn Fn(Event)>;

/// The ring of one shard.
pub struct Ring {
    uring: RefCell<IoUring>,
    /// Signalled by the kernel with every event.
    event: OwnedFd,
    bell: Arc<Bell>,
    operations: RefCell<Slab<Operation>>,
    listener: RefCell<Option<Listener>>,
    /// A turn is sure to come: submissions may gather until then.
    gathers: Cell<bool>,
    /// Kept between turns for its memory.
    taken: Cell<Vec<cqueue::Entry>>,
}

/// Ends a turn that waits; any thread may ring it.
#[derive(Debug)]
pub struct Bell(OwnedFd);

struct Operation {
    waker: Option<Waker>,
    result: Option<i32>,
    /// Nobody waits for it any more.
    is_forgotten: bool,
    /// The result is a descriptor, which somebody must take or which is closed.
    opens: bool,
    /// What the kernel works on.
    _kept: Box<dyn Any>,
}

/// An operation under way; dropping it gives up the answer, not the operation.
struct Performing {
    ring: Rc<Ring>,
    /// None once the answer was given.
    number: Option<usize>,
}

impl Ring {
    /// A ring with nothing under way.
    ///
    /// # Errors
    /// What the kernel says: io_uring forbidden or descriptors used up.
    pub fn open() -> io::Result<Rc<Self>> {
        let mut newest = IoUring::builder();
        newest.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
        // Before Linux 6.1: each event interrupts, everything else is the same.
        let oldest = IoUring::builder();
        let build = |mut b: io_uring::Builder| b.setup_cqsize(EVENTS).build(SUBMISSIONS);
        let uring = match build(newest) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => build(oldest)?,
            other => other?,
        };
        let event = eventfd()?;
        uring.submitter().register_eventfd(event.as_raw_fd())?;
        let ring = Self {
            uring: RefCell::new(uring),
            event,
            bell: Arc::new(Bell(eventfd()?)),
            operations: RefCell::default(),
            listener: RefCell::default(),
            gathers: Cell::new(false),
            taken: Cell::default(),
        };
        ring.watch_bell()?;
        Ok(Rc::new(ring))
    }

    /// What ends a turn that waits.
    pub fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// A descriptor to read eight bytes from whenever events have come.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn event(&self) -> io::Result<OwnedFd> {
        self.event.try_clone()
    }

    /// Let `listener` hear every event that belongs to no operation.
    pub fn listen(&self, listener: impl Fn(Event) + 'static) {
        self.listener.replace(Some(Box::new(listener)));
    }

    /// Whether an operation is under way.
    pub fn is_working(&self) -> bool {
        !self.operations.borrow().is_empty()
    }

    /// Say that a turn is sure to come, or no longer.
    pub fn gather(&self, gathers: bool) {
        self.gathers.set(gathers);
    }

    /// Submit, with the next turn if one is sure to come. Events go to the listener: `entry` has
    /// user data of the listener's own, below 2^63.
    ///
    /// # Errors
    /// What the kernel says when the queue is handed over.
    ///
    /// # Safety
    /// What `entry` refers to is valid until its last event.
    pub unsafe fn submit(&self, entry: &squeue::Entry) -> io::Result<()> {
        let mut uring = self.uring.borrow_mut();
        if uring.submission().is_full() {
            uring.submit()?;
        }
        // SAFETY: the caller's promise.
        let pushed = unsafe { uring.submission().push(entry) };
        pushed.map_err(|_| io::Error::other("the shard's ring takes no submission"))?;
        if !self.gathers.get() {
            uring.submit()?;
        }
        Ok(())
    }

    /// Do what `entry` says, which refers to `kept` alone; gives the kernel's result.
    ///
    /// # Safety
    /// Everything that `entry` refers to (memory, descriptor) is valid and belongs to the kernel
    /// as long as `kept` lives.
    pub unsafe fn perform(
        self: &Rc<Self>,
        entry: squeue::Entry,
        kept: Box<dyn Any>,
    ) -> impl Future<Output = io::Result<u32>> + use<> {
        // SAFETY: the caller's promise.
        let performing = unsafe { self.begin(entry, kept, false) };
        async move { performing?.await }
    }

    /// The same for an operation that opens something; closes it if nobody waits for it any more.
    ///
    /// # Safety
    /// As for [`Ring::perform`], and the result of `entry` is a new descriptor.
    pub unsafe fn perform_open(
        self: &Rc<Self>,
        entry: squeue::Entry,
        kept: Box<dyn Any>,
    ) -> impl Future<Output = io::Result<OwnedFd>> + use<> {
        // SAFETY: the caller's promise.
        let performing = unsafe { self.begin(entry, kept, true) };
        async move {
            let fd = performing?.await?;
            // SAFETY: the kernel has just opened it, and the operation gave it away.
            Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
        }
    }

    /// # Safety
    /// As for [`Ring::perform`], and `opens` says whether the result is a new descriptor.
    unsafe fn begin(
        self: &Rc<Self>,
        entry: squeue::Entry,
        kept: Box<dyn Any>,
        opens: bool,
    ) -> io::Result<Performing> {
        let operation =
            Operation { waker: None, result: None, is_forgotten: false, opens, _kept: kept };
        let number = self.operations.borrow_mut().insert(operation);
        // SAFETY: `kept` is with the operation until its event has come.
        let submitted = unsafe { self.submit(&entry.user_data(OPERATION | number as u64)) };
        if let Err(error) = submitted {
            self.operations.borrow_mut().remove(number);
            return Err(error);
        }
        Ok(Performing { ring: Rc::clone(self), number: Some(number) })
    }

    /// Hand over what was submitted and take the events there are, waiting at most for `wait`
    /// until there is one; how many there were.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn turn(&self, wait: Option<Duration>) -> io::Result<usize> {
        let mut taken = self.taken.take();
        {
            let mut uring = self.uring.borrow_mut();
            let (submissions, has_more) = {
                let queue = uring.submission();
                (queue.len(), queue.taskrun() || queue.cq_overflow())
            };
            let entered = if let Some(wait) = wait.filter(|_| uring.completion().is_empty()) {
                let time = types::Timespec::from(wait);
                let args = types::SubmitArgs::new().timespec(&time);
                uring.submitter().submit_with_args(1, &args)
            } else if submissions > 0 || has_more {
                let flags = EnterFlags::GETEVENTS.bits();
                // SAFETY: no argument is passed.
                unsafe {
                    uring.submitter().enter::<libc::sigset_t>(submissions as u32, 0, flags, None)
                }
            } else {
                Ok(0)
            };
            if let Err(error) = entered {
                let code = error.raw_os_error().unwrap_or_default();
                // Time is over, a signal came, or events must be taken first: all of it is seen.
                if ![libc::ETIME, libc::EINTR, libc::EBUSY, libc::EAGAIN].contains(&code) {
                    return Err(error);
                }
            }
            taken.extend(uring.completion());
        }
        let count = taken.len();
        for event in taken.drain(..) {
            self.note(&event)?;
        }
        self.taken.set(taken);
        Ok(count)
    }

    fn note(&self, event: &cqueue::Entry) -> io::Result<()> {
        let has_more = cqueue::more(event.flags());
        let (user_data, result) = (event.user_data(), event.result());
        if user_data == BELL {
            return if has_more { Ok(()) } else { self.watch_bell() };
        }
        if user_data & OPERATION == 0 {
            if let Some(listener) = &*self.listener.borrow() {
                listener(Event { user_data, result, has_more });
            }
            return Ok(());
        }
        let number = (user_data & !OPERATION) as usize;
        let waker = {
            let mut operations = self.operations.borrow_mut();
            let Some(operation) = operations.get_mut(number) else { return Ok(()) };
            operation.result = Some(result);
            if operation.is_forgotten {
                operations.remove(number);
                return Ok(());
            }
            operation.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// One event for every stroke; nobody needs to read the counter.
    fn watch_bell(&self) -> io::Result<()> {
        let fd = types::Fd(self.bell.0.as_raw_fd());
        let poll = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true).build();
        // SAFETY: refers to a descriptor that lives as long as the ring.
        unsafe { self.submit(&poll.user_data(BELL)) }
    }
}

impl Drop for Ring {
    /// The device may still write to memory of ours.
    fn drop(&mut self) {
        let is_busy =
            |ring: &Self| ring.operations.borrow().iter().any(|(_, o)| o.result.is_none());
        for _ in 0..END_STEPS_MAX {
            if !is_busy(self) {
                return;
            }
            if self.turn(Some(END_STEP)).is_err() {
                break;
            }
        }
        std::mem::forget(self.operations.take());
    }
}

impl Bell {
    /// End the turn that waits, or the next one.
    pub fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes of a local. It fails only when nobody has heard 2^64 strokes.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

impl Future for Performing {
    type Output = io::Result<u32>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let number = self.number.expect("not asked again after its answer");
        let mut operations = self.ring.operations.borrow_mut();
        let operation = &mut operations[number];
        // Taken: a descriptor is the asker's from here on.
        let Some(result) = operation.result.take() else {
            operation.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let done = operations.remove(number);
        drop(operations);
        drop(done);
        self.number = None;
        Poll::Ready(u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result)))
    }
}

impl Drop for Performing {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut operations = self.ring.operations.borrow_mut();
        let operation = &mut operations[number];
        if operation.result.is_some() {
            operations.remove(number);
        } else {
            operation.is_forgotten = true;
            operation.waker = None;
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Some(fd @ 0..) = self.result.filter(|_| self.opens) {
            // SAFETY: the kernel opened it for this operation and nobody has taken it.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: creates a descriptor.
    let fd: RawFd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just created, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::pin::pin;

    use super::*;

    fn pipe() -> (OwnedFd, File) {
        let mut ends = [0; 2];
        // SAFETY: two descriptors into a local array; checked before use.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        // SAFETY: just created, nobody else owns them.
        unsafe { (OwnedFd::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) }
    }

    /// Read four bytes from a pipe into memory that is kept, with a witness of its life.
    fn reading(
        ring: &Rc<Ring>,
        from: &OwnedFd,
    ) -> (impl Future<Output = io::Result<u32>> + use<>, Rc<RefCell<[u8; 4]>>) {
        let memory = Rc::new(RefCell::new([0u8; 4]));
        let entry = opcode::Read::new(types::Fd(from.as_raw_fd()), memory.as_ptr().cast(), 4);
        // SAFETY: the memory is kept; the test's pipe outlives the ring.
        let read = unsafe { ring.perform(entry.build(), Box::new(Rc::clone(&memory))) };
        (read, memory)
    }

    #[test]
    fn what_the_kernel_works_on_outlives_who_waits_for_it() {
        let (from, mut to) = pipe();
        let ring = Ring::open().unwrap();
        let (read, memory) = reading(&ring, &from);
        drop(read);
        assert_eq!(Rc::strong_count(&memory), 2, "the operation is still under way");
        to.write_all(b"late").unwrap();
        while Rc::strong_count(&memory) == 2 {
            ring.turn(Some(END_STEP)).unwrap();
        }
        assert_eq!(*memory.borrow(), *b"late");
        assert!(ring.operations.borrow().is_empty());
    }

    #[test]
    fn a_result_comes_with_its_bytes_and_an_error_as_an_error() {
        let (from, mut to) = pipe();
        let ring = Ring::open().unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let (read, memory) = reading(&ring, &from);
        let mut read = pin!(read);
        assert!(read.as_mut().poll(&mut cx).is_pending());
        to.write_all(b"now!").unwrap();
        let result = loop {
            ring.turn(Some(END_STEP)).unwrap();
            if let Poll::Ready(result) = read.as_mut().poll(&mut cx) {
                break result;
            }
        };
        assert_eq!((result.unwrap(), *memory.borrow()), (4, *b"now!"));
        // The writing end cannot be read.
        let (bad, _) = reading(&ring, &OwnedFd::from(to));
        let mut bad = pin!(bad);
        let error = loop {
            ring.turn(Some(END_STEP)).unwrap();
            if let Poll::Ready(result) = bad.as_mut().poll(&mut cx) {
                break result.unwrap_err();
            }
        };
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }

    /// Descriptors of this process for the file `path`.
    fn times_open(path: &Path) -> usize {
        let all = std::fs::read_dir("/proc/self/fd").unwrap();
        // Those of other tests come and go.
        all.filter(|fd| std::fs::read_link(fd.as_ref().unwrap().path()).is_ok_and(|to| to == path))
            .count()
    }

    #[test]
    fn a_file_that_is_opened_for_nobody_is_closed() {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let ring = Ring::open().unwrap();
        let open = || {
            let name = CString::new(file.as_os_str().as_bytes()).unwrap();
            let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), name.as_ptr()).build();
            // SAFETY: the name is kept; openat(2) gives a new descriptor.
            unsafe { ring.perform_open(open, Box::new(name)) }
        };
        let is_done = || ring.operations.borrow().iter().all(|(_, o)| o.result.is_some());
        // Given up before the kernel has opened it, and after.
        drop(open());
        let late = open();
        let mut taken = pin!(open());
        while !is_done() {
            ring.turn(Some(END_STEP)).unwrap();
        }
        assert_eq!(times_open(&file), 2);
        drop(late);
        assert_eq!(times_open(&file), 1);
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(fd)) = taken.as_mut().poll(&mut cx) else { panic!("it is open") };
        assert!(ring.operations.borrow().is_empty());
        assert_eq!(times_open(&file), 1);
        drop(fd);
        assert_eq!(times_open(&file), 0);
    }

    #[test]
    fn more_submissions_than_fit_are_handed_over() {
        let (from, mut to) = pipe();
        let ring = Ring::open().unwrap();
        ring.gather(true);
        let many = SUBMISSIONS as usize * 2 + 1;
        let reads: Vec<_> = (0..many).map(|_| reading(&ring, &from)).collect();
        let memories: Vec<_> = reads.into_iter().map(|(_, memory)| memory).collect();
        to.write_all(&vec![7; many * 4]).unwrap();
        while !ring.operations.borrow().is_empty() {
            ring.turn(Some(END_STEP)).unwrap();
        }
        assert!(memories.iter().all(|memory| *memory.borrow() == [7; 4]));
    }

    #[test]
    fn the_bell_ends_a_turn_again_and_again() {
        let ring = Ring::open().unwrap();
        for _ in 0..3 {
            let bell = ring.bell();
            let ringing = std::thread::spawn(move || bell.ring());
            while ring.turn(Some(END_STEP)).unwrap() == 0 {}
            ringing.join().unwrap();
        }
    }
}
