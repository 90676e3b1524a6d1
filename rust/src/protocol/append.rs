//! Append: reserve, fill, commit, and again if somebody sealed the slot meanwhile.
//!
//! Does not read, and does not look at the log beyond the last reservation.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

use super::{Core, RACES};
use crate::layout::{self, committed_word, reserved_word, slot_size, Field, Tail, LATER};
use crate::memory::Memory;

/// How often a writer whose slot was sealed appends again. Each attempt doubles the patience that
/// readers have with it, so a live writer wins long before.
pub(super) const MAX_ATTEMPTS: u32 = 16;

/// How often a writer that came second backs off, so that the first has the cache lines to itself for a
/// while: two that take each other's at every append get less done than one alone.
const POLITE_RACES: u32 = 16;

/// Why nothing was appended. Nothing was reserved either, except after `MAX_ATTEMPTS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not fit.
    Full,
    /// A reset is under way.
    Resetting,
    /// The tail word points outside the data region.
    Damaged,
    /// The system has no room for what the log had not taken yet; its `errno`.
    NoSpace(i32),
}

/// What is to be appended: at least one byte and at most [`layout::MAX_ENTRY`], which the caller checks.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub data: &'a [u8],
    pub utf8: bool,
}

impl Entry<'_> {
    fn word(&self, more: bool) -> u32 {
        committed_word(self.data.len(), self.utf8, more)
    }

    #[inline]
    pub fn slot_size(&self) -> u64 {
        slot_size(self.data.len() as u64)
    }

    /// Bytes from its offset to the next entry's.
    pub fn bytes_taken(&self) -> u64 {
        self.slot_size() * layout::UNIT
    }
}

impl<M: Memory> Core<M> {
    /// Appends one entry; its place.
    #[inline(always)]
    pub fn append(&self, entry: Entry<'_>) -> Result<u64, Refusal> {
        let size = entry.slot_size();
        let at = self.reserve(size)?;
        let word = self.fill(at, entry, false);
        if self.commit(at, size, word) {
            return Ok(at);
        }
        self.append_again(entry.data, entry.utf8)
    }

    // Not an `Entry`, which the caller would then have in memory instead of in registers.
    #[cold]
    fn append_again(&self, data: &[u8], utf8: bool) -> Result<u64, Refusal> {
        let entry = Entry { data, utf8 };
        self.place_again(entry.slot_size(), |at| self.fill(at, entry, false))
    }

