//! The protocol on plain memory, with writers that stop wherever a test wants them to.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::*;
use crate::layout::{sealed_word, slot_size, Hole, EMPTY};

/// Memory that other "processes" reach through the same reference. A clock that is set by hand.
pub(crate) struct Heap {
    header: Vec<AtomicU64>,
    data: Vec<AtomicU32>,
    clock: Cell<u64>,
    woken: Cell<u32>,
    gave_back: Cell<bool>,
    /// Bytes that checksums were taken of.
    pub(crate) summed: Cell<u64>,
}

impl Heap {
    fn byte(&self, at: u64, i: usize) -> (&AtomicU32, u32) {
        (&self.data[at as usize + 2 + i / 4], 8 * (i as u32 % 4))
    }
}

impl Memory for Heap {
    fn load(&self, field: Field, order: Ordering) -> u64 {
        self.header[field.offset() / 8].load(order)
    }
    fn store(&self, field: Field, value: u64, order: Ordering) {
        self.header[field.offset() / 8].store(value, order);
    }
    fn exchange(&self, field: Field, seen: u64, new: u64, order: Ordering) -> Result<u64, u64> {
        self.header[field.offset() / 8].compare_exchange(seen, new, order, Ordering::Acquire)
    }
    fn add(&self, field: Field, value: u64) {
        self.header[field.offset() / 8].fetch_add(value, Ordering::Relaxed);
    }
    fn load_word(&self, at: u64, order: Ordering) -> u32 {
        self.data[at as usize].load(order)
    }
    fn store_word(&self, at: u64, word: u32, order: Ordering) {
        self.data[at as usize].store(word, order);
    }
    fn exchange_word(&self, at: u64, seen: u32, new: u32, order: Ordering) -> Result<u32, u32> {
        self.data[at as usize].compare_exchange(seen, new, order, Ordering::Acquire)
    }
    fn load_aux(&self, at: u64) -> u32 {
        self.data[at as usize + 1].load(Ordering::Relaxed)
    }
    fn store_aux(&self, at: u64, aux: u32) {
        self.data[at as usize + 1].store(aux, Ordering::Relaxed);
    }
    fn write_payload(&self, at: u64, data: &[u8]) {
        for (i, &byte) in data.iter().enumerate() {
            let (unit, shift) = self.byte(at, i);
            let rest = unit.load(Ordering::Relaxed) & !(0xff << shift);
            unit.store(rest | u32::from(byte) << shift, Ordering::Relaxed);
        }
    }
    fn payload_crc(&self, at: u64, len: usize, head: [u8; 12], crc: u32) -> u32 {
        self.summed.set(self.summed.get() + len as u64);
        let crc = crc32c::crc32c_append(crc, &head);
        crc32c::crc32c_append(crc, &self.payload(at, len))
    }
    fn zero(&self, from: u64, to: u64) {
        for unit in &self.data[from as usize..to as usize] {
            unit.store(0, Ordering::Relaxed);
        }
    }
    fn zero_all(&self) {
        self.gave_back.set(true);
        self.zero(0, self.data.len() as u64);
    }
    fn back(&self, _from: u64, _to: u64) -> Result<(), i32> {
        Ok(())
    }
    fn ticks(&self) -> u64 {
        self.clock.get()
    }
    fn sleep(&self, _sequence: u32, _nanoseconds: u64) {}
    fn wake_all(&self) {
        self.woken.set(self.woken.get() + 1);
    }
}

impl Heap {
    fn payload(&self, at: u64, len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| {
                let (unit, shift) = self.byte(at, i);
                (unit.load(Ordering::Relaxed) >> shift) as u8
            })
            .collect()
    }
}

pub(crate) fn log_of(units: u64) -> Core<Heap> {
    let heap = Heap {
        header: (0..512).map(|_| AtomicU64::new(0)).collect(),
        data: (0..units).map(|_| AtomicU32::new(0)).collect(),
        clock: Cell::new(1000),
        woken: Cell::new(0),
        gave_back: Cell::new(false),
        summed: Cell::new(0),
    };
    let core = Core::new(heap, units, 42, true);
    for field in [Field::Generation, Field::Truncation, Field::Synced] {
        core.memory
            .store(field, core.seal_field(field, 0), Ordering::SeqCst);
    }
    core.memory
        .store(Field::Hole, Hole::NONE.0, Ordering::SeqCst);
    core
}

