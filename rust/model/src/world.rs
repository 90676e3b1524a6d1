//! The protocol's memory on loom's atomics: shared words, payload cells whose every access must be
//! ordered, a futex, and actors that die before a given step.

use std::cell::{Cell, RefCell};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::Ordering::{self, Acquire, Relaxed, Release, SeqCst};

use loom::cell::UnsafeCell;
use loom::sync::atomic::{fence, AtomicU32, AtomicU64};
use loom::sync::{Condvar, Mutex};

use crate::layout::{self, Field, Hole, Slot, Tail, Wake, SLOT_HEADER};
use crate::memory::Memory;
use crate::mutants::Mutant;
use crate::protocol::Core;

/// What one exploration is set to: the mutant, and the step before which the victim dies.
#[derive(Debug)]
pub struct Setup {
    pub mutant: Mutant,
    pub step: u32,
    pub died: Cell<bool>,
}

const SALT: u64 = 42;
const FIELDS: [Field; 10] = [
    Field::Tail,
    Field::Wake,
    Field::Truncation,
    Field::Generation,
    Field::Synced,
    Field::Hole,
    Field::Reset,
    Field::Damaged,
    Field::AppendsThen,
    Field::AppendsBefore,
];

/// One log and the machine around it.
pub struct World {
    setup: Rc<Setup>,
    fields: [AtomicU64; FIELDS.len()],
    /// Words and auxes, at the units where they lie.
    words: Vec<AtomicU32>,
    payload: Vec<UnsafeCell<u32>>,
    /// One for each field and word. loom 0.7 keeps only the last access to an object, so a process
    /// that loads before it exchanges hides from the search that others have loaded before: of
    /// `load; CAS` beside `load` it explores one order. A relaxed store to a word that nobody loads
    /// makes each load count as a write, and orders nothing.
    turns: Vec<AtomicU32>,
    pub clock: Cell<u64>,
    /// Calls of `wake_all`.
    pub wakes: Cell<u32>,
    /// The kernel's lock on the futex's queue.
    queue: Mutex<()>,
    sleepers: Condvar,
    /// The log's change lock.
    pub lock: Mutex<()>,
}

/// A process: its own handle, and how far it gets.
pub struct Actor {
    pub world: Rc<World>,
    left: Cell<Option<u32>>,
    abandons: Cell<bool>,
    scratch: RefCell<Scratch>,
}

/// What the mutants that reorder or forget keep to themselves.
#[derive(Default)]
struct Scratch {
    publish: Option<(u64, u32)>,
    generation: Option<u64>,
    tail: u64,
    generation_loaded: bool,
    members: Vec<(u64, u32)>,
    word: Option<(u64, u32)>,
    private_seal: Option<(u64, u32)>,
    hole_loaded: bool,
    registering: bool,
    sealed: bool,
    zeroing: Option<(u64, u64)>,
}

struct Died;

pub type Handle = Core<Actor>;

impl World {
    pub fn new(setup: &Rc<Setup>, units: u64) -> Rc<World> {
        let value = |field| match field {
            Field::Truncation | Field::Generation | Field::Synced => {
                layout::Checked::seal(SALT, field, 0, 0)
            }
            Field::Hole => Hole::NONE.0,
            _ => 0,
        };
        Rc::new(World {
            setup: Rc::clone(setup),
            fields: FIELDS.map(|field| AtomicU64::new(value(field))),
            words: (0..units).map(|_| AtomicU32::new(0)).collect(),
            payload: (0..units).map(|_| UnsafeCell::new(0)).collect(),
            turns: (0..FIELDS.len() as u64 + units)
                .map(|_| AtomicU32::new(0))
                .collect(),
            clock: Cell::new(1000),
            wakes: Cell::new(0),
            queue: Mutex::new(()),
            sleepers: Condvar::new(),
            lock: Mutex::new(()),
        })
    }

    pub fn is(&self, mutant: Mutant) -> bool {
        self.setup.mutant == mutant
    }

