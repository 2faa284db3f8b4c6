//! The tasks of a shard, and who runs next: one glommio task that holds all of ours.
//!
//! While there is something to do a shard never leaves this file: tasks run, then the shard's own
//! [`Ring`] takes a turn, and when nothing is left the thread waits inside that turn. glommio's
//! rings (calls that block, timers) get theirs every [`GLOMMIO_EVERY`], or every
//! [`GLOMMIO_SOON`] while an errand is under way; only a shard that has heard of nothing for
//! [`PARK_AFTER`] goes to sleep in glommio, which costs it an order of magnitude more, and then
//! nothing at all until something happens.
//!
//! A shard that starts waits for glommio above all (directories, cutting files). Until it is
//! settled it sleeps there whenever its own ring has nothing under way.
//!
//! Always true: background tasks get at most one in [`BACKGROUND_SHARE`] parts of the time while
//! others want it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use ::glommio::io::BufferedFile;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, Stream};
use futures_util::task::{ArcWake, waker};

use super::Queue;
use super::core::Core;
use super::errands::Errands;
use super::ring::{Bell, Ring};

/// How long glommio's own rings may have to wait for their turn: a timer may be so late. A turn
/// costs as much as several requests.
const GLOMMIO_EVERY: Duration = Duration::from_millis(3);
/// The same while somebody waits for more than a timer there.
const GLOMMIO_SOON: Duration = Duration::from_micros(500);
/// A shard whose ring and whose neighbours were silent for so long sleeps in glommio.
const PARK_AFTER: Duration = Duration::from_millis(1);
/// The part of the time that background tasks get when there is other work.
const BACKGROUND_SHARE: u32 = 11;

type Task = LocalBoxFuture<'static, ()>;

/// All tasks of one shard.
pub struct Tasks {
    ring: Rc<Ring>,
    front: Pool,
    background: Pool,
    /// Spawned since the last look.
    spawned: RefCell<Vec<(Queue, Task)>>,
    state: Arc<State>,
    is_settled: Cell<bool>,
    core: Core,
    errands: Errands,
    longest_turn: Cell<Duration>,
}

struct Pool {
    tasks: RefCell<FuturesUnordered<Task>>,
    call: Arc<Wake>,
    waker: Waker,
}

/// Where the shard's thread is.
struct State {
    place: AtomicU8,
    bell: Arc<Bell>,
    /// Wakes the thread out of glommio.
    parked: Mutex<Option<Waker>>,
    owner: ThreadId,
    /// Another thread ended the sleep: more may come from there.
    is_asked: AtomicBool,
}

/// The thread looks at the flags of its pools before it waits.
const RUNNING: u8 = 0;
/// It waits in its ring for a stroke of the bell.
const IN_RING: u8 = 1;
/// It is in glommio.
const PARKED: u8 = 2;

/// Somebody in a pool can go on.
struct Wake {
    is_wanted: AtomicBool,
    state: Arc<State>,
}

impl ArcWake for Wake {
    fn wake_by_ref(this: &Arc<Self>) {
        this.is_wanted.store(true, Ordering::SeqCst);
        this.state.call();
    }
}

impl State {
    /// End a wait, wherever it is. The flag that gives the reason is set before.
    fn call(&self) {
        if self.place.load(Ordering::SeqCst) == RUNNING {
            return;
        }
        match self.place.swap(RUNNING, Ordering::SeqCst) {
            IN_RING => self.bell.ring(),
            PARKED => {
                if std::thread::current().id() != self.owner {
                    self.is_asked.store(true, Ordering::SeqCst);
                }
                let parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(waker) = parked {
                    waker.wake();
                }
            }
            _ => {}
        }
    }
}

impl Pool {
    fn new(state: &Arc<State>) -> Self {
        let call = Arc::new(Wake { is_wanted: AtomicBool::new(false), state: Arc::clone(state) });
        Self { tasks: RefCell::default(), waker: waker(Arc::clone(&call)), call }
    }

    fn is_wanted(&self) -> bool {
        self.call.is_wanted.load(Ordering::SeqCst)
    }

    /// Run each task that can go on, once or twice.
    fn run(&self) {
        self.call.is_wanted.store(false, Ordering::SeqCst);
        let mut cx = Context::from_waker(&self.waker);
        let mut tasks = self.tasks.borrow_mut();
        while let Poll::Ready(Some(())) = Pin::new(&mut *tasks).poll_next(&mut cx) {}
    }

