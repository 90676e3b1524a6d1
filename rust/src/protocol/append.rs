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
    #[inline]
    pub fn append(&self, entry: Entry<'_>) -> Result<u64, Refusal> {
        self.place(entry.slot_size(), |at| self.fill(at, entry, false))
    }

    /// Appends all entries or none, as one reservation that the first member's commit publishes.
    /// Gives the place of the first; the others follow one another.
    pub fn append_batch<'a>(
        &self,
        entries: impl Iterator<Item = Entry<'a>> + Clone,
    ) -> Result<u64, Refusal> {
        let size = entries
            .clone()
            .try_fold(0u64, |sum, entry| sum.checked_add(entry.slot_size()))
            .filter(|size| (1..=layout::MAX_RESERVATION).contains(size))
            .ok_or(Refusal::Full)?;
        self.place(size, |first_at| {
            let mut rest = entries.clone().peekable();
            let first = match rest.next() {
                Some(first) => first,
                None => return layout::EMPTY,
            };
            let more = rest.peek().is_some();
            let mut at = first_at + first.slot_size();
            while let Some(entry) = rest.next() {
                let word = self.fill_as(at, entry, rest.peek().is_some(), LATER);
                // Pairs: B.
                self.memory.store_word(at, word, Release);
                at += entry.slot_size();
            }
            self.fill(first_at, first, more)
        })
    }

    #[inline]
    pub(super) fn place(&self, size: u64, fill: impl Fn(u64) -> u32) -> Result<u64, Refusal> {
        for attempt in 0..=MAX_ATTEMPTS {
            let at = self.reserve(size)?;
            if attempt > 0 {
                self.memory.store_aux(at, attempt);
            }
            let word = fill(at);
            if self.commit(at, size, word) {
                self.wake();
                return Ok(at);
            }
        }
        Err(Refusal::Full)
    }

    #[inline]
    pub(super) fn reserve(&self, size: u64) -> Result<u64, Refusal> {
        let mut tail = self.tail();
        for race in 0..RACES {
            if !self.holds(tail) {
                return Err(if tail == Tail::RESETTING {
                    Refusal::Resetting
                } else {
                    Refusal::Damaged
                });
            }
            let at = tail.end();
            if size > self.units - at {
                return Err(Refusal::Full);
            }
            self.memory.back(at + size).map_err(Refusal::NoSpace)?;
            self.publish(tail);
            let next = Tail::new(at, size);
            // Pairs: T. Acquire on failure, since the loop goes on with what it saw.
            match self.memory.exchange(Field::Tail, tail.0, next.0, AcqRel) {
                Ok(_) => return Ok(at),
                Err(_) if race < POLITE_RACES => {
                    self.memory.back_off();
                    tail = self.tail();
                }
                Err(now) => tail = Tail(now),
            }
        }
        Err(Refusal::Damaged)
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
    #[inline]
    pub(super) fn fill(&self, at: u64, entry: Entry<'_>, more: bool) -> u32 {
        self.fill_as(at, entry, more, 0)
    }

    #[inline]
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

    /// False if the slot was sealed. Pairs: W, L.
    #[inline]
    pub(super) fn commit(&self, at: u64, size: u64, word: u32) -> bool {
        let mut seen = self.memory.load_word(at, Relaxed);
        // The word moves on once before it is final: somebody may publish the size.
        for _ in 0..2 {
            if seen != layout::EMPTY && seen != reserved_word(size) {
                return false;
            }
            match self.memory.exchange_word(at, seen, word, SeqCst) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }
}
