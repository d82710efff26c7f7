//! An executor that sleeps between two wake-ups.
//!
//! embassy-executor's own waits for events with WFE, which QEMU does not sleep in: it would take a whole core of the
//! host. This one waits for an interrupt.

use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::asm::wfi;
use embassy_executor::{Spawner, raw};
use static_cell::StaticCell;

static EXECUTOR: StaticCell<raw::Executor> = StaticCell::new();
static WOKEN: AtomicBool = AtomicBool::new(false);

#[unsafe(export_name = "__pender")]
fn pender(_: *mut ()) {
    WOKEN.store(true, Ordering::SeqCst);
}

/// What tasks are put together from on the stack is gone before they run.
#[inline(never)]
fn start(executor: &'static raw::Executor, spawn: impl FnOnce(Spawner)) {
    spawn(executor.spawner());
}

/// Runs what `spawn` spawns, for ever.
pub fn run(spawn: impl FnOnce(Spawner)) -> ! {
    let executor: &'static raw::Executor = EXECUTOR.init(raw::Executor::new(core::ptr::null_mut()));
    start(executor, spawn);
    loop {
        // SAFETY: this is the only call, and no task can make it: it is not called from within itself.
        unsafe { executor.poll() };
        // An interrupt between the look and the sleep stays pending, and ends the sleep though it is masked.
        critical_section::with(|_| {
            if !WOKEN.swap(false, Ordering::SeqCst) {
                wfi();
            }
        });
    }
}