    fn push(&self, task: Task) {
        self.tasks.borrow().push(task);
        self.call.is_wanted.store(true, Ordering::SeqCst);
    }
}

impl Tasks {
    /// No tasks yet; they run once somebody awaits [`Tasks::drive`] on this thread.
    pub fn new(ring: Rc<Ring>, core: Core) -> Rc<Self> {
        let state = Arc::new(State {
            place: AtomicU8::new(RUNNING),
            bell: ring.bell(),
            parked: Mutex::default(),
            owner: std::thread::current().id(),
            is_asked: AtomicBool::new(false),
        });
        Rc::new(Self {
            front: Pool::new(&state),
            background: Pool::new(&state),
            spawned: RefCell::default(),
            ring,
            state,
            is_settled: Cell::new(false),
            core,
            errands: Errands::default(),
            longest_turn: Cell::default(),
        })
    }

    /// The start is over: sockets are served from now on.
    pub fn settle(&self) {
        self.is_settled.set(true);
        self.longest_turn.set(Duration::ZERO);
    }

    /// The longest that tasks have run since then without a look at what has arrived.
    pub fn longest_turn(&self) -> Duration {
        self.longest_turn.get()
    }

    /// What the shard waits for in glommio.
    pub fn errands(&self) -> &Errands {
        &self.errands
    }

    /// The core of the shard's thread.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Run `task` beside everything else.
    pub fn spawn(&self, queue: Queue, task: impl Future<Output = ()> + 'static) {
        self.spawned.borrow_mut().push((queue, Box::pin(task)));
        self.state.call();
    }

    /// Run the tasks for as long as this is awaited, on a glommio executor.
    ///
    /// # Errors
    /// What the kernel says of the ring; nothing goes on then.
    pub async fn drive(self: Rc<Self>) -> io::Result<()> {
        // SAFETY: an open descriptor that glommio owns from here on.
        let event = unsafe { BufferedFile::from_raw_fd(self.ring.event()?.into_raw_fd()) };
        let event = Rc::new(event);
        // SAFETY: as above.
        let ready = unsafe { BufferedFile::from_raw_fd(always_readable()?.into_raw_fd()) };
        let mut driver = Driver {
            idle_since: None,
            last: Instant::now(),
            debt: Debt::default(),
            is_heard: Rc::new(Cell::new(true)),
        };
        loop {
            self.ring.gather(true);
            let rest = self.work(&mut driver);
            self.ring.gather(false);
            self.core.look();
            match rest? {
                Rest::Turn => {
                    // Comes back with the round that submits it.
                    ready.read_at(0, 8).await.map_err(io::Error::from)?;
                }
                Rest::Park => {
                    if driver.is_heard.replace(false) {
                        let (event, is_heard) = (Rc::clone(&event), Rc::clone(&driver.is_heard));
                        let state = Arc::clone(&self.state);
                        ::glommio::spawn_local(async move {
                            // An error is seen as an early end of the sleep, again and again.
                            let _ = event.read_at(0, 8).await;
                            is_heard.set(true);
                            state.call();
                        })
                        .detach();
                    }
                    self.park(&driver).await;
                    // A timer alone is no sign of more to come: back to sleep after it.
                    if self.state.is_asked.swap(false, Ordering::SeqCst) {
                        driver.idle_since = None;
                    }
                }
            }
        }
    }

    /// Work until glommio has to have a turn or there is nothing to do.
    fn work(&self, driver: &mut Driver) -> io::Result<Rest> {
        let began = Instant::now();
        driver.last = began;
        let mut turn_began = began;
        loop {
            self.take_spawned();
            let front = self.front.is_wanted();
            if front {
                self.front.run();
            }
            let events = self.ring.turn(None)?;
            let now = Instant::now();
            self.longest_turn.set(self.longest_turn.get().max(now - turn_began));
            turn_began = now;
            let background = self.background.is_wanted();
            if background && (driver.debt.is_paid() || !(front || events > 0)) {
                self.background.run();
                driver.debt.owe(now.elapsed());
            } else if front || events > 0 {
                driver.debt.pay(now - driver.last);
            }
            driver.last = now;
            if events > 0 {
                driver.idle_since = None;
            }
            if front || background || events > 0 || self.is_wanted() {
                if now - began >= self.glommio_every() {
                    return Ok(Rest::Turn);
                }
                continue;
            }
            let idle = now - *driver.idle_since.get_or_insert(now);
            let is_patient = self.is_settled.get() || self.ring.is_working();
            let patience = if is_patient { PARK_AFTER } else { Duration::ZERO };
            if idle >= patience {
                return Ok(Rest::Park);
            }
            let Some(left) = self.glommio_every().checked_sub(now - began) else {
                return Ok(Rest::Turn);
            };
            self.wait_in_ring(left)?;
            turn_began = Instant::now();
        }
    }