pub(crate) fn entry(data: &[u8]) -> Entry<'_> {
    Entry { data, utf8: false }
}

/// A writer that dies between its reservation and its commit.
pub(crate) fn reserve(core: &Core<Heap>, len: u64) -> u64 {
    core.reserve(slot_size(len)).unwrap()
}

pub(crate) fn replay(core: &Core<Heap>) -> Vec<Vec<u8>> {
    replay_within(core, Patience::AtOnce)
}

fn replay_within(core: &Core<Heap>, patience: Patience) -> Vec<Vec<u8>> {
    let mut position = Position::default();
    let mut entries = Vec::new();
    let mut at = 0;
    while let Some(found) = core.locate(Cell::from_mut(&mut position), at, patience) {
        entries.push(core.memory.payload(found.at, found.len));
        at = found.next;
    }
    entries
}

fn count(core: &Core<Heap>) -> u64 {
    let mut position = Position::default();
    core.walk(&mut position, u64::MAX, Patience::DEFAULT);
    position.count
}

#[test]
fn entries_follow_one_another_and_a_full_log_loses_nothing() {
    let core = log_of(slot_size(12) * 3);
    for i in 0..3 {
        let at = core.append(entry(b"twelve bytes")).unwrap();
        assert_eq!(at, i * slot_size(12));
    }
    assert_eq!(core.append(entry(b"x")), Err(Refusal::Full));
    assert_eq!(replay(&core), vec![b"twelve bytes".to_vec(); 3]);
}

#[test]
fn a_reader_stays_before_a_place_that_may_yet_be_filled() {
    let core = log_of(100);
    core.append(entry(b"before")).unwrap();
    let hole = reserve(&core, 6);
    core.append(entry(b"behind")).unwrap();
    assert_eq!(
        replay_within(&core, Patience::DEFAULT),
        vec![b"before".to_vec()]
    );
    assert_eq!(count(&core), 1);

    let word = core.fill(hole, entry(b"middle"), false);
    assert!(core.commit(hole, slot_size(6), word));
    assert_eq!(count(&core), 3);
    assert_eq!(replay(&core)[1], b"middle");
}

#[test]
fn a_dead_writers_place_is_passed_once_the_patience_of_the_first_reader_is_over() {
    let core = log_of(100);
    reserve(&core, 8);
    core.append(entry(b"behind")).unwrap();
    assert_eq!(count(&core), 0);
    let ticks = 20_000_000 >> Hole::TICK_SHIFT;
    core.memory.clock.set(1000 + ticks);
    assert_eq!(count(&core), 0);
    core.memory.clock.set(1000 + ticks + 1);
    assert_eq!(count(&core), 1);
    assert_eq!(
        core.memory.load_word(0, Ordering::SeqCst),
        sealed_word(slot_size(8))
    );
}

#[test]
fn the_last_reservation_is_sealed_by_the_size_in_the_tail_word() {
    let core = log_of(100);
    let at = reserve(&core, 40);
    assert_eq!(core.memory.load_word(at, Ordering::SeqCst), EMPTY);
    assert!(replay(&core).is_empty());
    core.append(entry(b"behind")).unwrap();
    assert_eq!(replay(&core), vec![b"behind".to_vec()]);
}

#[test]
fn a_sealed_writer_appends_again_and_touches_nobody() {
    let core = log_of(100);
    let first = Cell::new(true);
    let at = core
        .place(slot_size(4), |at| {
            if first.take() {
                assert!(replay(&core).is_empty(), "a reader seals our slot");
                core.append(entry(b"other")).unwrap();
            }
            core.fill(at, entry(b"late"), false)
        })
        .unwrap();
    assert!(at > slot_size(4));
    assert_eq!(replay(&core), vec![b"other".to_vec(), b"late".to_vec()]);
}

#[test]
fn impatient_readers_do_not_keep_a_live_writer_from_getting_through() {
    let core = log_of(1000);
    let attempts = Cell::new(0);
    let placed = core.place(slot_size(4), |at| {
        attempts.set(attempts.get() + 1);
        replay_within(&core, Patience::Within(0));
        core.fill(at, entry(b"slow"), false)
    });
    assert!(placed.is_ok());
    assert!(
        attempts.get() > 1,
        "the first attempt has no patience to count on"
    );
}

