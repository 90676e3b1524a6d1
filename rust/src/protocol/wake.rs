//! Waiting and waking, with a counter that heals itself.
//!
//! A waiter registers, looks again, sleeps. Whoever commits or seals looks at the wake word and, if
//! somebody is registered, swaps in the next sequence with no waiters and wakes all. So a waiter
//! that was killed costs one wake-up, once. The sleep itself is the memory's.

use std::sync::atomic::Ordering::SeqCst;

use super::{Core, RACES};
use crate::layout::{Field, Wake};
use crate::memory::Memory;

/// A registration, good for one sleep.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    sequence: u32,
}

impl<M: Memory> Core<M> {
    /// Wakes whoever has registered. Called after each commit and seal. Pairs: L.
    #[inline]
    pub fn wake(&self) {
        self.memory.store_load_barrier();
        let seen = Wake(self.memory.load(Field::Wake, SeqCst));
        if seen.waiters() != 0 {
            self.wake_registered(seen);
        }
    }

    #[cold]
    fn wake_registered(&self, first: Wake) {
        let mut seen = first;
        for _ in 0..RACES {
            // Another sequence: somebody else has woken all that were registered when we came.
            if seen.waiters() == 0 || seen.sequence() != first.sequence() {
                return;
            }
            let next = Wake::new(seen.sequence().wrapping_add(1), 0);
            // A CAS, since a plain swap would drop the registrations that came in between.
            match self.memory.exchange(Field::Wake, seen.0, next.0, SeqCst) {
                Ok(_) => return self.memory.wake_all(),
                Err(now) => seen = Wake(now),
            }
        }
    }

    /// Registers; after this the caller must look again at what it waits for. Pairs: L.
    pub fn register(&self) -> Ticket {
        let mut seen = Wake(self.memory.load(Field::Wake, SeqCst));
        if !self.memory.is_writable() {
            // Woken only if somebody else has registered too.
            return Ticket {
                sequence: seen.sequence(),
            };
        }
        for _ in 0..RACES {
            let next = Wake::new(seen.sequence(), seen.waiters().wrapping_add(1));
            match self.memory.exchange(Field::Wake, seen.0, next.0, SeqCst) {
                Ok(_) => break,
                Err(now) => seen = Wake(now),
            }
        }
        self.memory.store_load_barrier();
        Ticket {
            sequence: seen.sequence(),
        }
    }

    pub fn sleep(&self, ticket: Ticket, nanoseconds: u64) {
        self.memory.sleep(ticket.sequence, nanoseconds);
    }

    /// Takes the registration back, unless a wake-up has done so.
    pub fn leave(&self, ticket: Ticket) {
        let mut seen = Wake(self.memory.load(Field::Wake, SeqCst));
        if !self.memory.is_writable() {
            return;
        }
        for _ in 0..RACES {
            if seen.sequence() != ticket.sequence || seen.waiters() == 0 {
                return;
            }
            let next = Wake::new(seen.sequence(), seen.waiters() - 1);
            match self.memory.exchange(Field::Wake, seen.0, next.0, SeqCst) {
                Ok(_) => return,
                Err(now) => seen = Wake(now),
            }
        }
    }

    pub fn waiters(&self) -> u32 {
        Wake(self.memory.load(Field::Wake, SeqCst)).waiters()
    }
}
