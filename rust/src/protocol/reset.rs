//! Reset: empties the log, in steps that whoever comes next can finish.
//!
//! The caller holds the log's lock; who meets a reset that nobody holds the lock for takes it and
//! calls the same function. Not safe beside writers that are in the middle of an append.
//!
//! 1. `AppendsThen` := all appends so far; `Reset` := units in use, valid only under the generation
//!    to come
//! 2. tail := `RESETTING`
//! 3. generation + 1, `Synced` := 0 (for a file: on disk before anything is zeroed)
//! 4. what was used is zeroed; truncation, hole record := none
//! 5. `AppendsBefore` := `AppendsThen`, `Reset` := 0, tail := 0
//!
//! Killed before 2 nothing has happened, since the record of 1 fits no generation. Killed later the
//! record says how far to zero; should it be unreadable, everything is zeroed. The generation goes
//! first in 3, so that no power cut finds the old log without its mark. Steps 3 to 5 store what they
//! would store again, so whoever goes through them twice does no harm.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{Core, RACES};
use crate::layout::{self, Checked, Field, Hole, Tail};
use crate::memory::Memory;

/// The record of a reset that has nothing more to zero; else it is the units, and `IN_USE`.
const NOTHING_LEFT: u64 = 0;
const IN_USE: u64 = 1;
/// Units of a log whose tail does not tell.
const BEYOND: u64 = layout::MAX_DATA_SIZE / layout::UNIT + 1;

impl<M: Memory> Core<M> {
    /// Empties the log, or finishes emptying it; `entries` is how many it held, for the statistics.
    /// `flush` puts the header on disk; what it says is handed on, the log is emptied all the same.
    pub fn reset<E>(&self, entries: u64, flush: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let resumed = self.announce(entries);
        let store = |field, value| self.memory.store(field, value, Release);
        if !resumed || self.unzeroed().is_none() {
            // Pairs: G.
            store(Field::Generation, self.next_generation());
        }
        store(Field::Synced, self.seal_field(Field::Synced, 0));
        // Also one who finishes a reset, since nobody knows whether its process came that far.
        let flushed = flush();
        match self.unzeroed() {
            Some(left) if left <= self.units => self.memory.zero(0, left),
            _ => self.memory.zero_all(),
        }
        self.conclude_reset();
        flushed
    }

    /// What remains once everything is zeroed.
    pub fn conclude_reset(&self) {
        let store = |field, value| self.memory.store(field, value, Release);
        store(Field::Truncation, self.seal_field(Field::Truncation, 0));
        store(Field::Hole, Hole::NONE.0);
        store(Field::Damaged, 0);
        self.count_as_before();
        store(
            Field::Reset,
            self.reset_record(self.generation(), NOTHING_LEFT),
        );
        // Pairs: Z.
        store(Field::Tail, Tail::EMPTY.0);
        self.wake();
    }

    /// Counts what an unfinished reset takes away among the appends before it.
    pub fn count_as_before(&self) {
        let appends = self.memory.load(Field::AppendsThen, Relaxed);
        self.memory.store(Field::AppendsBefore, appends, Release);
    }

    /// Units that an unfinished reset has still to zero. `None` if none was begun under this
    /// generation, or its record is damaged.
    pub fn unzeroed(&self) -> Option<u64> {
        let record = self.memory.load(Field::Reset, Acquire);
        Checked::open(self.salt, Field::Reset, self.generation(), record)
            .map(|value| value.saturating_sub(IN_USE))
    }

    /// Steps 1 and 2. Whether somebody else had done them.
    fn announce(&self, entries: u64) -> bool {
        let mut tail = self.tail();
        let before = self.memory.load(Field::AppendsBefore, Relaxed);
        for _ in 0..RACES {
            if tail == Tail::RESETTING {
                return true;
            }
            let used = if self.holds(tail) { tail.end() } else { BEYOND };
            let record = self.reset_record(self.next_generation(), IN_USE + used);
            self.memory.store(Field::Reset, record, Relaxed);
            self.memory
                .store(Field::AppendsThen, before.wrapping_add(entries), Relaxed);
            match self
                .memory
                .exchange(Field::Tail, tail.0, Tail::RESETTING.0, AcqRel)
            {
                Ok(_) => return false,
                Err(now) => tail = Tail(now),
            }
        }
        false
    }

    fn next_generation(&self) -> u64 {
        let now = self.checked(Field::Generation).unwrap_or(0);
        self.seal_field(Field::Generation, now.wrapping_add(1))
    }

    fn reset_record(&self, generation: u64, value: u64) -> u64 {
        Checked::seal(self.salt, Field::Reset, generation, value)
    }
}
