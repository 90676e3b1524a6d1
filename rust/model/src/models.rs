//! The models: a few processes at one log, and what must hold whatever they do.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering::{Acquire, SeqCst};

use loom::sync::atomic::AtomicU64;

use crate::layout::{committed_word, slot_size, Field, Hole, Tail, EMPTY};
use crate::memory::Memory;
use crate::mutants::Mutant;
use crate::protocol::{Entry, Found, Patience, Position, Refusal, Stop};
use crate::world::{Handle, Setup, World};

pub struct Model {
    pub name: &'static str,
    /// How many preemptions loom explores; `None`: all.
    pub preemptions: Option<usize>,
    /// Explored with the victim dying before each of its steps.
    pub dies: bool,
    pub body: fn(&Rc<Setup>),
}

const fn model(name: &'static str, preemptions: usize, body: fn(&Rc<Setup>)) -> Model {
    Model {
        name,
        preemptions: Some(preemptions),
        dies: false,
        body,
    }
}

const fn killing(name: &'static str, preemptions: usize, body: fn(&Rc<Setup>)) -> Model {
    Model {
        dies: true,
        ..model(name, preemptions, body)
    }
}

pub const MODELS: &[Model] = &[
    model("two_writers", 3, two_writers),
    model("three_writers", 2, three_writers),
    model("writer_and_sealer", 3, writer_and_sealer),
    model("two_writers_and_sealer", 1, two_writers_and_sealer),
    model("writer_and_two_sealers", 1, writer_and_two_sealers),
    killing("dying_writer", 2, dying_writer),
    killing("dying_writer_among_three", 1, dying_writer_among_three),
    killing("dying_writer_behind_hole", 2, dying_writer_behind_hole),
    killing("dying_sealer", 2, dying_sealer),
    model("batch", 3, batch),
    killing("dying_batch", 2, dying_batch),
    model("counting", 1, counting),
    model("hole_record", 3, hole_record),
    model("late_place", 3, late_place),
    killing("dying_late_writer", 2, dying_late_writer),
    model("truncate_beside_late_place", 2, truncate_beside_late_place),
    model("truncate_beside_append", 3, truncate_beside_append),
    model("two_truncators", 4, two_truncators),
    killing("dying_truncator", 2, dying_truncator),
    killing("dying_reset", 2, dying_reset),
    model("reset_beside_reader", 2, reset_beside_reader),
    model("append_behind_reset", 6, append_behind_reset),
    model("two_finishers", 3, two_finishers),
    model("sync_settles", 1, sync_settles),
    model("one_waiter", 5, one_waiter),
    model("waiter_and_two_writers", 2, waiter_and_two_writers),
    model("waiter_and_three_writers", 3, waiter_and_three_writers),
    model("two_waiters_three_writers", 1, two_waiters_three_writers),
    killing("dying_waiter", 2, dying_waiter),
    model("leave_beside_wake", 2, leave_beside_wake),
    model("seal_wakes", 3, seal_wakes),
];

const UNITS: u64 = 48;
/// Less than a tick for a writer's first attempt, and time for its later ones.
const IMPATIENT: Patience = Patience::Within(100);
/// An attempt that even a small place is given time for without patience.
const LATE: u32 = 12;
/// Never over, since the clock stands.
const LONG: Patience = Patience::Within(20_000);

/// The bytes of entry `id`; three different slot sizes.
fn data(id: u8) -> Vec<u8> {
    vec![id; [2, 1, 5, 9][usize::from(id) % 4]]
}

fn units(id: u8) -> u64 {
    slot_size(data(id).len() as u64)
}

fn append(handle: &Handle, id: u8) -> Result<u64, Refusal> {
    handle.append(Entry {
        data: &data(id),
        utf8: false,
    })
}

fn write(handle: &Handle, id: u8) -> u64 {
    append(handle, id).expect("there is room")
}

fn write_batch(handle: &Handle, ids: &[u8]) -> u64 {
    let data: Vec<_> = ids.iter().map(|&id| data(id)).collect();
    let entries = data.iter().map(|data| Entry { data, utf8: false });
    handle.append_batch(entries).expect("there is room")
}

/// The entry's id; its bytes must be whole.
fn id_of(handle: &Handle, at: u64, len: usize) -> u8 {
    let bytes = handle.memory.payload(at, len);
    assert_eq!(bytes, data(bytes[0]), "torn entry at {at}");
    bytes[0]
}