    /// Appends all entries or none, as one reservation that the first member's commit publishes.
    /// Gives the place of the first; the others follow one another.
    pub fn append_batch<'a>(
        &self,
        entries: impl ExactSizeIterator<Item = Entry<'a>> + Clone,
    ) -> Result<u64, Refusal> {
        // No memory holds so many entries that the sum comes near 2^64.
        let size = entries.clone().map(|entry| entry.slot_size()).sum();
        if !(1..=layout::MAX_RESERVATION).contains(&size) {
            return Err(Refusal::Full);
        }
        self.place(size, |first_at| {
            let mut rest = entries.clone();
            let first = match rest.next() {
                Some(first) => first,
                None => return layout::EMPTY,
            };
            let more = rest.len() > 0;
            let mut left = rest.len();
            let mut at = first_at + first.slot_size();
            for entry in rest {
                left -= 1;
                let word = self.fill_as(at, entry, left > 0, LATER);
                // Pairs: B.
                self.memory.store_word(at, word, Release);
                at += entry.slot_size();
            }
            // Last, since its aux is the attempt until then.
            self.fill(first_at, first, more)
        })
    }

    pub(crate) fn place(&self, size: u64, fill: impl Fn(u64) -> u32) -> Result<u64, Refusal> {
        let at = self.reserve(size)?;
        if self.commit(at, size, fill(at)) {
            return Ok(at);
        }
        self.place_again(size, fill)
    }

    #[cold]
    fn place_again(&self, size: u64, fill: impl Fn(u64) -> u32) -> Result<u64, Refusal> {
        for attempt in 1..=MAX_ATTEMPTS {
            let at = self.reserve(size)?;
            self.memory.store_aux(at, attempt);
            if self.commit(at, size, fill(at)) {
                return Ok(at);
            }
        }
        Err(Refusal::Full)
    }

    #[inline(always)]
    pub(super) fn reserve(&self, size: u64) -> Result<u64, Refusal> {
        match self.race(size)? {
            Some(reserved) => Ok(reserved),
            None => self.reserve_politely(size),
        }
    }

    #[cold]
    fn reserve_politely(&self, size: u64) -> Result<u64, Refusal> {
        for race in 1..RACES {
            if race <= POLITE_RACES {
                self.memory.back_off();
            }
            if let Some(reserved) = self.race(size)? {
                return Ok(reserved);
            }
        }
        Err(Refusal::Damaged)
    }

    /// Reserves behind the last reservation, unless somebody else is first.
    #[inline(always)]
    fn race(&self, size: u64) -> Result<Option<u64>, Refusal> {
        let tail = self.tail();
        let at = tail.end();
        // Both are far below 2^63, whatever the tail word holds.
        if at + size > self.units {
            return Err(self.refusal(tail));
        }
        self.memory.back(at, at + size).map_err(Refusal::NoSpace)?;
        self.publish(tail);
        let next = Tail::new(at, size);
        // Pairs: T.
        let raced = self.memory.exchange(Field::Tail, tail.0, next.0, AcqRel);
        Ok(raced.ok().map(|_| at))
    }

    #[cold]
    fn refusal(&self, tail: Tail) -> Refusal {
        if tail == Tail::RESETTING {
            Refusal::Resetting
        } else if self.holds(tail) {
            Refusal::Full
        } else {
            Refusal::Damaged
        }
    }

    /// Puts the size of the last reservation into its own slot, before the tail forgets it (I1).
    #[inline]
    fn publish(&self, tail: Tail) {
        let at = tail.start();
        if tail.size() != 0 && self.memory.load_word(at, Relaxed) == layout::EMPTY {
            // Whoever was first has published the same size, or gone further. Carried by T.
            let _ =
                self.memory
                    .exchange_word(at, layout::EMPTY, reserved_word(tail.size()), AcqRel);
        }
    }

    /// Writes payload and aux; the word to commit them with.
    #[inline(always)]
    pub(crate) fn fill(&self, at: u64, entry: Entry<'_>, more: bool) -> u32 {
        self.fill_as(at, entry, more, 0)
    }

    #[inline(always)]
    fn fill_as(&self, at: u64, entry: Entry<'_>, more: bool, kind: u32) -> u32 {
        let word = entry.word(more);
        self.memory.write_payload(at, entry.data);
        if self.checksums {
            // The generation is taken after the reservation, so that it is that of the log the
            // entry stands in.
            let generation = self.memory.load(Field::Generation, Acquire);
            self.memory.store_aux(
                at,
                kind ^ self.entry_crc(at, word, entry.data.len(), generation),
            );
        }
        word
    }

    /// Commits and wakes; false if the slot was sealed. Pairs: W, L.
    #[inline(always)]
    pub(super) fn commit(&self, at: u64, size: u64, word: u32) -> bool {
        let is_committed = match self.memory.exchange_word(at, layout::EMPTY, word, SeqCst) {
            Ok(_) => true,
            Err(seen) => self.commit_published(at, size, seen, word),
        };
        if is_committed {
            self.wake();
        }
        is_committed
    }

    /// The word moves on once before it is final: when somebody publishes the size.
    #[cold]
    fn commit_published(&self, at: u64, size: u64, seen: u32, word: u32) -> bool {
        let mut seen = seen;
        if seen == reserved_word(size) {
            match self.memory.exchange_word(at, seen, word, SeqCst) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        self.vouch(at, seen);
        false
    }
}