    fn glommio_every(&self) -> Duration {
        if self.errands.are_under_way() { GLOMMIO_SOON } else { GLOMMIO_EVERY }
    }

    fn wait_in_ring(&self, time: Duration) -> io::Result<()> {
        self.state.place.store(IN_RING, Ordering::SeqCst);
        // Who calls after this look rings the bell.
        let waited = if self.is_wanted() { Ok(0) } else { self.ring.turn(Some(time)) };
        self.state.place.store(RUNNING, Ordering::SeqCst);
        waited.map(|_| ())
    }

    /// Sleep in glommio until somebody calls.
    async fn park(&self, driver: &Driver) {
        std::future::poll_fn(|cx| {
            let parked = || self.state.parked.lock().unwrap_or_else(PoisonError::into_inner);
            *parked() = Some(cx.waker().clone());
            self.state.place.store(PARKED, Ordering::SeqCst);
            if self.is_wanted() || driver.is_heard.get() {
                self.state.place.store(RUNNING, Ordering::SeqCst);
                parked().take();
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    fn is_wanted(&self) -> bool {
        self.front.is_wanted() || self.background.is_wanted() || !self.spawned.borrow().is_empty()
    }

    fn take_spawned(&self) {
        // Taken out first: no task runs here, but keep the borrow short.
        for (queue, task) in self.spawned.take() {
            match queue {
                Queue::Network | Queue::Log => self.front.push(task),
                Queue::Background => self.background.push(task),
            }
        }
    }
}

/// A counter to read from more often than anybody will.
fn always_readable() -> io::Result<OwnedFd> {
    // SAFETY: creates a descriptor.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_SEMAPHORE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just created, nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let reads = (1u64 << 62).to_ne_bytes();
    // SAFETY: eight bytes of a local.
    let written = unsafe { libc::write(fd.as_raw_fd(), reads.as_ptr().cast(), reads.len()) };
    if written < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

/// What the thread remembers between two turns.
struct Driver {
    idle_since: Option<Instant>,
    last: Instant,
    debt: Debt,
    /// The sleep that the ring's event ended, or none was begun.
    is_heard: Rc<Cell<bool>>,
}

/// Time that others may have before the background goes on.
#[derive(Default)]
struct Debt(Duration);

impl Debt {
    /// The background ran for `time`.
    fn owe(&mut self, time: Duration) {
        self.0 = time * (BACKGROUND_SHARE - 1);
    }

    /// Others ran for `time`.
    fn pay(&mut self, time: Duration) {
        self.0 = self.0.saturating_sub(time);
    }

    fn is_paid(&self) -> bool {
        self.0.is_zero()
    }
}

/// Why the thread goes to glommio.
enum Rest {
    /// For one round of its rings.
    Turn,
    /// To sleep.
    Park,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use ::glommio::timer::Timer;
    use futures_channel::{mpsc, oneshot};
    use futures_util::StreamExt;

    use super::*;
    use crate::runtime::wait::step_aside;

    /// Run `test` as a task of a shard that serves.
    fn on_a_shard<F: Future<Output = ()> + 'static>(test: impl FnOnce(Rc<Tasks>) -> F + 'static) {
        on_a_starting_shard(|tasks| {
            tasks.settle();
            test(tasks)
        });
    }

    /// Run `test` as a task of a shard that is not settled.
    fn on_a_starting_shard<F: Future<Output = ()> + 'static>(
        test: impl FnOnce(Rc<Tasks>) -> F + 'static,
    ) {
        ::glommio::LocalExecutor::default().run(async {
            let tasks = Tasks::new(Ring::open().unwrap(), Core::fixed());
            let driving = Rc::clone(&tasks);
            ::glommio::spawn_local(async move { driving.drive().await.unwrap() }).detach();
            let (done, is_done) = oneshot::channel();
            let running = Rc::clone(&tasks);
            tasks.spawn(Queue::Network, async move {
                test(running).await;
                done.send(()).unwrap();
            });
            is_done.await.unwrap();
        });
    }

    /// Between two looks of anybody at a timer, too: a stall is over when they look.
    #[test]
    fn a_task_that_holds_the_shard_is_noticed() {
        const HELD: Duration = Duration::from_millis(30);
        on_a_shard(|tasks| async move {
            step_aside().await;
            let began = Instant::now();
            while began.elapsed() < HELD {
                std::hint::spin_loop();
            }
            step_aside().await;
            step_aside().await;
            assert!(tasks.longest_turn() >= HELD, "{:?}", tasks.longest_turn());
        });
    }

    #[test]
    fn another_thread_wakes_a_shard_wherever_it_is() {
        on_a_shard(|tasks| async move {
            let state = Arc::clone(&tasks.state);
            let (mut ask, mut asked) = mpsc::channel::<u8>(1);
            let (mut answer, mut answered) = mpsc::channel::<u8>(1);
            let there = std::thread::spawn(move || {
                let mut places = [0usize; 3];
                for i in 0..200u8 {
                    // Every second time wait until the shard has gone to sleep.
                    while i % 2 == 0 && state.place.load(Ordering::SeqCst) != PARKED {
                        std::thread::yield_now();
                    }
                    places[usize::from(state.place.load(Ordering::SeqCst))] += 1;
                    ask.try_send(i).unwrap();
                    let heard = futures_util::future::poll_fn(|cx| answered.poll_next_unpin(cx));
                    assert_eq!(block_on(heard), Some(i));
                }
                places
            });
            for i in 0..200u8 {
                assert_eq!(asked.next().await, Some(i));
                answer.try_send(i).unwrap();
            }
            let (told, places) = oneshot::channel();
            std::thread::spawn(move || told.send(there.join().unwrap()).unwrap());
            let places = places.await.unwrap();
            assert!(places[usize::from(PARKED)] >= 100, "{places:?}");
        });
    }

    #[test]
    fn a_shard_that_starts_sleeps_where_it_hears_glommio() {
        on_a_starting_shard(|tasks| async move {
            let state = Arc::clone(&tasks.state);
            let (mut ask, mut asked) = mpsc::channel::<()>(1);
            let heard = Arc::new(AtomicUsize::new(0));
            let hearing = Arc::clone(&heard);
            let there = std::thread::spawn(move || {
                let mut in_ring = 0;
                for asked in 0..100 {
                    // Until then it may still be where it was found before.
                    while hearing.load(Ordering::SeqCst) < asked {
                        std::thread::yield_now();
                    }
                    loop {
                        match state.place.load(Ordering::SeqCst) {
                            PARKED => break,
                            IN_RING => in_ring += 1,
                            _ => {}
                        }
                        std::hint::spin_loop();
                    }
                    ask.try_send(()).unwrap();
                }
                in_ring
            });
            while asked.next().await.is_some() {
                heard.fetch_add(1, Ordering::SeqCst);
            }
            assert_eq!(there.join().unwrap(), 0);
        });
    }

    /// Wait for a future on a thread of its own.
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        struct Thread(std::thread::Thread);
        impl ArcWake for Thread {
            fn wake_by_ref(this: &Arc<Self>) {
                this.0.unpark();
            }
        }
        let waker = waker(Arc::new(Thread(std::thread::current())));
        let mut future = std::pin::pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(value) => return value,
                Poll::Pending => std::thread::park(),
            }
        }
    }