    fn actor(self: &Rc<Self>, left: Option<u32>, checksums: bool) -> Handle {
        let actor = Actor {
            world: Rc::clone(self),
            left: Cell::new(left),
            abandons: Cell::new(false),
            scratch: RefCell::default(),
        };
        Core::new(actor, self.words.len() as u64, SALT, checksums)
    }

    pub fn handle(self: &Rc<Self>) -> Handle {
        self.actor(None, false)
    }

    pub fn checksummed(self: &Rc<Self>) -> Handle {
        self.actor(None, true)
    }

    pub fn spawn<T: 'static>(
        self: &Rc<Self>,
        body: impl FnOnce(&Handle) -> T + 'static,
    ) -> loom::thread::JoinHandle<T> {
        let world = Rc::clone(self);
        loom::thread::spawn(move || body(&world.handle()))
    }

    /// Runs `body` as the process that dies before the step that is set; `None` if it did.
    pub fn victim<T>(self: &Rc<Self>, body: impl FnOnce(&Handle) -> T) -> Option<T> {
        mortal(|| body(&self.actor(Some(self.setup.step), false)))
    }

    pub fn spawn_victim<T: 'static>(
        self: &Rc<Self>,
        body: impl FnOnce(&Handle) -> T + 'static,
    ) -> loom::thread::JoinHandle<Option<T>> {
        let world = Rc::clone(self);
        loom::thread::spawn(move || world.victim(body))
    }

    /// Runs `body` as a writer that dies just before it commits.
    pub fn abandoned<T>(self: &Rc<Self>, body: impl FnOnce(&Handle) -> T) {
        let handle = self.handle();
        handle.memory.abandons.set(true);
        let done = mortal(|| body(&handle));
        assert!(done.is_none(), "the writer was to die");
    }

    fn field(&self, field: Field) -> &AtomicU64 {
        &self.fields[index(field)]
    }

    fn word(&self, at: u64) -> &AtomicU32 {
        &self.words[at as usize]
    }

    fn load(&self, field: Field, order: Ordering) -> u64 {
        self.turns[index(field)].store(0, Relaxed);
        self.field(field).load(order)
    }

    fn load_word(&self, at: u64, order: Ordering) -> u32 {
        self.turns[FIELDS.len() + at as usize].store(0, Relaxed);
        self.word(at).load(order)
    }
}

fn index(field: Field) -> usize {
    let index = FIELDS.iter().position(|&other| other == field);
    index.expect("a field of the model")
}

fn mortal<T>(body: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => Some(value),
        Err(reason) if reason.is::<Died>() => None,
        Err(reason) => resume_unwind(reason),
    }
}

fn die() -> ! {
    // Does not run the panic hook.
    resume_unwind(Box::new(Died))
}

fn is_committed(word: u32) -> bool {
    matches!(Slot::from_word(word), Slot::Committed { .. })
}

fn is_sealed(word: u32) -> bool {
    matches!(Slot::from_word(word), Slot::Sealed { .. })
}

fn is_reserved(word: u32) -> bool {
    matches!(Slot::from_word(word), Slot::Reserved { .. })
}

fn on_failure(order: Ordering) -> Ordering {
    match order {
        SeqCst => SeqCst,
        _ => Acquire,
    }
}

impl Actor {
    fn is(&self, mutant: Mutant) -> bool {
        self.world.is(mutant)
    }

    /// `weak` if the mutant is the one at work.
    fn unless(&self, mutant: Mutant, order: Ordering, weak: Ordering) -> Ordering {
        if self.is(mutant) {
            weak
        } else {
            order
        }
    }

    fn step(&self) {
        if let Some(left) = self.left.get() {
            if left == 0 {
                self.world.setup.died.set(true);
                die();
            }
            self.left.set(Some(left - 1));
        }
    }

