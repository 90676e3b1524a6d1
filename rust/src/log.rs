//! A handle: one log as one thread of one process sees it.
//!
//! Puts the protocol, the region and the process's own state together. The state is private: where
//! this handle's walk stands, what truncation it saw last, its eventfd. Forked children and cloned
//! threads go on from copies.

use std::cell::{Cell, RefCell};
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::Arc;

use crate::error::{failed, Error, Reason, Result};
use crate::layout::{damaged_word, Field, Tail, HEADER_SIZE, LATER, MAX_ENTRY, UNIT};
use crate::mapping::Mapping;
use crate::memory::Memory;
use crate::protocol::{Core, Entry, Found, Located, Patience, Position, Refusal, Stop};
use crate::region::{Making, Region};
use crate::sys;
use crate::watch::Watching;

/// No sleep is longer, so that a signal which came just before it is not missed for long.
const LONGEST_NAP: u64 = 200_000_000;
/// Nor longer than this while a hole is ahead, which its writer may fill without waking anybody.
const LONGEST_NAP_AT_HOLE: u64 = 10_000_000;
/// Truncation and sync wait no longer for what is in flight. A live writer is through long before; the
/// patience that readers share is in shared memory, where anybody may prolong it.
const LONGEST_WAIT: u64 = 60_000_000_000;
const BREAK: u64 = 1_000_000_000;
const SHORTEST_NAP: u64 = 100_000;
/// Nor than this in a handle that nobody wakes.
const LONGEST_POLL: u64 = 20_000_000;

/// `deadline` of a wait that never times out.
pub const NO_DEADLINE: u64 = u64::MAX;

/// An eventfd, closed with its last user if it is ours.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Own { fd: Arc<OwnedFd>, process: u64 },
    Users(RawFd),
}

impl Event {
    pub(crate) fn fd(&self) -> RawFd {
        match self {
            Event::Own { fd, .. } => fd.as_raw_fd(),
            Event::Users(fd) => *fd,
        }
    }

    /// An eventfd that a parent made is the parent's: who takes its count takes it from both.
    fn is_inherited(&self) -> bool {
        matches!(self, Event::Own { process, .. } if *process != sys::incarnation())
    }
}

/// How a wait ended, or that the caller should see to its signals and wait on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    Changed,
    TimedOut,
    Again,
}

/// Since when a handle has been looking at what is in flight, without a break and in vain.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    since: u64,
    last: u64,
}

impl Waiting {
    /// Whether it is worth another look.
    fn goes_on(&mut self, now: u64) -> bool {
        // After a break it is another call, or the process was stopped.
        if now - self.last > BREAK {
            self.since = now;
        }
        self.last = now;
        now - self.since < LONGEST_WAIT
    }
}

/// An entry to be copied out, which the mapping holds as long as the handle lives.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Payload {
    pub data: *const u8,
    pub len: usize,
    pub utf8: bool,
    pub offset: u64,
    pub next: u64,
}

/// What a walk over the whole log has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Verified {
    pub entries: u64,
    /// Payload bytes of the entries.
    pub bytes: u64,
    /// Slots closed without an entry.
    pub sealed: u64,
    /// Entries whose checksum does not agree, and slots that recovery had to close.
    pub damaged: u64,
}

/// What a place that holds no intact entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum PlaceKind {
    Sealed,
    Damaged,
    /// Its writer is at work, or dead and not found out yet.
    Unfinished,
}

/// A place that holds no intact entry, in bytes. One that does not tell where it ends reaches to
/// the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Place {
    pub kind: PlaceKind,
    pub offset: u64,
    pub size: u64,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Stats {
    pub data_size: u64,
    pub tail: u64,
    pub count: u64,
    pub available: u64,
    pub waiters: u64,
    pub appends: u64,
    pub waits: u64,
    pub timeouts: u64,
    pub mmap_size: u64,
    pub truncation: u64,
    pub generation: u64,
    pub synced: u64,
    pub sealed: u64,
    pub damaged: u64,
    pub recoveries: u64,
    pub sync_failed: bool,
    pub checksum: bool,
    pub sparse: bool,
}

/// The moment of the monotonic clock that lies `seconds` ahead, in nanoseconds; negative and
/// unreachable ones are never.
pub fn deadline(seconds: f64) -> u64 {
    if seconds < 0.0 {
        return u64::MAX;
    }
    // A conversion from float saturates, and so does the sum.
    sys::monotonic_time().saturating_add((seconds * 1e9) as u64)
}