/// Reads from the beginning; places and ids, and where it stopped.
fn replay(handle: &Handle, patience: Patience) -> (Vec<(u64, u8)>, u64) {
    let mut position = Position::default();
    let (mut entries, mut at) = (Vec::new(), 0);
    while let Some(found) = handle.locate(Cell::from_mut(&mut position), at, patience) {
        entries.push((found.at, id_of(handle, found.at, found.len)));
        at = found.next;
    }
    let stop = handle.walk(&mut position.clone(), u64::MAX, LONG);
    assert_ne!(stop, Stop::Broken, "a slot without a size");
    (entries, at.max(position.at))
}

fn count(handle: &Handle) -> u64 {
    let mut position = Position::default();
    handle.walk(&mut position, u64::MAX, Patience::AtOnce);
    position.count
}

/// After all is over: what was acknowledged is there, once, and what was not is there once at most;
/// the count agrees, the walk reaches the tail, and an append goes on behind it.
fn whole(world: &Rc<World>, acknowledged: &[(u64, u8)], perhaps: &[u8]) -> Vec<(u64, u8)> {
    let handle = world.handle();
    let (entries, _) = replay(&handle, Patience::AtOnce);
    for entry in acknowledged {
        assert!(
            entries.contains(entry),
            "entry {entry:?} is lost: {entries:?}"
        );
    }
    for (i, (_, id)) in entries.iter().enumerate() {
        let known = perhaps.contains(id) || acknowledged.iter().any(|(_, other)| other == id);
        assert!(known, "entry {id} came from nowhere");
        let again = entries[i + 1..].iter().any(|(_, other)| other == id);
        assert!(!again, "entry {id} is there twice");
    }
    let mut position = Position::default();
    let stop = handle.walk(&mut position, u64::MAX, LONG);
    assert_eq!(stop, Stop::End, "the walk does not reach the tail");
    assert_eq!(position.at, handle.tail().end(), "the walk missed the tail");
    assert_eq!(position.count, entries.len() as u64, "the count disagrees");
    let more = write(&handle, 4);
    let (now, _) = replay(&handle, LONG);
    assert_eq!(
        now.len(),
        entries.len() + 1,
        "a later append is not readable"
    );
    assert_eq!(now.last(), Some(&(more, 4)));
    entries
}

/// What a reader saw up to where it stopped is what is there for good (P3).
fn nothing_behind(seen: &(Vec<(u64, u8)>, u64), entries: &[(u64, u8)]) {
    let before: Vec<_> = entries
        .iter()
        .copied()
        .take_while(|&(at, _)| at < seen.1)
        .collect();
    assert_eq!(seen.0, before, "an entry appeared behind a reader");
}

fn two_writers(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let other = world.spawn(|handle| (write(handle, 1), 1));
    let handle = world.handle();
    let mine = [(write(&handle, 2), 2), (write(&handle, 3), 3)];
    let other = other.join().unwrap();
    whole(&world, &[other, mine[0], mine[1]], &[]);
}

fn three_writers(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let others = [2, 3].map(|id| world.spawn(move |handle| (write(handle, id), id)));
    let mine = (write(&world.handle(), 1), 1);
    let [a, b] = others.map(|other| other.join().unwrap());
    whole(&world, &[mine, a, b], &[]);
}

fn writer_and_sealer(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let sealer = world.spawn(|handle| replay(handle, Patience::AtOnce));
    let handle = world.handle();
    let mine = [(write(&handle, 2), 2), (write(&handle, 1), 1)];
    let seen = sealer.join().unwrap();
    nothing_behind(&seen, &whole(&world, &mine, &[]));
}

fn two_writers_and_sealer(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let sealer = world.spawn(|handle| replay(handle, Patience::AtOnce));
    let other = world.spawn(|handle| (write(handle, 3), 3));
    let mine = (write(&world.handle(), 1), 1);
    let (seen, other) = (sealer.join().unwrap(), other.join().unwrap());
    nothing_behind(&seen, &whole(&world, &[mine, other], &[]));
}