    pub fn payload(&self, at: u64, len: usize) -> Vec<u8> {
        let start = (at + SLOT_HEADER) as usize;
        (0..len)
            .map(|i| {
                // SAFETY: loom fails the run if a write is not ordered with this read.
                let unit = self.world.payload[start + i / 4].with(|unit| unsafe { *unit });
                unit.to_ne_bytes()[i % 4]
            })
            .collect()
    }

    fn late_publish(&self) {
        let late = self.scratch.borrow_mut().publish.take();
        if let Some((at, word)) = late {
            let unit = self.world.word(at);
            let _ = unit.compare_exchange(layout::EMPTY, word, SeqCst, SeqCst);
        }
    }

    fn zero_now(&self, from: u64, to: u64) {
        for unit in from as usize..to as usize {
            self.step();
            self.world.word(unit as u64).store(0, Relaxed);
            // SAFETY: loom fails the run if another access is not ordered with this write.
            self.world.payload[unit].with_mut(|unit| unsafe { *unit = 0 });
        }
    }
}

impl Memory for Actor {
    fn load(&self, field: Field, order: Ordering) -> u64 {
        self.step();
        let order = match field {
            Field::Tail => self.unless(Mutant::TailLoad, order, Relaxed),
            Field::Generation => self.unless(Mutant::GenerationLoad, order, Relaxed),
            Field::Hole => self.unless(Mutant::HoleLoad, order, Relaxed),
            Field::Truncation => self.unless(Mutant::TruncationLoad, order, Relaxed),
            Field::Wake => self.unless(Mutant::WakeLoad, order, Relaxed),
            Field::Reset => self.unless(Mutant::RecordLoad, order, Relaxed),
            _ => order,
        };
        self.scratch.borrow_mut().hole_loaded = field == Field::Hole;
        if field == Field::Wake && self.is(Mutant::NoWakeAfterSeal) {
            let sealed = std::mem::take(&mut self.scratch.borrow_mut().sealed);
            if sealed {
                return 0;
            }
        }
        if self.is(Mutant::GenerationBeforeTail) {
            if field == Field::Tail {
                let generation = self.world.load(Field::Generation, Acquire);
                self.scratch.borrow_mut().generation = Some(generation);
            } else if field == Field::Generation {
                if let Some(early) = self.scratch.borrow_mut().generation.take() {
                    return early;
                }
            }
        }
        let mut scratch = self.scratch.borrow_mut();
        let behind = std::mem::replace(&mut scratch.generation_loaded, field == Field::Generation);
        if field == Field::Tail && behind && self.is(Mutant::OldTailForNewGeneration) {
            return scratch.tail;
        }
        drop(scratch);
        let value = self.world.load(field, order);
        if field == Field::Tail {
            self.scratch.borrow_mut().tail = value;
        }
        value
    }

    fn store(&self, field: Field, value: u64, order: Ordering) {
        self.step();
        let order = match field {
            Field::Tail => self.unless(Mutant::ZeroedTailStore, order, Relaxed),
            Field::Generation => self.unless(Mutant::GenerationStore, order, Relaxed),
            Field::Reset => self.unless(Mutant::RecordStore, order, Relaxed),
            Field::Truncation => self.unless(Mutant::TruncationStore, order, Relaxed),
            _ => self.unless(Mutant::OtherResetStores, order, Relaxed),
        };
        if field == Field::Generation && self.is(Mutant::GenerationAfterTail) {
            self.scratch.borrow_mut().generation = Some(value);
            return;
        }
        self.world.field(field).store(value, order);
        if field == Field::Tail {
            let late = self.scratch.borrow_mut().generation.take();
            if let Some(value) = late {
                self.step();
                self.world.field(Field::Generation).store(value, order);
            }
            let late = self.scratch.borrow_mut().zeroing.take();
            if let Some((from, to)) = late {
                self.zero_now(from, to);
            }
        }
    }

