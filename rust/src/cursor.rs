//! A reader with a position of its own.
//!
//! Has its own walk, so it outlives the handle that it was made from. Knows no entry that it has not
//! returned, and keeps none.

use std::cell::Cell;

use crate::layout::UNIT;
use crate::log::{Log, Payload, Waited};
use crate::protocol::Patience;

#[derive(Clone, Debug)]
pub struct Cursor {
    log: Log,
    /// Where to go on, in bytes. Belongs to `generation`; a reset sends it back to the beginning.
    position: Cell<u64>,
    generation: Cell<u64>,
    /// Of the entry returned last.
    offset: Cell<Option<u64>>,
    missed: Cell<u64>,
}

impl Cursor {
    /// A cursor that begins at `from`, or at the oldest readable entry.
    pub fn new(log: &Log, from: Option<u64>) -> Cursor {
        Cursor {
            position: Cell::new(from.unwrap_or_else(|| log.truncation())),
            generation: Cell::new(log.generation()),
            log: log.clone(),
            offset: Cell::new(None),
            missed: Cell::new(0),
        }
    }

    /// The next entry, if it is there.
    #[inline]
    pub fn next(&self) -> Option<Payload> {
        let position = self.catch_up();
        let found = self.find(position)?;
        if found.offset != position {
            self.miss(found.offset - position);
        }
        self.position.set(found.next);
        self.offset.set(Some(found.offset));
        Some(found)
    }

    /// The first entry at or behind a position that was caught up.
    #[inline(always)]
    fn find(&self, position: u64) -> Option<Payload> {
        if position % UNIT != 0 {
            return None;
        }
        self.log.locate(position / UNIT, Patience::DEFAULT)
    }

    /// Goes to the beginning after a reset, and over what is hidden.
    #[inline(always)]
    fn catch_up(&self) -> u64 {
        let generation = self.log.generation();
        if generation != self.generation.get() {
            self.generation.set(generation);
            self.position.set(0);
        }
        let (position, hidden) = (self.position.get(), self.log.truncation());
        if position < hidden {
            self.miss(hidden - position);
            self.position.set(hidden);
        }
        self.position.get()
    }

    #[cold]
    fn miss(&self, bytes: u64) {
        self.missed.set(self.missed.get() + bytes);
    }

    /// Waits once for a next entry; as [`Log::wait`].
    pub fn wait(&self, deadline: u64, first: bool) -> Waited {
        self.log
            .wait_until(deadline, first, || self.find(self.catch_up()).is_some())
    }

    /// Offset of the entry returned last.
    pub fn offset(&self) -> Option<u64> {
        self.offset.get()
    }

    /// Where the next entry is looked for.
    pub fn position(&self) -> u64 {
        self.catch_up()
    }

    pub fn seek(&self, position: u64) {
        self.catch_up();
        self.position.set(position);
        self.offset.set(None);
    }

    /// Bytes from the position to the tail.
    pub fn lag(&self) -> u64 {
        self.log.tail_offset().saturating_sub(self.catch_up())
    }

    /// Bytes skipped because they were truncated or sealed.
    pub fn missed(&self) -> u64 {
        self.missed.get()
    }
}