fn writer_and_two_sealers(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let sealers = [(); 2].map(|()| world.spawn(|handle| replay(handle, Patience::AtOnce)));
    let mine = (write(&world.handle(), 2), 2);
    let seen = sealers.map(|sealer| sealer.join().unwrap());
    let entries = whole(&world, &[mine], &[]);
    seen.iter().for_each(|seen| nothing_behind(seen, &entries));
}

fn dying_writer(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let dead = world.spawn_victim(|handle| (write(handle, 2), 2));
    let handle = world.handle();
    let mine = (write(&handle, 3), 3);
    let seen = replay(&handle, Patience::AtOnce);
    let known: Vec<_> = dead.join().unwrap().into_iter().chain([mine]).collect();
    nothing_behind(&seen, &whole(&world, &known, &[2]));
}

fn dying_writer_behind_hole(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    world.abandoned(|handle| write(handle, 1));
    let dead = world.spawn_victim(|handle| (write(handle, 2), 2));
    let handle = world.handle();
    let mine = (write(&handle, 3), 3);
    let seen = replay(&handle, Patience::AtOnce);
    let known: Vec<_> = dead.join().unwrap().into_iter().chain([mine]).collect();
    nothing_behind(&seen, &whole(&world, &known, &[2]));
}

fn dying_writer_among_three(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let dead = world.spawn_victim(|handle| (write(handle, 2), 2));
    let other = world.spawn(|handle| (write(handle, 3), 3));
    let handle = world.handle();
    let mine = (write(&handle, 1), 1);
    let seen = replay(&handle, Patience::AtOnce);
    let other = other.join().unwrap();
    let known: Vec<_> = dead
        .join()
        .unwrap()
        .into_iter()
        .chain([mine, other])
        .collect();
    nothing_behind(&seen, &whole(&world, &known, &[2]));
}

fn dying_sealer(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    world.abandoned(|handle| write(handle, 3));
    let dead = world.spawn_victim(|handle| replay(handle, Patience::AtOnce));
    let handle = world.handle();
    let mine = (write(&handle, 2), 2);
    let seen = replay(&handle, Patience::AtOnce);
    let dead = dead.join().unwrap();
    let entries = whole(&world, &[mine], &[]);
    dead.iter()
        .chain([&seen])
        .for_each(|seen| nothing_behind(seen, &entries));
}

/// All members or none, also for a reader that comes in at the second one.
fn batch(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let writer = world.spawn(|handle| write_batch(handle, &[1, 2, 3]));
    let guesser = world.spawn(|handle| {
        let tail = handle.readable_tail();
        if let Found::Entry(found) = handle.look(units(1), tail) {
            id_of(handle, found.at, found.len);
        }
    });
    let seen = replay(&world.handle(), Patience::AtOnce);
    assert!(seen.0.is_empty() || seen.0.len() == 3, "part of a batch");
    let first = writer.join().unwrap();
    guesser.join().unwrap();
    let second = first + units(1);
    let members = [(first, 1), (second, 2), (second + units(2), 3)];
    nothing_behind(&seen, &whole(&world, &members, &[]));
}

fn dying_batch(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let dead = world.spawn_victim(|handle| write_batch(handle, &[1, 3]));
    let handle = world.handle();
    let mine = (write(&handle, 2), 2);
    let seen = replay(&handle, Patience::AtOnce);
    let done = dead.join().unwrap();
    let entries = whole(&world, &[mine], &[1, 3]);
    nothing_behind(&seen, &entries);
    let members = entries.iter().filter(|(_, id)| *id != 2).count();
    assert!(
        members == 2 || (members == 0 && done.is_none()),
        "part of a batch"
    );
}

fn counting(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    world.abandoned(|handle| write(handle, 2));
    let other = world.spawn(|handle| (write(handle, 3), 3));
    let counter = world.spawn(|handle| {
        let mut position = Position::default();
        handle.walk(&mut position, u64::MAX, LONG);
        assert_eq!(position.count, 0, "counted over a hole");
        handle.walk(&mut position, u64::MAX, Patience::AtOnce);
        let (entries, _) = replay(handle, LONG);
        let passed = entries.iter().filter(|&&(at, _)| at < position.at).count();
        assert_eq!(
            position.count, passed as u64,
            "the count is not what can be read"
        );
        position
    });
    let mine = (write(&world.handle(), 1), 1);
    let other = other.join().unwrap();
    let mut position = counter.join().unwrap();
    world
        .handle()
        .walk(&mut position, u64::MAX, Patience::AtOnce);
    assert_eq!(
        position.count,
        count(&world.handle()),
        "a cached count disagrees"
    );
    whole(&world, &[mine, other], &[]);
}

