//! An executor that knows when nothing is left to do, and then moves the clock.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use embassy_time::{Duration, MockDriver};

/// The clock belongs to the whole process: one test at a time.
static CLOCK: Mutex<()> = Mutex::new(());

/// Virtual time after which a test is lost.
const PATIENCE: Duration = Duration::from_secs(600);

/// How far the clock moves at once.
const TICK: Duration = Duration::from_millis(1);

/// Polls of one task without the clock moving: more is spinning.
const POLLS_A_MOMENT: u32 = 20_000;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    flag: Arc<Flag>,
    name: &'static str,
    polls: Rc<Cell<u64>>,
}

/// Tasks and the clock.
#[derive(Clone, Default)]
pub(crate) struct Sim {
    new: Rc<RefCell<Vec<Task>>>,
}

impl Sim {
    /// Adds a task; returns the number of its polls so far.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + 'static,
    ) -> Rc<Cell<u64>> {
        let polls = Rc::new(Cell::new(0));
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        self.new.borrow_mut().push(Task { future: Box::pin(future), flag, name, polls: polls.clone() });
        polls
    }
}

/// Runs a test on a clock that starts at 0.
pub(crate) fn test<F: Future<Output = ()> + 'static>(body: impl FnOnce(Sim) -> F) {
    let _alone: MutexGuard<'_, ()> = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let clock = MockDriver::get();
    clock.reset();
    let sim = Sim::default();
    let done = Rc::new(Cell::new(false));
    let (ends, body) = (done.clone(), body(sim.clone()));
    sim.spawn("test", async move {
        body.await;
        ends.set(true);
    });
    let mut tasks: Vec<Task> = Vec::new();
    let mut waited = Duration::from_ticks(0);
    while !done.get() {
        tasks.append(&mut sim.new.borrow_mut());
        let mut idle = true;
        let mut moment = vec![0; tasks.len()];
        while let Some(number) = tasks.iter().position(|task| task.flag.0.load(Ordering::SeqCst)) {
            // All that are awake take turns.
            for (task, polls) in tasks.iter_mut().zip(&mut moment).skip(number) {
                if !task.flag.0.swap(false, Ordering::SeqCst) {
                    continue;
                }
                idle = false;
                *polls += 1;
                task.polls.set(task.polls.get() + 1);
                assert!(*polls < POLLS_A_MOMENT, "task {} spins", task.name);
                let waker = Waker::from(task.flag.clone());
                if let Poll::Ready(()) = task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    task.future = Box::pin(std::future::pending());
                }
            }
            if done.get() || !sim.new.borrow().is_empty() {
                break;
            }
        }
        if idle {
            clock.advance(TICK);
            waited += TICK;
            assert!(waited < PATIENCE, "the test is not over after {} s", waited.as_secs());
        }
    }
}
