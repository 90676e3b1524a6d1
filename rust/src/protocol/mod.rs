//! The protocol: how processes that may die or pause at any instruction share one log.
//!
//! No unsafe code and no system calls; files, locks and the mapping are elsewhere.
//!
//! # The idea
//!
//! A writer reserves a slot by one CAS on the tail word, fills it, and commits it by one CAS on the
//! slot's own word. Everything hard follows from the question what happens when it stops between
//! the two.
//!
//! **The size of every reservation is known from the instant it exists (I1).** The tail word holds
//! the last reservation's start and size, and nobody moves the tail on before the size stands in
//! the reservation's own slot. So a reader can always tell where the next slot begins, whoever died.
//!
//! **A slot's word changes state only by CAS, and `COMMITTED` and `SEALED` are final (I2).** A reader
//! that has waited long enough seals the slot with the very CAS that the writer would commit it
//! with. One of them wins. A writer that finds its slot sealed appends again further on; what it
//! wrote meanwhile lies in a slot that nobody looks into. No guess about who is alive is ever needed,
//! and a wrong one costs time, not data.
//!
//! **Only a boundary reached by walking is sealed (I3).** A caller's offset may point into the middle
//! of a payload that looks like a slot.
//!
//! The count of entries is not stored but derived by that same walk, so it cannot disagree with
//! what a reader reads, and an append is spared an atomic.
//!
//! # Orderings
//!
//! | store | load | what it carries |
//! |---|---|---|
//! | **T** tail CAS, release ([`append`]) | tail, acquire ([`Core::tail`]) | the size published in the previous slot, I1 |
//! | **W** commit CAS, at least release ([`append`]) | slot word, acquire ([`walk`]) | payload, aux, and all later members of a batch |
//! | **B** word of a later batch member, release | slot word, acquire | that member's payload, for a walk that enters there |
//! | **Z** tail store after zeroing, release ([`reset`]) | tail, acquire | the zeroes, for the next writer |
//! | **G** generation store, release ([`reset`]) | generation, acquire | a reader that sees the new generation no longer sees the old tail; by Z one that sees the emptied tail sees the new generation |
//! | **H** hole CAS, release ([`walk`]) | hole word, then slot word again, acquire | that the slots before that hole are settled, so nobody puts an earlier one back |
//! | **X** truncation CAS, release ([`truncate`]) | truncation, acquire | the tail that was walked to, which is never seen below the truncation |
//! | **L** commit or seal CAS, then wake load, both SeqCst ([`wake`]) | registration CAS, then word load, both SeqCst | either the committer sees the waiter or the waiter sees the entry |
//!
//! L is a store-load pair, which release and acquire do not order. Which check fails when one of them
//! is weakened, and why nothing fails for the rest, is in `rust/model/README.md`.
//!
//! What else there is carries nothing. Relaxed: looks at a word before a CAS that decides; aux, which W
//! publishes and which is a hint until then; statistics; hints and caches of one process. Acquire and
//! release, though less would do: reset's stores of other fields, which Z carries to writers and its lock
//! to others; the synced mark and a failed sync, each a number by itself. Recovery is alone, and the locks
//! on the file order it with what comes before and behind. A CAS that fails acquires as a load does.
//! Payload is copied without atomics, between T and W.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::layout::{Checked, Field, Tail};
use crate::memory::Memory;

mod append;
mod reset;
mod truncate;
mod wake;
pub mod walk;

pub use append::{Entry, Refusal};
pub use walk::{Found, Located, Patience, Position, Stop};

/// How often a CAS on a contended word is tried before its memory counts as broken. Each failure
/// means that another process got on, so only a hostile one makes anybody come near.
const RACES: u32 = 1 << 20;

/// The protocol on one log's memory, with this process's own copies of what bounds every access.
#[derive(Debug)]
pub struct Core<M> {
    pub memory: M,
    units: u64,
    salt: u64,
    checksums: bool,
    /// The checksum over the salt and the low half of a generation, which tells one reset from the
    /// next, and that half itself. A private cache, so relaxed.
    prefix: AtomicU64,
}

impl<M: Memory> Core<M> {
    /// `units` is the size of the data region, `salt` and `checksums` are the log's own.
    pub fn new(memory: M, units: u64, salt: u64, checksums: bool) -> Core<M> {
        Core {
            memory,
            units,
            salt,
            checksums,
            prefix: AtomicU64::new(Self::prefix_for(salt, 0)),
        }
    }

    fn prefix_for(salt: u64, generation: u32) -> u64 {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&salt.to_ne_bytes());
        bytes[8..].copy_from_slice(&generation.to_ne_bytes());
        u64::from(crc32c::crc32c(&bytes)) << 32 | u64::from(generation)
    }

    pub fn units(&self) -> u64 {
        self.units
    }

    pub fn salt(&self) -> u64 {
        self.salt
    }

    pub fn checksums(&self) -> bool {
        self.checksums
    }

    /// The tail word. Pairs: T, Z.
    #[inline]
    pub fn tail(&self) -> Tail {
        Tail(self.memory.load(Field::Tail, Acquire))
    }

    /// The tail as readers see it: nothing while a reset is under way, nothing beyond the region.
    #[inline]
    pub fn readable_tail(&self) -> Tail {
        let tail = self.tail();
        if self.holds(tail) {
            tail
        } else {
            Tail::EMPTY
        }
    }

    /// Whether the last reservation lies in the data region. `RESETTING` does not.
    #[inline]
    fn holds(&self, tail: Tail) -> bool {
        tail.end() <= self.units
    }

    /// The generation as it stands in the header: compared and mixed into checksums, never used
    /// as a number. Pairs: G.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.memory.load(Field::Generation, Acquire)
    }

    /// The value of a field that checks itself, if it does.
    pub fn checked(&self, field: Field) -> Option<u64> {
        Checked::open(self.salt, field, 0, self.memory.load(field, Acquire))
    }

    pub fn seal_field(&self, field: Field, value: u64) -> u64 {
        Checked::seal(self.salt, field, 0, value)
    }

    /// Raises a self-checking field to `value`; it never goes back.
    fn raise(&self, field: Field, value: u64) {
        use std::sync::atomic::Ordering::AcqRel;
        let mut seen = self.memory.load(field, Acquire);
        for _ in 0..RACES {
            if Checked::open(self.salt, field, 0, seen).map_or(false, |now| now >= value) {
                return;
            }
            match self
                .memory
                .exchange(field, seen, self.seal_field(field, value), AcqRel)
            {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Notes that everything below `end` is settled and on disk.
    pub fn raise_synced(&self, end: u64) {
        self.raise(Field::Synced, end);
    }

    /// The checksum of the entry at `at`, over the bytes as they stand in shared memory. It covers
    /// salt and generation, so that an entry which was cut off or reset cannot pass for a new one.
    #[inline]
    pub fn entry_crc(&self, at: u64, word: u32, len: usize, generation: u64) -> u32 {
        let mut prefix = self.prefix.load(Relaxed);
        if prefix as u32 != generation as u32 {
            prefix = Self::prefix_for(self.salt, generation as u32);
            self.prefix.store(prefix, Relaxed);
        }
        let mut head = [0; 12];
        head[..8].copy_from_slice(&at.to_ne_bytes());
        head[8..].copy_from_slice(&word.to_ne_bytes());
        self.memory
            .payload_crc(at, len, head, (prefix >> 32) as u32)
    }
}

#[cfg(test)]
pub(crate) mod tests;