/// The clock of a hole, once started, is not started again by a reader that still stands at an
/// earlier place.
fn hole_record(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    world.abandoned(|handle| write(handle, 1));
    world.abandoned(|handle| write(handle, 3));
    let behind = units(1);
    let slow = world.spawn(|handle| {
        handle.walk(&mut Position::default(), u64::MAX, LONG);
    });
    let sealer = world.spawn(|handle| {
        handle.walk(&mut Position::default(), 1, Patience::AtOnce);
    });
    let handle = world.handle();
    let stop = handle.walk(&mut Position::default(), u64::MAX, LONG);
    assert!(matches!(stop, Stop::Hole { .. }));
    let record = |handle: &Handle| Hole(handle.memory.load(Field::Hole, SeqCst)).at();
    let started = record(&handle) == behind;
    slow.join().unwrap();
    sealer.join().unwrap();
    assert!(
        !started || record(&handle) == behind,
        "the clock was started again"
    );
}

/// Lets a reader's wait be over.
fn pass(world: &World, nanoseconds: u64) {
    world
        .clock
        .set(world.clock.get() + (nanoseconds >> Hole::TICK_SHIFT));
}

/// A writer that has begun again is given time by all, the same time, and nothing more when it is over.
fn late_place(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    world.abandoned(|handle| write(handle, 2));
    world.handle().memory.store_aux(0, LATE);
    let behind = (write(&world.handle(), 1), 1);
    let look = |handle: &Handle| {
        let mut position = Position::default();
        (
            handle.walk(&mut position, u64::MAX, IMPATIENT),
            position.sealed,
        )
    };
    let other = world.spawn(move |handle| look(handle));
    let handle = world.handle();
    let looks = [look(&handle), other.join().unwrap()];
    for (stop, sealed) in looks {
        assert!(matches!(stop, Stop::Hole { .. }), "given no time");
        assert_eq!(sealed, 0, "given no time");
        if let Stop::Hole { nanoseconds } = stop {
            world.clock.set(1000);
            pass(&world, nanoseconds);
        }
    }
    assert_eq!(look(&handle), (Stop::End, 1), "waited for longer");
    whole(&world, &[behind], &[]);
}

/// Walks on without patience, letting pass whatever time is asked for. No place asks twice.
fn walk_impatiently(handle: &Handle, position: &mut Position) {
    let mut waited_at = None;
    while let Stop::Hole { nanoseconds } = handle.walk(position, u64::MAX, IMPATIENT) {
        assert_ne!(waited_at, Some(position.at), "waited twice for one place");
        waited_at = Some(position.at);
        pass(&handle.memory.world, nanoseconds);
    }
}

/// Killed at its first attempt or a later one, a writer is waited for once.
fn dying_late_writer(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let dead = world.spawn_victim(|handle| (write(handle, 2), 2));
    let handle = world.handle();
    let mut position = Position::default();
    for _ in 0..3 {
        walk_impatiently(&handle, &mut position);
    }
    let seen = replay(&handle, Patience::AtOnce);
    let known: Vec<_> = dead.join().unwrap().into_iter().collect();
    nothing_behind(&seen, &whole(&world, &known, &[2]));
}

/// Nothing is hidden before a place that is given time is settled.
fn truncate_beside_late_place(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    world.abandoned(|handle| write(handle, 2));
    world.handle().memory.store_aux(0, LATE);
    let writer = world.spawn(|handle| (write(handle, 3), 3));
    let handle = world.handle();
    let mut position = Position::default();
    let mut waited = 0;
    while let Stop::Hole { nanoseconds } = handle.truncate(&mut position, u64::MAX) {
        assert_eq!(handle.truncation(), 0, "hidden though open");
        pass(&world, nanoseconds);
        waited += 1;
    }
    assert_eq!(waited, 1, "given no time");
    settled_below(&handle, handle.truncation());
    let mine = writer.join().unwrap();
    settled_below(&handle, handle.truncation());
    whole(&world, &[mine], &[]);
}