#[derive(Clone, Debug)]
pub struct Log {
    region: Arc<Region>,
    position: Cell<Position>,
    /// The truncation word last seen and what it says.
    hidden: Cell<(u64, u64)>,
    event: RefCell<Option<Event>>,
    directory_flushed: Cell<bool>,
    waiting: Cell<Waiting>,
    /// The next nap of a read-only handle.
    poll: Cell<u64>,
    watching: Watching,
}

impl Log {
    fn new(region: Region) -> Log {
        let log = Log {
            region: Arc::new(region),
            position: Cell::default(),
            hidden: Cell::new((0, 0)),
            event: RefCell::new(None),
            directory_flushed: Cell::new(false),
            waiting: Cell::default(),
            poll: Cell::new(SHORTEST_NAP),
            watching: Watching::default(),
        };
        if log.core().tail() == Tail::RESETTING {
            log.finish_reset();
        }
        log
    }

    pub fn open(path: &Path, making: &Making) -> Result<Log> {
        Region::open(path, making).map(Log::new)
    }

    pub fn open_read_only(path: &Path) -> Result<Log> {
        Region::open_read_only(path).map(Log::new)
    }

    pub fn in_memory(name: Option<&[u8]>, making: &Making) -> Result<Log> {
        Region::in_memory(name, making).map(Log::new)
    }

    pub fn from_fd(fd: RawFd) -> Result<Log> {
        Region::from_fd(fd).map(Log::new)
    }

    #[inline]
    fn core(&self) -> &Core<Mapping> {
        &self.region.core
    }

    /// Lets `step` move this handle's walk.
    #[inline(always)]
    fn walking<T>(&self, step: impl FnOnce(&mut Position) -> T) -> T {
        let mut position = self.position.get();
        let result = step(&mut position);
        self.position.set(position);
        result
    }

    fn walk(&self, limit: u64, patience: Patience) -> Stop {
        let stop = self.walking(|position| self.core().walk(position, limit, patience));
        if stop == Stop::End && self.core().tail() == Tail::RESETTING {
            self.finish_reset();
        }
        stop
    }

    /// Appends one entry; its offset in bytes, or `None` if it does not fit.
    #[inline(always)]
    pub fn append(&self, data: &[u8], utf8: bool) -> Result<Option<u64>> {
        let entry = Entry { data, utf8 };
        self.check(entry)?;
        match self.core().append(entry) {
            Ok(at) => Ok(Some(at * UNIT)),
            Err(refusal) => self.append_refused(data, utf8, refusal),
        }
    }

    #[cold]
    fn append_refused(&self, data: &[u8], utf8: bool, refusal: Refusal) -> Result<Option<u64>> {
        let entry = Entry { data, utf8 };
        self.refused(refusal, || self.core().append(entry))
    }

