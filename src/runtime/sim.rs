//! A runtime that is a function of its seed: which runnable task goes next, how long the disk
//! takes, what time it is.
//!
//! One [`SimWorld`] is one process on one machine. Time moves only when nothing can run. A world
//! can halt in the middle (the power goes); its disk then says what a next world finds.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use super::{CoreUse, Queue, Runtime};
use crate::disk::sim::SimDisk;
pub use crate::disk::sim_time::SimRandom;
use crate::disk::sim_time::World;
use crate::model::TimestampMs;

/// Wall-clock time at the start of every simulation, in milliseconds.
const WALL_START_MS: i64 = 1_800_000_000_000;

/// Longest simulated run: whoever still waits by then waits for ever.
const RUN_MAX: Duration = Duration::from_secs(600);

type Task = Pin<Box<dyn Future<Output = ()>>>;
/// Tasks that have not run yet.
type Spawned = Rc<RefCell<Vec<Task>>>;

/// One process on one machine.
pub struct SimWorld {
    world: Rc<World>,
    disk: SimDisk,
    spawned: Spawned,
}

/// Task numbers that were woken.
#[derive(Default)]
struct Ready(Mutex<Vec<usize>>);

struct TaskWaker {
    number: usize,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if let Ok(mut ready) = self.ready.0.lock()
            && !ready.contains(&self.number)
        {
            ready.push(self.number);
        }
    }
}

impl SimWorld {
    /// A machine with this disk content.
    pub fn new(seed: u64, image: crate::disk::sim::DiskImage) -> Self {
        let world = Rc::new(World::new(seed));
        let disk = SimDisk::new(Rc::clone(&world), image);
        Self { world, disk, spawned: Rc::default() }
    }

    /// The runtime that code in this world is given.
    pub fn runtime(&self) -> SimRuntime {
        SimRuntime {
            world: Rc::clone(&self.world),
            disk: self.disk.clone(),
            spawned: Rc::clone(&self.spawned),
        }
    }

    /// Its disk: faults, counts, what a crash leaves.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Run until `root` is done; `None` when the world halted before.
    ///
    /// # Panics
    /// When nothing can run and nothing is waited for: somebody waits for ever.
    pub fn run<T: 'static>(&self, root: impl Future<Output = T> + 'static) -> Option<T> {
        let result = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&result);
        let ready = Arc::new(Ready::default());
        let mut tasks: Vec<Option<(Task, Waker)>> = Vec::new();
        self.spawned.borrow_mut().push(Box::pin(async move {
            let value = root.await;
            *slot.borrow_mut() = Some(value);
        }));
        loop {
            for task in std::mem::take(&mut *self.spawned.borrow_mut()) {
                let number = tasks.len();
                let waker = Waker::from(Arc::new(TaskWaker { number, ready: Arc::clone(&ready) }));
                waker.wake_by_ref();
                tasks.push(Some((task, waker)));
            }
            if result.borrow().is_some() || self.world.halted.get() {
                break;
            }
            let runnable = {
                let mut list = ready.0.lock().expect("one thread uses this lock");
                let chosen = self.world.random.borrow_mut().below(list.len() as u64);
                let chosen = usize::try_from(chosen).unwrap_or(0);
                (!list.is_empty()).then(|| list.swap_remove(chosen))
            };
            match runnable {
                Some(number) => {
                    let Some((task, waker)) = &mut tasks[number] else { continue };
                    let waker = waker.clone();
                    if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                        tasks[number] = None;
                    }
                }
                None => self.next_timer(),
            }
        }
        // Tasks go before the world they refer to.
        drop(tasks);
        self.spawned.borrow_mut().clear();
        result.borrow_mut().take()
    }

    fn next_timer(&self) {
        let next = self.world.pop_timer();
        let (at, waker) = next.expect("nothing can run and no timer is set: a deadlock");
        assert!(
            at < RUN_MAX,
            "still running after {RUN_MAX:?} of simulated time: somebody is stuck"
        );
        self.world.now.set(self.world.now.get().max(at));
        waker.wake();
    }
}

/// The simulated [`Runtime`].
#[derive(Clone)]
pub struct SimRuntime {
    world: Rc<World>,
    disk: SimDisk,
    spawned: Spawned,
}

impl Runtime for SimRuntime {
    type Disk = SimDisk;

    fn disk(&self) -> &SimDisk {
        &self.disk
    }

    fn now(&self) -> Duration {
        self.world.now.get()
    }

    fn wall_ms(&self) -> TimestampMs {
        WALL_START_MS + i64::try_from(self.world.now.get().as_millis()).unwrap_or(0)
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + 'static {
        self.world.sleep(duration)
    }

    fn core(&self) -> CoreUse {
        CoreUse::default()
    }

    fn spawn(&self, _queue: Queue, task: impl Future<Output = ()> + 'static) {
        self.spawned.borrow_mut().push(Box::pin(task));
    }
}
