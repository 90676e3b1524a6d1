//! The walk: from boundary to boundary, counting, and closing what dead writers left.
//!
//! Every reader goes this one way: counting, waiting, iterating, syncing, truncating. It never
//! passes a slot that may still be committed; it seals it first, for everyone (P3).
//!
//! Does not copy payloads.

use std::cell::Cell;
use std::sync::atomic::Ordering::{AcqRel, Acquire, SeqCst};

use super::append::MAX_ATTEMPTS;
use super::{Core, RACES};
use crate::layout::{sealed_word, slot_size, Field, Hole, Slot, Tail, MIN_SLOT, UNIT};
use crate::memory::Memory;

/// A boundary that was reached by walking from the log's beginning, and what was passed.
///
/// Private to a handle. It belongs to one generation; a reset sends it back to the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    generation: u64,
    /// In units; everything before it is settled.
    pub at: u64,
    /// Entries passed.
    pub count: u64,
    /// Sealed slots passed.
    pub sealed: u64,
}

/// How long a place may stay unwritten before it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Whatever its size.
    AtOnce,
    /// Microseconds for a small slot; a large one gets time to copy on top, unless it is 0.
    Within(u64),
}

impl Patience {
    pub const DEFAULT: Patience = Patience::Within(20_000);
}

/// An entry that may be read: `at` and `next` in units, `len` in bytes, inside the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    pub at: u64,
    pub len: usize,
    pub utf8: bool,
    pub more: bool,
    pub next: u64,
}

/// A slot that is neither committed nor sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    at: u64,
    size: u64,
    word: u32,
}

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Entry(Located),
    Sealed {
        next: u64,
    },
    Open(Open),
    /// The tail.
    End,
    /// No slot that the protocol could have left.
    Broken,
}

/// Why a walk went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It reached the tail, or its limit.
    End,
    /// Somebody may still commit here; the patience with it is over in so many nanoseconds.
    Hole { nanoseconds: u64 },
    /// Damaged memory.
    Broken,
}

/// Nanoseconds that a unit takes at 64 MB/s.
const NANOSECONDS_PER_UNIT: u64 = UNIT * 1_000_000_000 / 64_000_000;
/// When a reader that may not seal looks again.
const READER_NAP: u64 = 1_000_000;
/// Four hours: beyond the horizon of a hole record no patience could ever end.
const MAX_NANOSECONDS: u64 = 4 * 3600 * 1_000_000_000;

impl<M: Memory> Core<M> {
    /// Looks at the slot at `at`, which may be no slot at all. Every size is checked against a
    /// private copy of the tail. Pairs: W, B.
    #[inline(always)]
    pub fn look(&self, at: u64, tail: Tail) -> Found {
        if at >= tail.end() {
            return Found::End;
        }
        let left = tail.end() - at;
        let word = self.memory.load_word(at, Acquire);
        match Slot::from_word(word) {
            Slot::Committed { len, utf8, more } => {
                let size = slot_size(u64::from(len));
                if len == 0 || size > left {
                    return Found::Broken;
                }
                Found::Entry(Located {
                    at,
                    len: len as usize,
                    utf8,
                    more,
                    next: at + size,
                })
            }
            Slot::Sealed { size } if size >= 1 && size <= left => Found::Sealed { next: at + size },
            Slot::Reserved { size } if size >= MIN_SLOT && size <= left => {
                Found::Open(Open { at, size, word })
            }
            Slot::Empty if at == tail.start() && tail.size() >= MIN_SLOT => Found::Open(Open {
                at,
                size: tail.size(),
                word,
            }),
            _ => Found::Broken,
        }
    }

    /// The tail for a walk from `position`, which goes back to the beginning if the log was reset.
    /// The tail is loaded before the generation, since whoever sees the emptied log sees the new
    /// generation too; and again behind a new one, since the first may be of the log before. Else
    /// a walk through the old log would be taken for one of the new. Pairs: G.
    #[inline(always)]
    pub fn refresh(&self, position: &mut Position) -> Tail {
        let tail = self.readable_tail();
        let generation = self.generation();
        if position.generation == generation {
            return tail;
        }
        *position = Position {
            generation,
            ..Position::default()
        };
        self.readable_tail()
    }

    /// Whether there is nothing to walk over from `position`.
    #[inline]
    pub fn is_at_end(&self, position: &Position) -> bool {
        self.tail().end() == position.at && self.generation() == position.generation
    }

    /// Walks on to the tail, or to the first boundary at or behind `limit`.
    pub fn walk(&self, position: &mut Position, limit: u64, patience: Patience) -> Stop {
        let tail = self.refresh(position);
        let mut races = 0;
        while position.at < limit {
            match self.look(position.at, tail) {
                Found::Entry(entry) => {
                    position.pass(&entry);
                    races = 0;
                }
                Found::Sealed { next } => {
                    position.at = next;
                    position.sealed += 1;
                    races = 0;
                }
                Found::Open(open) => {
                    let nanoseconds = self.close(open, patience);
                    if nanoseconds > 0 {
                        return Stop::Hole { nanoseconds };
                    }
                    races += 1;
                    if races == RACES {
                        return Stop::Broken;
                    }
                }
                Found::End => return Stop::End,
                Found::Broken => return Stop::Broken,
            }
        }
        Stop::End
    }