/// Truncation used to seal whatever was in flight, however often its writer had begun again: a large
/// append beside frequent truncation was reported full in an almost empty log.
#[test]
fn constant_truncation_does_not_keep_a_live_writer_from_getting_through() {
    let core = log_of(1 << 20);
    let large = vec![b'x'; 100_000];
    let attempts = Cell::new(0);
    let placed = core.place(slot_size(100_000), |at| {
        attempts.set(attempts.get() + 1);
        core.truncate(&mut Position::default(), u64::MAX);
        core.fill(at, entry(&large), false)
    });
    assert!(placed.is_ok());
    assert_eq!(attempts.get(), 2);
    assert_eq!(core.truncation(), placed.unwrap());
}

/// Aux holds the attempt until the checksum replaces it. A writer that was killed right then left a
/// checksum that readers took for an attempt, and waited 2^16 times as long.
#[test]
fn a_checksum_in_aux_is_not_taken_for_an_attempt() {
    let core = log_of(100);
    let at = reserve(&core, 8);
    core.fill(at, entry(b"unlucky!"), false);
    assert_ne!(core.memory.load_aux(at), 0);
    count(&core);
    core.memory
        .clock
        .set(1000 + (21_000_000 >> Hole::TICK_SHIFT));
    core.append(entry(b"behind")).unwrap();
    assert_eq!(count(&core), 1);
}

#[test]
fn only_a_boundary_that_the_walk_reaches_is_sealed() {
    let core = log_of(100);
    // The payload looks like a reserved slot.
    let fake = [layout_word(3), [0; 4], [0; 4], [0; 4]].concat();
    core.append(entry(&fake)).unwrap();
    core.append(entry(b"next")).unwrap();
    let mut position = Position::default();
    assert_eq!(
        core.locate(Cell::from_mut(&mut position), 2, Patience::AtOnce),
        None
    );
    assert_eq!(core.memory.payload(0, 16), fake);
}

fn layout_word(size: u64) -> [u8; 4] {
    crate::layout::reserved_word(size).to_ne_bytes()
}

#[test]
fn a_batch_is_published_whole_or_not_at_all() {
    let core = log_of(100);
    let batch = [entry(b"one"), entry(b"two"), entry(b"three")];
    core.append_batch(batch.iter().copied()).unwrap();
    assert_eq!(replay(&core), vec![&b"one"[..], b"two", b"three"]);

    // Dies with all members written but the first one's commit missing.
    let core = log_of(100);
    let size: u64 = batch.iter().map(Entry::slot_size).sum();
    let at = core.reserve(size).unwrap();
    let second = at + batch[0].slot_size();
    let word = core.fill(second, batch[1], true);
    core.memory.store_word(second, word, Ordering::SeqCst);
    core.append(entry(b"behind")).unwrap();
    assert_eq!(replay(&core), vec![b"behind".to_vec()]);
}

#[test]
fn truncation_moves_to_boundaries_and_only_forward() {
    let core = log_of(100);
    let offsets: Vec<u64> = (0..4)
        .map(|_| core.append(entry(b"four")).unwrap())
        .collect();
    let mut position = Position::default();
    core.truncate(&mut position, offsets[1]);
    assert_eq!(core.truncation(), offsets[1]);
    core.truncate(&mut position, offsets[2] + 1);
    assert_eq!(core.truncation(), offsets[3]);
    core.truncate(&mut position, offsets[1]);
    assert_eq!(core.truncation(), offsets[3]);
    core.truncate(&mut position, u64::MAX);
    assert_eq!(core.truncation(), core.tail().end());
}

#[test]
fn truncation_settles_what_is_in_flight_before_it() {
    let core = log_of(100);
    let hole = reserve(&core, 4);
    let behind = core.append(entry(b"kept")).unwrap();
    core.truncate(&mut Position::default(), behind);
    assert_eq!(core.truncation(), behind);
    let word = core.fill(hole, entry(b"late"), false);
    assert!(!core.commit(hole, slot_size(4), word));
}

