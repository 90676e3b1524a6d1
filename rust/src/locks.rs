//! The locks of a log: who lives, and who changes the whole of it.
//!
//! They are open file description locks on single bytes of the file, which may be those of the
//! header: locks are advisory and touch nothing.
//!
//! A handle holds [`LIFE`] shared for its whole life, on a description that forked children rightly
//! share. An exclusive lock is taken only on a description that this very process has opened for
//! the purpose, since processes that share a description do not exclude one another.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::{failed, Reason, Result};
use crate::sys::{self, Lock, Owner};

/// A byte that can be locked, and its name in messages.
#[derive(Clone, Copy, Debug)]
pub struct Byte(i64, &'static str);

/// Held exclusively while a log is made or reset.
pub const CHANGE: Byte = Byte(0, "change");
/// Held shared by every handle; to be had exclusively only if nobody has the log open.
pub const LIFE: Byte = Byte(1, "life");
/// Held shared from the look whether recovery is due until [`LIFE`] is held, exclusively to recover.
/// So whoever has `LIFE` shared has found a whole log, and its being held proves one.
pub const ATTACH: Byte = Byte(2, "attach");

const POLL: Duration = Duration::from_millis(1);
/// Longer than recovering a large log takes; who holds a lock for this long is stopped.
const LIMIT: Duration = Duration::from_secs(60);

pub fn try_lock(file: &File, byte: Byte, lock: Lock) -> Result<bool> {
    try_lock_as(Owner::Description, file, byte, lock)
}

pub fn lock(file: &File, byte: Byte, lock: Lock) -> Result<()> {
    lock_as(Owner::Description, file, byte, lock)
}

pub fn unlock(file: &File, byte: Byte) -> Result<()> {
    unlock_as(Owner::Description, file, byte)
}

pub fn try_lock_as(owner: Owner, file: &File, byte: Byte, lock: Lock) -> Result<bool> {
    sys::try_lock(owner, file, byte.0, lock).map_err(failed("lock"))
}

/// Waits for a lock, but not for ever.
pub fn lock_as(owner: Owner, file: &File, byte: Byte, lock: Lock) -> Result<()> {
    wait_for(byte, || {
        Ok(try_lock_as(owner, file, byte, lock)?.then_some(()))
    })
}

fn wait_for<T>(byte: Byte, attempt: impl Fn() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        match attempt()? {
            Some(had) => return Ok(had),
            None if start.elapsed() > LIMIT => {
                return Err(Reason::LockTimeout { lock: byte.1 }.into())
            }
            None => sleep(POLL),
        }
    }
}

/// The process whose thread has taken its turn, or 0.
static TURN: AtomicU64 = AtomicU64::new(0);

/// One thread's turn among those of its process, which the process's own locks do not keep apart.
#[derive(Debug)]
pub struct Turn(());

impl Turn {
    pub fn wait(byte: Byte) -> Result<Turn> {
        wait_for(byte, || Ok(Turn::take()))
    }

    pub fn take() -> Option<Turn> {
        let here = sys::incarnation();
        // What a thread of the parent had when it forked is nobody's here.
        let seen = TURN.load(Ordering::Relaxed);
        let taken = seen != here
            && TURN
                .compare_exchange(seen, here, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        taken.then(|| Turn(()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TURN.store(0, Ordering::Release);
    }
}

pub fn unlock_as(owner: Owner, file: &File, byte: Byte) -> Result<()> {
    try_lock_as(owner, file, byte, Lock::None).map(drop)
}

/// Whether another description has the lock, in whichever way.
pub fn is_locked(file: &File, byte: Byte) -> Result<bool> {
    sys::is_locked(file, byte.0).map_err(failed("lock"))
}