    /// The first entry at or behind `at`, which need not be a boundary. What is still being written
    /// is sealed only if the walk from the beginning arrives there too (I3).
    #[inline(always)]
    pub fn locate(
        &self,
        position: &Cell<Position>,
        at: u64,
        patience: Patience,
    ) -> Option<Located> {
        let tail = self.readable_tail();
        // In this order, see `refresh`.
        if position.get().generation == self.generation() {
            if let Found::Entry(entry) = self.look(at, tail) {
                let mut walked = position.get();
                walked.meet(&entry);
                position.set(walked);
                return Some(entry);
            }
        }
        let mut walked = position.get();
        let found = self.search(&mut walked, at, patience);
        position.set(walked);
        found
    }

    #[cold]
    #[inline(never)]
    fn search(&self, position: &mut Position, at: u64, patience: Patience) -> Option<Located> {
        let tail = self.refresh(position);
        let mut at = at;
        loop {
            match self.look(at, tail) {
                Found::Entry(entry) => {
                    position.meet(&entry);
                    return Some(entry);
                }
                Found::Sealed { next } => at = next,
                Found::Open(_) if position.at <= at => {
                    self.walk(position, at + 1, patience);
                    if position.at <= at {
                        return None;
                    }
                }
                _ => return None,
            }
        }
    }

    /// Closes an open slot if the patience with it is over; else how many nanoseconds are left.
    /// Zero means that the slot is worth another look. Pairs: L.
    #[cold]
    fn close(&self, open: Open, patience: Patience) -> u64 {
        if !self.memory.is_writable() {
            return READER_NAP;
        }
        let due = self.due(open, patience);
        if due > 0 {
            let now = self.memory.ticks();
            let record = Hole(self.memory.load(Field::Hole, Acquire));
            // The record may be of a hole further on, if this one was settled meanwhile.
            if self.memory.load_word(open.at, Acquire) != open.word {
                return 0;
            }
            let elapsed = record.elapsed(now);
            if record.at() != open.at || record == Hole::NONE || elapsed > Hole::HORIZON {
                let mine = Hole::new(open.at, now);
                // Whoever came first has started the clock.
                let _ = self.memory.exchange(Field::Hole, record.0, mine.0, AcqRel);
                return due << Hole::TICK_SHIFT;
            }
            if elapsed < due {
                return (due - elapsed) << Hole::TICK_SHIFT;
            }
        }
        let sealed = sealed_word(open.size);
        if self
            .memory
            .exchange_word(open.at, open.word, sealed, SeqCst)
            .is_ok()
        {
            self.vouch(open.at, sealed);
            self.wake();
        }
        0
    }

    /// Tells recovery that the slot at `at` was sealed: nothing else in its word knows the place, so garbage
    /// that looks like it might lead past a lost entry. Both who seals and who was sealed do so, since the
    /// other may have written its own checksum last; whoever dies before leaves a slot that a power cut
    /// ends the log at.
    pub(super) fn vouch(&self, at: u64, sealed: u32) {
        if self.checksums {
            self.memory
                .store_aux(at, self.seal_crc(at, sealed, self.generation()));
        }
    }

    /// What the aux of a sealed slot is in a log with checksums.
    pub fn seal_crc(&self, at: u64, sealed: u32, generation: u64) -> u32 {
        self.entry_crc(at, sealed, 0, generation)
    }

    /// Ticks that an open slot may stay so: the caller's patience and the time to copy the slot at
    /// 64 MB/s, doubled with each attempt of its writer. No patience is none at the first attempt
    /// only, so that impatient readers do not keep a live writer from ever getting through.
    fn due(&self, open: Open, patience: Patience) -> u64 {
        let microseconds = match patience {
            Patience::AtOnce => return 0,
            Patience::Within(microseconds) => microseconds,
        };
        // While the slot is reserved aux is the attempt, until just before the commit it becomes
        // the checksum. Taken for an attempt, that would make a dead writer's place last for ages.
        let aux = self.memory.load_aux(open.at);
        let attempt = if aux <= MAX_ATTEMPTS { aux } else { 0 };
        if microseconds == 0 && attempt == 0 {
            return 0;
        }
        let nanoseconds = microseconds
            .saturating_mul(1000)
            .saturating_add(open.size * NANOSECONDS_PER_UNIT)
            .min(MAX_NANOSECONDS >> attempt)
            << attempt;
        let ticks = nanoseconds >> Hole::TICK_SHIFT;
        // A tick more, since the clock may have started late in its first one.
        if ticks == 0 {
            0
        } else {
            ticks + 1
        }
    }
}

impl Position {
    pub fn generation(&self) -> u64 {
        self.generation
    }

    #[inline]
    fn pass(&mut self, entry: &Located) {
        self.at = entry.next;
        self.count += 1;
    }

    /// Passes an entry that was found some other way, if it is the next one.
    #[inline]
    fn meet(&mut self, entry: &Located) {
        if entry.at == self.at {
            self.pass(entry);
        }
    }

    /// A walk of the same generation from a boundary known from elsewhere; it counts from there.
    pub(super) fn restarted_at(self, at: u64) -> Position {
        Position {
            generation: self.generation,
            at,
            ..Position::default()
        }
    }
}