    fn exchange(&self, field: Field, seen: u64, new: u64, order: Ordering) -> Result<u64, u64> {
        self.step();
        let word = self.world.field(field);
        let mut failure = on_failure(order);
        let order = match field {
            Field::Tail if new == Tail::RESETTING.0 => {
                self.unless(Mutant::ResettingExchange, order, Relaxed)
            }
            Field::Tail => {
                failure = self.unless(Mutant::TailFailure, failure, Relaxed);
                let order = self.unless(Mutant::TailRelease, order, Acquire);
                self.unless(Mutant::TailAcquire, order, Release)
            }
            Field::Hole => self.unless(Mutant::HoleExchange, order, Relaxed),
            Field::Truncation => self.unless(Mutant::TruncationExchange, order, Relaxed),
            Field::Synced => self.unless(Mutant::SyncedExchange, order, Relaxed),
            Field::Wake => self.unless(Mutant::WakeExchange, order, Relaxed),
            _ => order,
        };
        if field == Field::Wake {
            let (was, next) = (Wake(seen).waiters(), Wake(new).waiters());
            self.scratch.borrow_mut().registering = next > was;
            if next == 0 && Wake(new).sequence() != Wake(seen).sequence() {
                if self.is(Mutant::WakeBySwap) {
                    return Ok(word.swap(new, SeqCst));
                }
                if self.is(Mutant::WakeKeepsSequence) {
                    let same = Wake::new(Wake(seen).sequence(), 0);
                    return word.compare_exchange(seen, same.0, SeqCst, SeqCst);
                }
            }
            if next < was && self.is(Mutant::LeaveBlindly) {
                // Subtracts a registration, whosever it is.
                let one = Wake::new(0, 1).0;
                let take = |now| (Wake(now).waiters() > 0).then(|| now - one);
                let _ = word.fetch_update(SeqCst, SeqCst, take);
                return Ok(seen);
            }
        }
        if field == Field::Truncation && self.is(Mutant::TruncationByStore) {
            word.store(new, Release);
            return Ok(seen);
        }
        if field == Field::Tail && new != Tail::RESETTING.0 && self.is(Mutant::TailByStore) {
            word.store(new, Release);
            return Ok(seen);
        }
        let result = word.compare_exchange(seen, new, order, failure);
        if field == Field::Tail && result.is_ok() {
            self.step();
            self.late_publish();
        }
        result
    }

    fn add(&self, _field: Field, _value: u64) {
        self.step();
    }

    fn load_word(&self, at: u64, order: Ordering) -> u32 {
        self.step();
        let looked_at_hole = std::mem::take(&mut self.scratch.borrow_mut().hole_loaded);
        let scratch = self.scratch.borrow();
        if let Some((_, word)) = scratch.private_seal.filter(|&(place, _)| place == at) {
            return word;
        }
        if looked_at_hole && self.is(Mutant::HoleLookedAtOnce) {
            if let Some((_, word)) = scratch.word.filter(|&(place, _)| place == at) {
                return word;
            }
        }
        drop(scratch);
        let order = if looked_at_hole {
            self.unless(Mutant::WordSecondLoad, order, Relaxed)
        } else {
            self.unless(Mutant::WordLoad, order, Relaxed)
        };
        let word = self.world.load_word(at, order);
        self.scratch.borrow_mut().word = Some((at, word));
        word
    }

    fn store_word(&self, at: u64, word: u32, order: Ordering) {
        self.step();
        if self.is(Mutant::MembersAfterCommit) {
            self.scratch.borrow_mut().members.push((at, word));
            return;
        }
        let order = self.unless(Mutant::MemberStore, order, Relaxed);
        self.world.word(at).store(word, order);
    }