#[test]
fn a_wake_up_is_due_once_for_each_time_that_somebody_registered() {
    let core = log_of(100);
    core.append(entry(b"nobody waits")).unwrap();
    assert_eq!(core.memory.woken.get(), 0);
    core.register();
    core.register();
    core.append(entry(b"two wait")).unwrap();
    core.append(entry(b"nobody waits")).unwrap();
    assert_eq!((core.memory.woken.get(), core.waiters()), (1, 0));
    let ticket = core.register();
    core.leave(ticket);
    assert_eq!(core.waiters(), 0);
    // A waiter whose registration a wake-up took does not take away another's.
    let early = core.register();
    core.append(entry(b"wakes it")).unwrap();
    core.register();
    core.leave(early);
    assert_eq!(core.waiters(), 1);
}

#[test]
fn a_reset_that_was_killed_anywhere_is_finished_by_the_next() {
    // Killed in the middle of step 4, which calls this to flush before it zeroes.
    let core = log_of(100);
    core.append(entry(b"old")).unwrap();
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        core.reset(1, || -> Result<(), ()> { panic!("killed") })
    }));
    assert!(killed.is_err());
    assert_eq!(core.tail(), Tail::RESETTING);
    assert_eq!(core.append(entry(b"new")), Err(Refusal::Resetting));
    assert!(replay(&core).is_empty());

    core.reset(0, || Ok::<(), ()>(())).unwrap();
    assert_eq!(core.checked(Field::Generation), Some(1));
    assert_eq!(core.memory.load(Field::AppendsBefore, Ordering::SeqCst), 1);
    assert!((0..100).all(|at| core.memory.load_word(at, Ordering::SeqCst) == EMPTY));
    assert_eq!(core.append(entry(b"new")), Ok(0));
    assert_eq!(replay(&core), vec![b"new".to_vec()]);
}

#[test]
fn who_finishes_a_reset_puts_the_header_on_disk_before_it_zeroes() {
    let core = log_of(100);
    core.append(entry(b"old")).unwrap();
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        core.reset(1, || -> Result<(), ()> { panic!("killed") })
    }));
    assert!(killed.is_err());
    let mut flushed = false;
    let flush = || {
        flushed = true;
        assert_eq!(core.checked(Field::Generation), Some(1));
        assert_ne!(core.memory.load_word(0, Ordering::SeqCst), EMPTY);
        Ok::<(), ()>(())
    };
    core.reset(0, flush).unwrap();
    assert!(flushed);
}

/// The space of a log that was exactly full used to be given back, and its other users, who took it for
/// theirs, could find none there on a full disk.
#[test]
fn only_a_reset_that_cannot_tell_what_is_in_use_gives_space_back() {
    let empty = |core: &Core<Heap>| core.reset(0, || Ok::<(), ()>(())).unwrap();
    let core = log_of(5);
    core.append(entry(b"twelve bytes")).unwrap();
    empty(&core);
    assert!(!core.memory.gave_back.get());

    core.memory
        .store(Field::Tail, Tail::new(1 << 35, 1).0, Ordering::SeqCst);
    empty(&core);
    assert!(core.memory.gave_back.get());
    assert_eq!(core.append(entry(b"twelve bytes")), Ok(0));
}

#[test]
fn a_reset_sends_every_position_back_to_the_beginning() {
    let core = log_of(100);
    let mut position = Position::default();
    for _ in 0..3 {
        core.append(entry(b"old")).unwrap();
    }
    core.walk(&mut position, u64::MAX, Patience::DEFAULT);
    assert_eq!(position.count, 3);
    core.reset(3, || Ok::<(), ()>(())).unwrap();
    for _ in 0..4 {
        core.append(entry(b"new")).unwrap();
    }
    core.walk(&mut position, u64::MAX, Patience::DEFAULT);
    assert_eq!(position.count, 4);
}

#[test]
fn hostile_words_stop_a_walk_and_bound_nothing() {
    let core = log_of(64);
    core.append(entry(b"good")).unwrap();
    core.append(entry(b"bad")).unwrap();
    let at = slot_size(4);
    for word in (0..=u8::MAX).flat_map(|high| (0..4).map(move |low| u32::from(high) << 24 | low)) {
        core.memory.store_word(at, word, Ordering::SeqCst);
        assert!(count(&core) <= 2);
        replay_within(&core, Patience::DEFAULT);
    }
    for tail in [1, u64::MAX - 1, Tail::new(60, 5).0, Tail::new(1 << 35, 1).0] {
        core.memory.store(Field::Tail, tail, Ordering::SeqCst);
        count(&core);
        let _ = core.append(entry(b"more"));
    }
}
