//! Recovery: what of a log is whole after a power cut, on a copy, or after damage at rest.
//!
//! Runs while nobody else has the log open. It trusts checksums and the synced mark, not the tail.
//! Below the mark everything was settled, so what does not check out is damage of the medium: that
//! one slot is sealed and the walk goes on. Above it the log ends at the first slot or batch that
//! does not check out, since what lies behind may have been written out of order.
//!
//! Only slot words are changed here, and only below the mark; the caller zeroes what follows the new
//! tail and puts that on disk before it stores the tail. A log without checksums is judged by its
//! structure alone.

use std::sync::atomic::Ordering::Relaxed;

use crate::layout::{
    sealed_word, slot_size, Field, Slot, Tail, DAMAGED, EMPTY, MAX_RESERVATION, SLOT_HEADER, UNIT,
};
use crate::memory::Memory;
use crate::protocol::Core;

/// What a recovered log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    pub tail: Tail,
    /// Entries that this recovery had to seal.
    pub damaged: u64,
}

/// Finds the end of the log, sealing damaged slots below the synced mark.
pub fn recover<M: Memory>(core: &Core<M>) -> Recovered {
    if core.unzeroed().map_or(false, |units| units > 0) {
        return Recovered {
            tail: Tail::EMPTY,
            damaged: 0,
        };
    }
    let mark = core
        .checked(Field::Synced)
        .filter(|&end| end <= core.units());
    let mut recovery = Recovery {
        core,
        generation: core.generation(),
        settled: mark.unwrap_or(core.units()),
        mark_is_known: mark.is_some(),
        budget: 8 * mark.unwrap_or(core.units()) * UNIT,
        tail: Tail::EMPTY,
        damaged: 0,
    };
    recovery.settled_part();
    recovery.open_part();
    Recovered {
        tail: recovery.tail,
        damaged: recovery.damaged,
    }
}

struct Recovery<'a, M> {
    core: &'a Core<M>,
    generation: u64,
    /// Everything below was settled; the whole region if the mark itself is damaged.
    settled: u64,
    mark_is_known: bool,
    /// Bytes that may still be summed while looking for where a damaged slot ends.
    budget: u64,
    tail: Tail,
    damaged: u64,
}

/// How far a chain of sealed slots is followed to see whether it makes sense.
const CHAIN: u32 = 16;