    fn exchange_word(&self, at: u64, seen: u32, new: u32, order: Ordering) -> Result<u32, u32> {
        self.step();
        let unit = self.world.word(at);
        let failure = on_failure(order);
        let order = if is_committed(new) {
            if self.abandons.get() {
                die();
            }
            self.unless(Mutant::Commit, order, Relaxed)
        } else if is_sealed(new) {
            self.scratch.borrow_mut().sealed = true;
            self.unless(Mutant::Seal, order, Relaxed)
        } else {
            self.unless(Mutant::Publish, order, Relaxed)
        };
        if is_reserved(new) {
            if self.is(Mutant::SkipPublish) {
                return Err(seen);
            }
            if self.is(Mutant::TailBeforePublish) {
                self.scratch.borrow_mut().publish = Some((at, new));
                return Ok(seen);
            }
            if self.is(Mutant::PublishByStore) {
                unit.store(new, Release);
                return Ok(seen);
            }
        }
        if is_sealed(new) && self.is(Mutant::PassWithoutSealing) {
            self.scratch.borrow_mut().private_seal = Some((at, new));
            return Ok(seen);
        }
        if (is_committed(new) && self.is(Mutant::CommitByStore))
            || (is_sealed(new) && self.is(Mutant::SealByStore))
        {
            unit.store(new, Release);
            return Ok(seen);
        }
        let result = unit.compare_exchange(seen, new, order, failure);
        let members = std::mem::take(&mut self.scratch.borrow_mut().members);
        for (at, word) in members {
            self.step();
            self.world.word(at).store(word, Release);
        }
        result
    }

    fn load_aux(&self, at: u64) -> u32 {
        self.step();
        if self.is(Mutant::AttemptIgnored) {
            return 0;
        }
        self.world.load_word(at + 1, Relaxed)
    }

    fn store_aux(&self, at: u64, aux: u32) {
        self.step();
        self.world.word(at + 1).store(aux, Relaxed);
    }

    fn write_payload(&self, at: u64, data: &[u8]) {
        let start = (at + SLOT_HEADER) as usize;
        for (i, chunk) in data.chunks(4).enumerate() {
            self.step();
            let mut bytes = [0; 4];
            bytes[..chunk.len()].copy_from_slice(chunk);
            // SAFETY: loom fails the run if another access is not ordered with this write.
            self.world.payload[start + i]
                .with_mut(|unit| unsafe { *unit = u32::from_ne_bytes(bytes) });
        }
    }

    fn payload_crc(&self, at: u64, len: usize, head: [u8; 12], crc: u32) -> u32 {
        let crc = crc32c::crc32c_append(crc, &head);
        crc32c::crc32c_append(crc, &self.payload(at, len))
    }

    fn zero(&self, from: u64, to: u64) {
        if self.is(Mutant::ZeroAfterTail) {
            self.scratch.borrow_mut().zeroing = Some((from, to));
        } else {
            self.zero_now(from, to);
        }
    }

    fn zero_all(&self) {
        self.zero(0, self.world.words.len() as u64);
    }

    fn back(&self, _from: u64, _to: u64) -> Result<(), i32> {
        Ok(())
    }

    fn ticks(&self) -> u64 {
        self.world.clock.get()
    }

    /// A futex without a timeout: who is not woken stays, and loom reports a deadlock.
    fn sleep(&self, sequence: u32, _nanoseconds: u64) {
        self.step();
        let mut queue = self.world.queue.lock().unwrap();
        while Wake(self.world.field(Field::Wake).load(SeqCst)).sequence() == sequence {
            queue = self.world.sleepers.wait(queue).unwrap();
            if self.is(Mutant::WakeKeepsSequence) {
                break;
            }
        }
    }

    fn wake_all(&self) {
        self.step();
        self.world.wakes.set(self.world.wakes.get() + 1);
        let _queue = self.world.queue.lock().unwrap();
        self.world.sleepers.notify_all();
    }

    fn store_load_barrier(&self) {
        let registering = std::mem::take(&mut self.scratch.borrow_mut().registering);
        let omitted = if registering {
            Mutant::RegisterBarrier
        } else {
            Mutant::WakeBarrier
        };
        if !self.is(omitted) {
            fence(SeqCst);
        }
    }
}