/// What is below the limit (a truncation, or what was synced) is settled, and the tail is not below it.
fn settled_below(handle: &Handle, limit: u64) {
    let tail = handle.tail();
    assert!(tail.end() >= limit, "the tail is below it");
    let mut position = Position::default();
    handle.walk(&mut position, limit, LONG);
    assert!(
        position.at >= limit,
        "something is open below what was settled"
    );
    assert_eq!(
        position.at, limit,
        "what was settled does not end at a boundary"
    );
}

fn truncate_beside_append(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let first = (write(&world.handle(), 1), 1);
    let writer = world.spawn(|handle| (write(handle, 3), 3));
    let reader = world.spawn(|handle| {
        let hidden = handle.truncation();
        let tail = handle.readable_tail();
        assert!(tail.end() >= hidden, "the tail is below the truncation");
        let open = hidden < tail.end() && matches!(handle.look(hidden, tail), Found::Broken);
        assert!(!open, "the truncation is no boundary");
    });
    let handle = world.handle();
    handle.truncate(&mut Position::default(), units(1) + 1);
    settled_below(&handle, handle.truncation());
    let other = writer.join().unwrap();
    reader.join().unwrap();
    whole(&world, &[first, other], &[]);
}

fn two_truncators(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    world.abandoned(|handle| write(handle, 1));
    let second = (write(&world.handle(), 3), 3);
    let other = world.spawn(|handle| {
        handle.truncate(&mut Position::default(), units(1));
        handle.truncation()
    });
    let handle = world.handle();
    handle.truncate(&mut Position::default(), u64::MAX);
    let far = handle.truncation();
    assert_eq!(far, handle.tail().end(), "the truncation went back");
    assert!(other.join().unwrap() >= units(1));
    assert_eq!(handle.truncation(), far, "the truncation went back");
    settled_below(&handle, far);
    whole(&world, &[second], &[]);
}

fn dying_truncator(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    world.abandoned(|handle| write(handle, 1));
    let dead = world.spawn_victim(|handle| handle.truncate(&mut Position::default(), u64::MAX));
    let handle = world.handle();
    let mine = (write(&handle, 3), 3);
    settled_below(&handle, handle.truncation());
    dead.join().unwrap();
    settled_below(&handle, handle.truncation());
    whole(&world, &[mine], &[]);
}

/// As `Log::finish_reset`.
fn finish(handle: &Handle) -> bool {
    let world = &handle.memory.world;
    let guard = world.lock.try_lock().ok();
    if guard.is_none() && !world.is(Mutant::FinishWithoutLock) {
        return false;
    }
    if handle.tail() == Tail::RESETTING || world.is(Mutant::FinishWithoutSecondLook) {
        reset(handle);
    }
    true
}

fn reset(handle: &Handle) {
    handle.reset::<()>(0, || Ok(())).unwrap();
}

/// As `Log::append`: one that meets a reset tries to finish it.
fn write_or_finish(handle: &Handle, id: u8) -> Option<u64> {
    match append(handle, id) {
        Err(Refusal::Resetting) if finish(handle) => Some(write(handle, id)),
        Err(Refusal::Resetting) => None,
        result => Some(result.expect("there is room")),
    }
}

/// Two generations' words, to tell whether a reset was done, and once.
fn generation(handle: &Handle) -> u64 {
    handle
        .checked(Field::Generation)
        .expect("a whole generation")
}

/// Killed at any step, a reset has not begun or is finished by whoever comes, beside a reader.
fn dying_reset(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let handle = world.handle();
    let old = [(write(&handle, 1), 1), (write(&handle, 3), 3)];
    handle.truncate(&mut Position::default(), 1);
    let done = world.victim(reset);
    let reader = world.spawn(|handle| {
        let mut position = Position::default();
        handle.walk(&mut position, u64::MAX, LONG);
        finish(handle);
        position
    });
    let begun = handle.tail() == Tail::RESETTING || generation(&handle) == 1;
    let mine = write_or_finish(&handle, 2);
    let mut position = reader.join().unwrap();
    handle.walk(&mut position, u64::MAX, LONG);
    if done.is_none() && !begun {
        assert_eq!(generation(&handle), 0);
        let mine = (mine.expect("nothing is in the way"), 2);
        assert_eq!(
            position.count, 3,
            "a reset that had not begun took something"
        );
        whole(&world, &[old[0], old[1], mine], &[]);
        return;
    }
    assert_ne!(handle.tail(), Tail::RESETTING, "the reset is not finished");
    assert_eq!(generation(&handle), 1, "reset once");
    assert_eq!(handle.truncation(), 0);
    let mine: Vec<_> = mine.map(|at| (at, 2)).into_iter().collect();
    assert_eq!(
        position.count,
        mine.len() as u64,
        "a cached count survived the reset"
    );
    whole(&world, &mine, &[]);
}

