//! A thread that turns wake-ups into signals of an eventfd, for event loops.
//!
//! An event loop waits for descriptors, and a writer that attached by path knows none of ours. What it
//! does know is the log's wake word, so a thread of the listening process sleeps there. It costs an
//! append what any waiter does, and nothing while nobody listens.
//!
//! The thread blocks all signals, so that they reach the others. It is not inherited over fork.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::log::{Event, Log, Waited, NO_DEADLINE};
use crate::memory::Memory;
use crate::region::Region;
use crate::sys;

/// After a signal the thread stays away for so long: a burst of appends pays for one wake-up.
const REST: Duration = Duration::from_millis(1);
/// How long it takes at most to notice that it shall stop, if it was about to sleep just then.
const POLL: Duration = Duration::from_millis(1);
const STACK: usize = 128 << 10;

/// A handle's watch, if it has one. A clone has none.
#[derive(Debug, Default)]
pub(crate) struct Watching(RefCell<Option<Watch>>);

impl Clone for Watching {
    fn clone(&self) -> Watching {
        Watching::default()
    }
}

impl Watching {
    /// Whether a thread of this very process is at work.
    pub(crate) fn is_on(&self) -> bool {
        (self.0.borrow().as_ref()).map_or(false, |watch| watch.process == sys::incarnation())
    }

    /// Signals `event` from now on whenever the count of entries differs from what `log` saw last.
    pub(crate) fn start(&self, log: Log, event: Event) -> io::Result<()> {
        self.stop();
        *self.0.borrow_mut() = Some(Watch::start(log, event)?);
        Ok(())
    }

    pub(crate) fn stop(&self) {
        self.0.borrow_mut().take();
    }
}

#[derive(Debug)]
struct Watch {
    shall_stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// To wake the thread by.
    region: Arc<Region>,
    process: u64,
}

impl Watch {
    fn start(log: Log, event: Event) -> io::Result<Watch> {
        let shall_stop = Arc::new(AtomicBool::new(false));
        let (stop, region) = (shall_stop.clone(), log.region());
        let thread = sys::without_signals(|| {
            thread::Builder::new()
                .name("log-shared".into())
                .stack_size(STACK)
                .spawn(move || watch(&log, &event, &stop))
        })?;
        Ok(Watch {
            shall_stop,
            thread: Some(thread),
            region,
            process: sys::incarnation(),
        })
    }
}

fn watch(log: &Log, event: &Event, stop: &AtomicBool) {
    let mut seen = log.last_seen();
    let look = || {
        log.entry_count();
        log.last_seen()
    };
    while !stop.load(Ordering::Relaxed) {
        // Not by the count alone: as many entries may have come since a reset.
        if log.wait_until(NO_DEADLINE, false, || look() != seen) == Waited::Changed {
            seen = look();
            // It can fail only if the user has closed their own; then nobody listens.
            let _ = sys::eventfd_signal(event.fd());
            thread::sleep(REST);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => return,
        };
        if self.process != sys::incarnation() {
            // There is no such thread here; to join it would be to wait for ever.
            mem::forget(thread);
            return;
        }
        self.shall_stop.store(true, Ordering::Relaxed);
        while !thread.is_finished() {
            self.region.core.memory.wake_all();
            thread::sleep(POLL);
        }
        let _ = thread.join();
    }
}