impl<M: Memory> Recovery<'_, M> {
    fn word(&self, at: u64) -> u32 {
        self.core.memory.load_word(at, Relaxed)
    }

    fn settled_part(&mut self) {
        let mut at = 0;
        while at + SLOT_HEADER < self.settled {
            let next = match Slot::from_word(self.word(at)) {
                Slot::Committed { .. } => self.intact(at, self.word(at), self.settled),
                Slot::Sealed { .. } => self
                    .slot_end(at, self.word(at))
                    .filter(|&next| self.makes_sense(next, CHAIN)),
                _ => None,
            };
            match next.or_else(|| self.mend(at)) {
                Some(next) => {
                    self.tail = Tail::new(at, next - at);
                    at = next;
                }
                // Only without a mark: nothing behind tells that the log goes on.
                None => return,
            }
        }
    }

    /// Above the mark: whole batches as long as they check out. Sealed slots at the very end go,
    /// since nothing tells them from garbage.
    fn open_part(&mut self) {
        let end = self.core.units();
        let (mut at, mut start) = (self.tail.end(), self.tail.end());
        while at + SLOT_HEADER < end {
            let word = self.word(at);
            let (next, more) = match Slot::from_word(word) {
                Slot::Committed { more, .. } => match self.intact(at, word, end) {
                    Some(next) => (next, more),
                    None => return,
                },
                // Inside a batch nothing is ever sealed.
                Slot::Sealed { size } if at == start && (1..=end - at).contains(&size) => {
                    at += size;
                    start = at;
                    continue;
                }
                _ => return,
            };
            if !more {
                self.tail = Tail::new(at, next - at);
                start = next;
            }
            at = next;
        }
    }

    /// Where the slot would end if `word` were its word, and that is below the mark.
    fn slot_end(&self, at: u64, word: u32) -> Option<u64> {
        let size = match Slot::from_word(word) {
            Slot::Committed { len, .. } if len > 0 => slot_size(u64::from(len)),
            Slot::Sealed { size } if size > 0 => size,
            _ => return None,
        };
        Some(at + size).filter(|&next| next <= self.settled)
    }

    /// Where the entry at `at` ends, if it is one under `word` and its checksum agrees.
    fn intact(&self, at: u64, word: u32, limit: u64) -> Option<u64> {
        let len = match Slot::from_word(word) {
            Slot::Committed { len, .. } if len > 0 => len as usize,
            _ => return None,
        };
        let next = at + slot_size(len as u64);
        let sum = || self.core.entry_crc(at, word, len, self.generation);
        let agrees =
            next <= limit && (!self.core.checksums() || self.core.memory.load_aux(at) == sum());
        agrees.then_some(next)
    }

    /// The same within the budget, for guesses.
    fn guess(&mut self, at: u64, word: u32) -> Option<u64> {
        let next = self.slot_end(at, word)?;
        self.budget = self.budget.checked_sub((next - at) * UNIT)?;
        self.intact(at, word, self.settled)
    }

    /// Whether a slot may well begin at `at`.
    fn makes_sense(&mut self, at: u64, chain: u32) -> bool {
        if at == self.settled || chain == 0 {
            return true;
        }
        if at + SLOT_HEADER >= self.settled {
            return false;
        }
        let word = self.word(at);
        match Slot::from_word(word) {
            Slot::Committed { .. } => self.guess(at, word).is_some(),
            Slot::Sealed { .. } => match self.slot_end(at, word) {
                Some(next) => self.makes_sense(next, chain - 1),
                None => false,
            },
            _ => false,
        }
    }

    /// Seals the damaged slot at `at`, as narrowly as what is around it allows.
    fn mend(&mut self, at: u64) -> Option<u64> {
        if !self.core.checksums() {
            return self.give_up(at);
        }
        let word = self.word(at);
        if word == EMPTY && !self.mark_is_known {
            return None;
        }
        let neighbours = || (0..u32::BITS).map(move |bit| word ^ 1 << bit);
        let is_sealed = |word: &u32| matches!(Slot::from_word(*word), Slot::Sealed { .. });

        // One bit of the word, and the rest of the entry agrees.
        if let Some(next) = neighbours().find_map(|word| self.guess(at, word)) {
            return self.close(at, next);
        }
        // Payload or checksum: the length still leads somewhere.
        let by_length = Some(word).filter(|word| !is_sealed(word));
        if let Some(next) = by_length.and_then(|word| self.leads_on(at, word)) {
            return self.close(at, next);
        }
        // One bit of a sealed slot's word. The members of a sealed batch check out by themselves and
        // must not be found by the search below.
        let sealed = neighbours().filter(is_sealed);
        if let Some(next) = sealed.into_iter().find_map(|word| self.leads_on(at, word)) {
            self.seal(at, next, 0);
            return Some(next);
        }
        match (at + 1..self.settled).find(|&behind| {
            behind + SLOT_HEADER < self.settled && self.guess(behind, self.word(behind)).is_some()
        }) {
            Some(next) => self.close(at, next),
            None => self.give_up(at),
        }
    }

    fn leads_on(&mut self, at: u64, word: u32) -> Option<u64> {
        self.slot_end(at, word)
            .filter(|&next| self.makes_sense(next, CHAIN))
    }

    fn give_up(&mut self, at: u64) -> Option<u64> {
        if self.mark_is_known {
            self.close(at, self.settled)
        } else {
            None
        }
    }

    fn close(&mut self, at: u64, next: u64) -> Option<u64> {
        self.damaged += 1;
        self.seal(at, next, DAMAGED);
        Some(next)
    }

    fn seal(&mut self, from: u64, to: u64, aux: u32) {
        let mut at = from;
        while at < to {
            let size = MAX_RESERVATION.min(to - at);
            if size >= SLOT_HEADER && aux != 0 {
                self.core.memory.store_aux(at, aux);
            }
            self.core.memory.store_word(at, sealed_word(size), Relaxed);
            at += size;
        }
    }
}