/// A reader's cached position may be wrong while a reset is under way, and not afterwards.
fn reset_beside_reader(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let handle = world.handle();
    write(&handle, 1);
    let mut cached = Position::default();
    handle.walk(&mut cached, u64::MAX, LONG);
    write(&handle, 2);
    let reader = world.spawn(move |handle| {
        let mut fresh = Position::default();
        handle.walk(&mut fresh, u64::MAX, LONG);
        handle.walk(&mut cached, u64::MAX, LONG);
        [fresh, cached]
    });
    reset(&handle);
    let mine = (write(&handle, 3), 3);
    let positions = reader.join().unwrap();
    for mut position in positions {
        let stop = handle.walk(&mut position, u64::MAX, LONG);
        assert_eq!(
            stop,
            Stop::End,
            "a cached position is no boundary after the reset"
        );
        assert_eq!(position.count, 1, "a cached count survived the reset");
    }
    whole(&world, &[mine], &[]);
}

/// A writer that finds the emptied log finds zeroes, and the new generation for its checksum.
fn append_behind_reset(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let handle = world.handle();
    write(&handle, 3);
    write(&handle, 1);
    // Dies with the tail word at RESETTING: after record and tail.
    handle.memory.store(Field::Tail, Tail::RESETTING.0, SeqCst);
    let writer = world.clone();
    let writer = loom::thread::spawn(move || {
        let handle = writer.checksummed();
        append(&handle, 2).ok()
    });
    reset(&handle);
    let mine = writer.join().unwrap();
    if let Some(at) = mine {
        let word = handle.memory.load_word(at, Acquire);
        let crc = handle.entry_crc(at, word, data(2).len(), handle.generation());
        assert_eq!(
            handle.memory.load_aux(at),
            crc,
            "the checksum is of the old log"
        );
    }
    let mine: Vec<_> = mine.map(|at| (at, 2)).into_iter().collect();
    whole(&world, &mine, &[]);
}

/// Two that meet an unfinished reset: it is finished once, and what one then appends stays.
fn two_finishers(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let handle = world.handle();
    write(&handle, 3);
    handle.memory.store(Field::Tail, Tail::RESETTING.0, SeqCst);
    let other = world.spawn(|handle| write_or_finish(handle, 1).map(|at| (at, 1)));
    let mine = write_or_finish(&handle, 2).map(|at| (at, 2));
    let known: Vec<_> = other.join().unwrap().into_iter().chain(mine).collect();
    assert!(!known.is_empty(), "nobody finished the reset");
    assert_eq!(generation(&handle), 1, "finished once");
    whole(&world, &known, &[]);
}

/// Settle and raise, as `Log::settle` and `Log::sync` do; what was committed before is below.
fn sync_settles(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    world.abandoned(|handle| write(handle, 2));
    let told = Rc::new(AtomicU64::new(0));
    let tell = Rc::clone(&told);
    let writer = world.spawn(move |handle| {
        let at = write(handle, 1);
        tell.store(at + units(1), SeqCst);
        (at, 1)
    });
    let other = world.spawn(|handle| (write(handle, 3), 3));
    let handle = world.handle();
    let before = told.load(SeqCst);
    let end = handle.readable_tail().end();
    assert!(end >= before, "sync does not see what was committed before");
    let mut position = Position::default();
    if !world.is(Mutant::SyncWithoutSettling) {
        handle.walk(&mut position, end, Patience::AtOnce);
        assert!(position.at >= end);
    }
    handle.raise_synced(end);
    settled_below(&handle, handle.checked(Field::Synced).unwrap());
    let seen = replay(&handle, LONG);
    let known = [writer.join().unwrap(), other.join().unwrap()];
    nothing_behind(&seen, &whole(&world, &known, &[]));
}