    /// Appends all entries or none, also across a crash; the offset of the first. Each of the others
    /// begins where the slot before it ends.
    pub fn append_batch<'a>(
        &self,
        entries: impl ExactSizeIterator<Item = Entry<'a>> + Clone,
    ) -> Result<Option<u64>> {
        entries.clone().try_for_each(|entry| self.check(entry))?;
        match self.core().append_batch(entries.clone()) {
            Ok(at) => Ok(Some(at * UNIT)),
            Err(refusal) => self.refused(refusal, || self.core().append_batch(entries)),
        }
    }

    fn check_writable(&self) -> Result<()> {
        if self.core().memory.is_writable() {
            Ok(())
        } else {
            let errno = libc::EBADF;
            Err(self.region.in_path(Reason::ReadOnly { errno }.into()))
        }
    }

    #[inline(always)]
    fn check(&self, entry: Entry<'_>) -> Result<()> {
        match entry.data.len() as u64 {
            1..=MAX_ENTRY => Ok(()),
            length => Err(self.unfit(length)),
        }
    }

    #[cold]
    fn unfit(&self, length: u64) -> Error {
        self.region.in_path(match length {
            0 => Reason::DataEmpty.into(),
            _ => Reason::DataTooLarge { length }.into(),
        })
    }

    #[cold]
    fn refused(
        &self,
        refusal: Refusal,
        again: impl FnOnce() -> std::result::Result<u64, Refusal>,
    ) -> Result<Option<u64>> {
        self.check_writable()?;
        let refusal = match refusal {
            Refusal::Resetting if self.finish_reset() => match again() {
                Ok(at) => return Ok(Some(at * UNIT)),
                Err(refusal) => refusal,
            },
            refusal => refusal,
        };
        let reason = match refusal {
            Refusal::Full | Refusal::Resetting => return Ok(None),
            Refusal::Damaged => Reason::TailDamaged,
            Refusal::NoSpace(errno) => Reason::NoSpace {
                source: std::io::Error::from_raw_os_error(errno),
            },
        };
        Err(self.region.in_path(reason.into()))
    }

    /// The first entry at or behind the byte offset; nothing at one that is hidden or no multiple of four.
    #[inline]
    pub fn read(&self, offset: u64, patience: Patience) -> Option<Payload> {
        if offset % UNIT != 0 || offset / UNIT < self.hidden() {
            return None;
        }
        self.locate(offset / UNIT, patience)
    }

    /// The first readable entry at or behind the byte offset.
    #[inline]
    pub fn next(&self, offset: u64, patience: Patience) -> Option<Payload> {
        if offset % UNIT != 0 {
            return None;
        }
        self.locate((offset / UNIT).max(self.hidden()), patience)
    }

    #[inline(always)]
    pub(crate) fn locate(&self, at: u64, patience: Patience) -> Option<Payload> {
        match self.core().locate(&self.position, at, patience) {
            Some(entry) => Some(Payload {
                data: self.core().memory.payload(entry.at, entry.len),
                len: entry.len,
                utf8: entry.utf8,
                offset: entry.at * UNIT,
                next: entry.next * UNIT,
            }),
            None => self.nothing_there(),
        }
    }

    #[cold]
    fn nothing_there(&self) -> Option<Payload> {
        if self.core().tail() == Tail::RESETTING {
            self.finish_reset();
        }
        None
    }

    #[inline(always)]
    fn hidden(&self) -> u64 {
        let word = self.core().memory.load(Field::Truncation, Acquire);
        let (seen, value) = self.hidden.get();
        if word == seen {
            value
        } else {
            self.truncated(word)
        }
    }

    #[cold]
    fn truncated(&self, word: u64) -> u64 {
        let value = self.core().truncation();
        self.hidden.set((word, value));
        value
    }

    /// Byte offset of the oldest entry that may be read.
    #[inline]
    pub fn truncation(&self) -> u64 {
        self.hidden() * UNIT
    }

    /// Hides what lies before the byte offset; the truncation then in force, or `None` after waiting
    /// once for a writer there that had to append again already.
    pub fn truncate(&self, offset: u64) -> Result<Option<u64>> {
        self.check_writable()?;
        let target = offset / UNIT + u64::from(offset % UNIT != 0);
        match self.walking(|position| self.core().truncate(position, target)) {
            Stop::Hole { .. } => {
                self.go_on_waiting()?;
                self.nap(0, LONGEST_NAP_AT_HOLE, || false);
                Ok(None)
            }
            Stop::End | Stop::Broken => {
                self.waiting.take();
                Ok(Some(self.truncation()))
            }
        }
    }

    /// Changes with each reset; says nothing else.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.core().generation()
    }

    /// Byte offset behind the last reservation.
    pub fn tail_offset(&self) -> u64 {
        self.core().readable_tail().end() * UNIT
    }

    pub fn data_size(&self) -> u64 {
        self.region.identity().data_size
    }

    pub fn available(&self) -> u64 {
        match self.core().tail() {
            Tail::RESETTING => 0,
            _ => self.data_size() - self.tail_offset(),
        }
    }

    #[inline]
    pub fn entry_count(&self) -> u64 {
        if !self.core().is_at_end(&self.position.get()) {
            self.walk(u64::MAX, Patience::DEFAULT);
        }
        self.position.get().count
    }

    /// Waits once, for a fraction of a second at most, until the count is not `expected` or the
    /// deadline of the monotonic clock is over. `first` marks the beginning of a wait.
    pub fn wait(&self, expected: u64, deadline: u64, first: bool) -> Waited {
        self.wait_until(deadline, first, || self.entry_count() != expected)
    }

    /// The same for anything that only commits and seals can bring about.
    pub(crate) fn wait_until(
        &self,
        deadline: u64,
        first: bool,
        ready: impl Fn() -> bool,
    ) -> Waited {
        if ready() {
            return Waited::Changed;
        }
        let statistics = |field| {
            if self.core().memory.is_writable() {
                self.core().memory.add(field, 1);
            }
        };
        let now = sys::monotonic_time();
        if now >= deadline {
            if !first {
                statistics(Field::Timeouts);
            }
            return Waited::TimedOut;
        }
        if first {
            statistics(Field::Waits);
        }
        self.nap(u64::MAX, deadline - now, ready);
        Waited::Again
    }

    /// Registers as a waiter, walks again, and sleeps unless `done`. A handle that may not write
    /// can't register; it looks again after naps that grow as long as nothing comes.
    fn nap(&self, limit: u64, longest: u64, done: impl Fn() -> bool) {
        let ticket = self.core().register();
        let nap = match self.walk(limit, Patience::DEFAULT) {
            Stop::Hole { nanoseconds } => nanoseconds.clamp(SHORTEST_NAP, LONGEST_NAP_AT_HOLE),
            _ if self.core().memory.is_writable() => LONGEST_NAP,
            _ => self.poll.get(),
        };
        if done() {
            self.poll.set(SHORTEST_NAP);
        } else {
            self.poll.set((2 * self.poll.get()).min(LONGEST_POLL));
            self.core().sleep(ticket, nap.min(longest));
        }
        self.core().leave(ticket);
    }

    /// Empties the log. Not safe beside other processes that use it.
    pub fn reset(&self) -> Result<()> {
        self.check_writable()?;
        self.walk(u64::MAX, Patience::AtOnce);
        self.region
            .exclusively(true, || self.empty())
            .map(drop)
            .map_err(|error| self.region.in_path(error))
    }

    fn empty(&self) -> Result<()> {
        let flush = || {
            if self.region.is_durable() {
                self.flush(|region| region.flush_header())
            } else {
                Ok(())
            }
        };
        self.core().reset(self.position.get().count, flush)
    }

    /// Finishes a reset whose process is gone; false if it is at work, or the lock can't be had.
    #[cold]
    fn finish_reset(&self) -> bool {
        if !self.core().memory.is_writable() {
            return false;
        }
        let finish = || match self.core().tail() {
            Tail::RESETTING => self.empty(),
            _ => Ok(()),
        };
        matches!(self.region.exclusively(false, finish), Ok(Some(())))
    }

    pub fn is_durable(&self) -> bool {
        self.region.is_durable()
    }

    /// Waits once for what lies before the byte offset `end` to be settled. Whether it is.
    pub fn settle(&self, end: u64) -> Result<bool> {
        self.check_writable()?;
        let limit = end / UNIT;
        let settled = || self.position.get().at >= limit;
        let is_settled = match self.walk(limit, Patience::DEFAULT) {
            Stop::Broken => return Err(self.region.in_path(Reason::TailDamaged.into())),
            // A reset has taken away what was to be settled.
            Stop::End => true,
            Stop::Hole { .. } => {
                self.go_on_waiting()?;
                self.nap(limit, LONGEST_NAP_AT_HOLE, settled);
                settled()
            }
        };
        if is_settled {
            self.waiting.take();
        }
        Ok(is_settled)
    }

    fn go_on_waiting(&self) -> Result<()> {
        let mut waiting = self.waiting.take();
        if !waiting.goes_on(sys::monotonic_time()) {
            return Err(self.region.in_path(Reason::NotSettled.into()));
        }
        self.waiting.set(waiting);
        Ok(())
    }

    /// The byte offset up to which this handle knows everything to be settled: a boundary.
    pub fn settled(&self) -> u64 {
        self.position.get().at * UNIT
    }

    /// Puts everything before the byte offset `end`, a boundary and settled, on disk.
    pub fn sync(&self, end: u64) -> Result<()> {
        self.put_on_disk(end / UNIT)
            .map_err(|error| self.region.in_path(error))
    }

    fn put_on_disk(&self, end: u64) -> Result<()> {
        let end = end.min(self.position.get().at);
        let core = self.core();
        self.check_sync_failed()?;
        let from = core.checked(Field::Synced).unwrap_or(0).min(end);
        self.flush(|region| region.flush_units(from, end))?;
        // A process that shares this one's description may have been told what became of our pages.
        self.check_sync_failed()?;
        core.raise_synced(end);
        self.flush(Region::flush_header)?;
        if !self.directory_flushed.get() {
            self.flush(Region::flush_directory)?;
            self.directory_flushed.set(true);
        }
        Ok(())
    }

    fn check_sync_failed(&self) -> Result<()> {
        match self.core().memory.load(Field::SyncFailed, Acquire) {
            0 => Ok(()),
            errno => {
                let source = std::io::Error::from_raw_os_error(errno as i32);
                Err(Reason::SyncFailedBefore { source }.into())
            }
        }
    }

    /// A flush that fails is remembered for every handle: the kernel reports a lost page only once.
    fn flush(&self, flush: impl FnOnce(&Region) -> std::io::Result<()>) -> Result<()> {
        flush(&self.region).map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(libc::EIO) as u64;
            self.core().memory.store(
                Field::SyncFailed,
                errno,
                std::sync::atomic::Ordering::Release,
            );
            failed("put the log on disk")(error)
        })
    }

    /// Walks the whole log and checks every entry's checksum, where it has them.
    pub fn verify(&self) -> Verified {
        let mut found = Verified::default();
        let mut from = 0;
        while self.verify_on(&mut from, &mut found).is_some() {}
        found
    }

    /// Verifies from the byte offset `from`, 0 or where the last call stopped, to the next place
    /// that holds no intact entry, or the end.
    pub fn verify_on(&self, from: &mut u64, found: &mut Verified) -> Option<Place> {
        let core = self.core();
        if *from == 0 {
            self.walk(u64::MAX, Patience::DEFAULT);
        }
        let mut position = Position::default();
        let tail = core.refresh(&mut position);
        let generation = core.generation();
        let mut at = *from / UNIT;
        let (kind, end) = loop {
            match core.look(at, tail) {
                Found::Entry(Located { len, next, .. }) => {
                    let word = core.memory.load_word(at, Acquire);
                    let agrees = !core.checksums() || {
                        let sum = core.entry_crc(at, word, len, generation);
                        [sum, sum ^ LATER].contains(&core.memory.load_aux(at))
                    };
                    if !agrees {
                        break (PlaceKind::Damaged, Some(next));
                    }
                    found.entries += 1;
                    found.bytes += len as u64;
                    at = next;
                }
                Found::Sealed { next } => {
                    let damaged = core.memory.load_word(at, Acquire) == damaged_word(next - at);
                    let kind = if damaged {
                        PlaceKind::Damaged
                    } else {
                        PlaceKind::Sealed
                    };
                    break (kind, Some(next));
                }
                Found::Open(_) => break (PlaceKind::Unfinished, None),
                Found::Broken => break (PlaceKind::Damaged, None),
                Found::End => return None,
            }
        };
        match kind {
            PlaceKind::Sealed => found.sealed += 1,
            PlaceKind::Damaged => found.damaged += 1,
            PlaceKind::Unfinished => {}
        }
        // Nothing tells where to go on from what is not closed.
        *from = end.map_or(u64::MAX, |end| end * UNIT);
        Some(Place {
            kind,
            offset: at * UNIT,
            size: (end.unwrap_or_else(|| tail.end()) - at) * UNIT,
        })
    }

    pub fn stats(&self) -> Stats {
        let core = self.core();
        let load = |field| core.memory.load(field, Relaxed);
        let checked = |field| core.checked(field).unwrap_or(0);
        let count = self.entry_count();
        Stats {
            data_size: self.data_size(),
            tail: self.tail_offset(),
            count,
            available: self.available(),
            waiters: u64::from(core.waiters()),
            appends: load(Field::AppendsBefore).wrapping_add(count),
            waits: load(Field::Waits),
            timeouts: load(Field::Timeouts),
            mmap_size: HEADER_SIZE + self.data_size(),
            truncation: self.truncation(),
            generation: checked(Field::Generation),
            synced: checked(Field::Synced) * UNIT,
            sealed: self.position.get().sealed,
            damaged: load(Field::Damaged),
            recoveries: load(Field::Recoveries),
            sync_failed: load(Field::SyncFailed) != 0,
            checksum: core.checksums(),
            sparse: self.region.identity().sparse,
        }
    }

    pub fn unlink(&self) -> Result<()> {
        self.region.unlink()
    }

    pub fn path(&self) -> Option<&Path> {
        self.region.path()
    }

    pub fn memfd(&self) -> Option<RawFd> {
        self.region.memfd()
    }

    /// The eventfd of this handle, if it has one.
    pub fn fileno(&self) -> Option<RawFd> {
        self.event.borrow().as_ref().map(Event::fd)
    }

    /// The eventfd of this handle, made if it has none.
    pub fn eventfd(&self) -> Result<RawFd> {
        self.event().map(|event| event.fd())
    }

    fn event(&self) -> Result<Event> {
        let mut event = self.event.borrow_mut();
        match &*event {
            Some(event) => Ok(event.clone()),
            None => {
                let made = Event::Own {
                    fd: Arc::new(sys::eventfd().map_err(failed("create an eventfd"))?),
                    process: sys::incarnation(),
                };
                *event = Some(made.clone());
                Ok(made)
            }
        }
    }

    /// Signals this handle's eventfd from now on when entries come, from whichever process; its fd.
    pub fn watch(&self) -> Result<RawFd> {
        if !self.watching.is_on() {
            let inherited = (self.event.borrow().as_ref()).map_or(false, Event::is_inherited);
            if inherited {
                self.event.borrow_mut().take();
            }
            let event = self.event()?;
            self.entry_count();
            self.watching
                .start(self.clone(), event)
                .map_err(failed("start a thread"))?;
        }
        self.eventfd()
    }

    /// Ends what `watch` began.
    pub fn unwatch(&self) {
        self.watching.stop();
    }

    /// The generation and the count as this handle saw them last.
    pub(crate) fn last_seen(&self) -> (u64, u64) {
        let position = self.position.get();
        (position.generation(), position.count)
    }

    pub(crate) fn region(&self) -> Arc<Region> {
        self.region.clone()
    }

    /// Uses the user's eventfd, which is never closed here.
    pub fn set_eventfd(&self, fd: RawFd) -> Result<()> {
        if self.fileno() != Some(fd) {
            sys::check_open(fd).map_err(|source| Reason::Descriptor { fd, source })?;
            self.unwatch();
            *self.event.borrow_mut() = Some(Event::Users(fd));
        }
        Ok(())
    }

    /// Signals the eventfd; false if there is none.
    pub fn notify(&self) -> Result<bool> {
        match self.fileno() {
            Some(fd) => sys::eventfd_signal(fd)
                .map(|()| true)
                .map_err(failed("signal the eventfd")),
            None => Ok(false),
        }
    }

    /// How often the eventfd was signalled since the last call; `None` if not at all.
    pub fn consume(&self) -> Result<Option<u64>> {
        match self.fileno() {
            Some(fd) => sys::eventfd_take(fd)
                .map(|count| Some(count).filter(|&count| count > 0))
                .map_err(failed("read the eventfd")),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_after_a_while_unless_there_was_a_break() {
        let mut waiting = Waiting::default();
        let steps = LONGEST_WAIT / LONGEST_NAP_AT_HOLE;
        let begin = 1 << 40;
        let tick = |n: u64| begin + n * LONGEST_NAP_AT_HOLE;
        assert!((0..steps).all(|n| waiting.goes_on(tick(n))));
        assert!(!waiting.goes_on(tick(steps)));
        assert!(waiting.goes_on(tick(steps) + BREAK + 1));
    }

    #[test]
    fn sync_and_truncation_give_up_for_once_what_does_not_get_settled() {
        let making = Making::new(1000.0, 0.0, None, None).unwrap();
        let log = Log::in_memory(None, &making).unwrap();
        // A writer that was overtaken again and again, and is stopped now.
        let memory = &log.core().memory;
        memory.store(Field::Tail, Tail::new(0, 10).0, Relaxed);
        memory.store_aux(0, 16);
        let settle = || log.settle(40).map(|is_settled| assert!(!is_settled));
        let truncate = || log.truncate(40).map(|in_force| assert_eq!(in_force, None));
        let for_a_minute = |step: &dyn Fn() -> Result<()>| {
            step().unwrap();
            let mut waiting = log.waiting.get();
            waiting.since -= LONGEST_WAIT;
            log.waiting.set(waiting);
            let error = step().unwrap_err();
            assert!(matches!(error.reason(), Reason::NotSettled), "{error:?}");
            step().unwrap();
            log.waiting.take();
        };
        for_a_minute(&settle);
        for_a_minute(&truncate);
        assert_eq!((log.truncation(), log.entry_count()), (0, 0));
    }
}
