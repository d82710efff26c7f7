//! The default spawner: one executor for the whole process.

use std::num::NonZero;
use std::panic::catch_unwind;
use std::sync::LazyLock;
use std::thread;

use async_executor::Executor;

use crate::builder::BoxFuture;

/// More threads than this do not help a transport. Source: two saturate loopback in the prototypes.
const MAX_THREADS: usize = 8;

static EXECUTOR: LazyLock<Executor<'static>> = LazyLock::new(|| {
    // Two at least: a handler that blocks its thread must not stop the others.
    let threads = thread::available_parallelism().map_or(2, NonZero::get).clamp(2, MAX_THREADS);
    for number in 0..threads {
        let spawned = thread::Builder::new().name(format!("kitfox-{number}")).spawn(|| {
            loop {
                // A task that panics has cleaned up after itself; its thread goes on.
                let run = || async_io::block_on(EXECUTOR.run(std::future::pending::<()>()));
                let _ = catch_unwind(run);
            }
        });
        // Without a single thread nothing would ever run; with some, fewer will do.
        assert!(spawned.is_ok() || number > 0, "the system has no thread for kitfox");
    }
    Executor::new()
});

/// Runs a task on the pool, until it ends by itself.
pub(crate) fn spawn(task: BoxFuture<'static, ()>) {
    EXECUTOR.spawn(task).detach();
}