    #[test]
    fn glommios_timers_go_on_beside_tasks_that_never_rest() {
        on_a_shard(|tasks| async move {
            let is_over = Rc::new(Cell::new(false));
            let seen = Rc::clone(&is_over);
            tasks.spawn(Queue::Log, async move {
                Timer::new(Duration::from_millis(5)).await;
                seen.set(true);
            });
            while !is_over.get() {
                step_aside().await;
            }
        });
    }

    #[test]
    fn the_background_rests_ten_times_as_long_as_it_ran() {
        let ms = Duration::from_millis;
        let mut debt = Debt::default();
        assert!(debt.is_paid());
        debt.owe(ms(3));
        debt.pay(ms(29));
        assert!(!debt.is_paid());
        debt.pay(ms(5));
        assert!(debt.is_paid());
        // What was paid too much is no credit.
        debt.owe(ms(1));
        debt.pay(ms(9));
        assert!(!debt.is_paid());
    }

    #[test]
    fn the_background_goes_on_beside_tasks_that_never_rest() {
        on_a_shard(|tasks| async move {
            let steps = Rc::new(Cell::new(0));
            let counted = Rc::clone(&steps);
            tasks.spawn(Queue::Background, async move {
                loop {
                    counted.set(counted.get() + 1);
                    step_aside().await;
                }
            });
            while steps.get() < 5 {
                step_aside().await;
            }
        });
    }
}