/// Waits as `Log::wait` does, until `count` entries are there.
fn wait(handle: &Handle, count: u64) {
    let mut position = Position::default();
    loop {
        handle.walk(&mut position, u64::MAX, LONG);
        if position.count >= count {
            return;
        }
        let ticket = handle.register();
        if !handle.memory.world.is(Mutant::RecheckOmitted) {
            handle.walk(&mut position, u64::MAX, LONG);
        }
        if position.count < count {
            handle.sleep(ticket, u64::MAX);
        }
        handle.leave(ticket);
    }
}

fn nobody_waits(world: &Rc<World>) {
    assert_eq!(
        world.handle().waiters(),
        0,
        "a registration was left behind"
    );
}

fn one_waiter(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let waiter = world.spawn(|handle| wait(handle, 1));
    write(&world.handle(), 1);
    waiter.join().unwrap();
    nobody_waits(&world);
}

fn waiter_and_two_writers(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let waiter = world.spawn(|handle| wait(handle, 2));
    let writer = world.spawn(|handle| write(handle, 3));
    write(&world.handle(), 1);
    writer.join().unwrap();
    waiter.join().unwrap();
    nobody_waits(&world);
}

/// The words alone, so that five processes stay within reach: writers that commit one of three
/// each, and waiters that want so many of them.
fn waiters_and_committers(setup: &Rc<Setup>, wanted: &[u64]) {
    fn commit(handle: &Handle, at: u64) {
        let word = committed_word(1, false, false);
        let committed = handle.memory.exchange_word(at, EMPTY, word, SeqCst);
        assert!(committed.is_ok());
        handle.wake();
    }
    fn wait(handle: &Handle, wanted: u64) {
        let enough = || {
            let committed = |&at: &u64| handle.memory.load_word(at, Acquire) != EMPTY;
            (0..3).filter(committed).count() as u64 >= wanted
        };
        while !enough() {
            let ticket = handle.register();
            if handle.memory.world.is(Mutant::RecheckOmitted) || !enough() {
                handle.sleep(ticket, u64::MAX);
            }
            handle.leave(ticket);
        }
    }
    let world = World::new(setup, 3);
    let mut processes = Vec::new();
    for &wanted in wanted {
        processes.push(world.spawn(move |handle| wait(handle, wanted)));
    }
    for at in [1, 2] {
        processes.push(world.spawn(move |handle| commit(handle, at)));
    }
    commit(&world.handle(), 0);
    for process in processes {
        process.join().unwrap();
    }
    nobody_waits(&world);
}

fn waiter_and_three_writers(setup: &Rc<Setup>) {
    waiters_and_committers(setup, &[3]);
}

fn two_waiters_three_writers(setup: &Rc<Setup>) {
    waiters_and_committers(setup, &[1, 3]);
}

/// A killed waiter costs one wake-up, and loses nobody else's.
fn dying_waiter(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let dead = world.spawn_victim(|handle| {
        let ticket = handle.register();
        handle.walk(&mut Position::default(), u64::MAX, LONG);
        handle.leave(ticket);
    });
    let waiter = world.spawn(|handle| wait(handle, 1));
    let handle = world.handle();
    write(&handle, 1);
    waiter.join().unwrap();
    dead.join().unwrap();
    let before = world.wakes.get();
    write(&handle, 2);
    write(&handle, 3);
    assert!(
        world.wakes.get() <= before + 1,
        "a dead waiter is woken again and again"
    );
    nobody_waits(&world);
}

/// Whoever leaves takes only its own registration along.
fn leave_beside_wake(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    let leaver = world.spawn(|handle| {
        let ticket = handle.register();
        handle.leave(ticket);
    });
    let waiter = world.spawn(|handle| wait(handle, 2));
    let handle = world.handle();
    write(&handle, 1);
    write(&handle, 2);
    leaver.join().unwrap();
    waiter.join().unwrap();
    nobody_waits(&world);
}

/// A waiter with more patience is woken by whoever closes the hole before an entry.
fn seal_wakes(setup: &Rc<Setup>) {
    let world = World::new(setup, UNITS);
    world.abandoned(|handle| write(handle, 1));
    write(&world.handle(), 3);
    let waiter = world.spawn(|handle| wait(handle, 1));
    replay(&world.handle(), Patience::AtOnce);
    waiter.join().unwrap();
    nobody_waits(&world);
}
