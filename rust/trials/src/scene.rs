//! Logs in chosen states, with a child about to do one operation on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::slice;

use data_log_shared::log::{deadline, Log, Payload, Waited};
use data_log_shared::protocol::{Entry, Patience};
use data_log_shared::region::Making;

use crate::step::{Board, Child};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Append(usize),
    Batch,
    /// Past the place of a writer that is in flight.
    Truncate,
    /// Without patience, so that it seals.
    Read,
    Wait,
    Reset,
    Sync,
    /// On a path where nothing is.
    Create,
    /// On an empty file.
    Heal,
    Attach,
    /// Attaching to a copy.
    Recover,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Empty,
    Middle,
    /// Room for exactly what is to be appended.
    LastSlot,
    /// Another writer stands between its reservation and its commit.
    BesideAnother,
}

#[derive(Clone, Copy, Debug)]
pub struct Scene {
    pub operation: Operation,
    pub place: Place,
    pub checksums: bool,
}

/// An entry and its offset.
pub type Read = (u64, Vec<u8>);

#[derive(Debug)]
pub struct World {
    pub scene: Scene,
    pub directory: Option<Directory>,
    /// Made before anything happened, with a position and counts of its own.
    pub old: Option<Log>,
    /// What was committed before.
    pub before: Vec<Read>,
    /// What the child is to append.
    pub data: Vec<Vec<u8>>,
    /// What the child was told: the offset + 1, or `u64::MAX` for a full log.
    pub told: Board,
    /// The writer in flight, and what it appends; it is told in word 1.
    pub other: Option<(Child, Vec<u8>)>,
}

const SIZE: u64 = 16 << 10;

pub fn all_scenes() -> Vec<Scene> {
    use Operation::*;
    use Place::*;
    let scene = |operation, place| Scene {
        operation,
        place,
        checksums: true,
    };
    let mut scenes = Vec::new();
    for length in [1, 40, 700, 4096] {
        for place in [Empty, Middle, LastSlot, BesideAnother] {
            scenes.push(scene(Append(length), place));
        }
    }
    scenes.push(Scene {
        checksums: false,
        ..scene(Append(700), BesideAnother)
    });
    for place in [Middle, LastSlot, BesideAnother] {
        scenes.push(scene(Batch, place));
    }
    for operation in [Truncate, Read, Wait, Reset, Sync] {
        scenes.push(scene(operation, Middle));
        scenes.push(scene(operation, BesideAnother));
    }
    for operation in [Create, Heal, Attach, Recover] {
        scenes.push(scene(operation, Empty));
    }
    scenes
}

impl Scene {
    pub fn name(&self) -> String {
        let checksums = if self.checksums {
            ""
        } else {
            " without checksums"
        };
        format!("{:?} {:?}{checksums}", self.operation, self.place).to_lowercase()
    }

    /// Whether the log is a file, so that the operation is mostly system calls.
    pub fn on_path(&self) -> bool {
        use Operation::*;
        matches!(
            self.operation,
            Reset | Sync | Create | Heal | Attach | Recover
        )
    }

    /// Whether the operation takes a lock that others wait for while it is stopped.
    pub fn excludes(&self) -> bool {
        use Operation::*;
        matches!(self.operation, Reset | Heal | Recover)
    }

    fn data(&self) -> Vec<Vec<u8>> {
        match self.operation {
            Operation::Append(length) => vec![pattern(7, length)],
            Operation::Batch => vec![pattern(7, 5), pattern(8, 300), pattern(9, 40)],
            Operation::Create | Operation::Heal => vec![pattern(7, 20)],
            _ => Vec::new(),
        }
    }
}

pub fn making(size: u64, checksums: bool) -> Making {
    Making::new(size as f64, f64::from(0o600), None, Some(checksums)).unwrap()
}

/// Bytes that are nobody else's.
pub fn pattern(tag: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| tag.wrapping_mul(37).wrapping_add((i as u8).wrapping_mul(5)))
        .collect()
}

/// Bytes of the slot of an entry.
pub fn slot(length: usize) -> u64 {
    8 + (length as u64).next_multiple_of(4)
}

pub fn copy(payload: Payload) -> Vec<u8> {
    // SAFETY: the handle that gave the payload is alive, and so is its mapping; what is committed
    // does not change.
    unsafe { slice::from_raw_parts(payload.data, payload.len) }.to_vec()
}

/// Everything that can be read.
pub fn replay(log: &Log, patience: Patience) -> Vec<Read> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(payload) = log.next(at, patience) {
        found.push((payload.offset, copy(payload)));
        at = payload.next;
    }
    found
}

pub fn append(log: &Log, data: &[u8]) -> Option<u64> {
    log.append(data, false).expect("append")
}

/// Waits until everything is settled.
pub fn settle(log: &Log) {
    let end = log.tail_offset();
    while !log.settle(end).expect("settle") {}
}

/// A writer that is stopped right behind its reservation.
pub fn in_flight(
    log: &Log,
    attach: impl FnOnce() -> Log,
    board: &Board,
    word: usize,
    data: &[u8],
) -> Child {
    let tail = log.tail_offset();
    let mut child = Child::start(attach, |log| tell(board, word, append(log, data)));
    while log.tail_offset() == tail {
        assert!(child.step(), "the writer ended without a reservation");
    }
    child
}

/// Tells the parent where an entry went.
pub fn tell(board: &Board, word: usize, offset: Option<u64>) {
    board.set(word, offset.map_or(u64::MAX, |offset| offset + 1));
}

/// What the parent was told; nothing if the log was full.
pub fn told(board: &Board, word: usize) -> Option<u64> {
    match board.get(word) {
        0 => panic!("the child has not told"),
        u64::MAX => None,
        offset => Some(offset - 1),
    }
}

impl World {
    /// A log in the scene's state, and a child stopped right before its operation.
    pub fn start(scene: Scene) -> (World, Child) {
        let mut world = World {
            scene,
            directory: scene.on_path().then(Directory::new),
            old: None,
            before: Vec::new(),
            data: scene.data(),
            told: Board::new(),
            other: None,
        };
        match scene.operation {
            Operation::Create => {}
            Operation::Heal => fs::write(world.path(), b"").unwrap(),
            Operation::Attach => drop(world.make(SIZE)),
            Operation::Recover => world.copied(),
            _ => {
                let log = world.make(world.size());
                world.old = Some(log);
                world.prepare();
            }
        }
        let child = world.child();
        (world, child)
    }

    fn path(&self) -> PathBuf {
        self.directory.as_ref().unwrap().0.join("log")
    }

    fn size(&self) -> u64 {
        let slots: u64 = self.data.iter().map(|data| slot(data.len())).sum();
        match self.scene.place {
            Place::LastSlot => slots + PRIOR.iter().map(|&length| slot(length)).sum::<u64>(),
            _ => SIZE,
        }
    }

    fn make(&self, size: u64) -> Log {
        let making = making(size, self.scene.checksums);
        match self.scene.on_path() {
            true => Log::open(&self.path(), &making),
            false => Log::in_memory(Some(b"trial"), &making),
        }
        .expect("create")
    }

    /// A handle of its own on the log; on a path, makes it if need be.
    pub fn attach(&self) -> Log {
        match self.old.as_ref().and_then(Log::memfd) {
            Some(fd) => Log::from_fd(fd),
            None => Log::open(&self.path(), &making(SIZE, self.scene.checksums)),
        }
        .expect("attach")
    }

    fn write_before(&mut self, log: &Log) {
        for (i, &length) in PRIOR.iter().enumerate() {
            let data = pattern(i as u8, length);
            self.before.push((append(log, &data).expect("room"), data));
        }
    }

    fn prepare(&mut self) {
        let log = self.old.take().unwrap();
        self.old = Some(log.clone());
        if self.scene.place != Place::Empty {
            self.write_before(&log);
        }
        use Operation::*;
        let has_hole = matches!(self.scene.operation, Truncate | Read);
        if self.scene.place == Place::BesideAnother || has_hole {
            let data = pattern(20, 100);
            let other = in_flight(&log, || self.attach(), &self.told, 1, &data);
            self.other = Some((other, data));
        }
        if has_hole {
            let data = pattern(21, 50);
            self.before.push((append(&log, &data).expect("room"), data));
        }
    }

    /// A copy of a log, so that recovery is due: two entries on disk, one not, a place in flight,
    /// and an entry behind it that recovery must not believe in.
    fn copied(&mut self) {
        let original = Directory::new();
        let path = original.0.join("log");
        let log = Log::open(&path, &making(SIZE, true)).expect("create");
        self.write_before(&log);
        let (synced, _) = self.before[2];
        settle(&log);
        log.sync(synced).expect("sync");
        let data = pattern(20, 100);
        let attach = || Log::open(&path, &making(SIZE, true)).expect("attach");
        let other = in_flight(&log, attach, &self.told, 1, &data);
        append(&log, b"behind").expect("room");
        drop(other);
        fs::copy(&path, self.path()).unwrap();
    }

    fn child(&self) -> Child {
        use Operation::*;
        let told = |offset| tell(&self.told, 0, offset);
        match self.scene.operation {
            Create | Heal => Child::start(
                || self.path(),
                |path| {
                    let log = Log::open(path, &making(SIZE, true)).expect("create");
                    told(append(&log, &self.data[0]));
                },
            ),
            Attach | Recover => Child::start(
                || self.path(),
                |path| drop(Log::open(path, &making(SIZE, true)).expect("attach")),
            ),
            operation => Child::start(
                || self.attach(),
                |log| match operation {
                    Append(_) => told(append(log, &self.data[0])),
                    Batch => {
                        let entry = |data| Entry { data, utf8: false };
                        let entries = self.data.iter().map(Vec::as_slice).map(entry);
                        told(log.append_batch(entries).expect("append_batch"));
                    }
                    Truncate => drop(log.truncate(self.truncated_to())),
                    Read => drop(replay(log, Patience::AtOnce)),
                    Wait => {
                        let until = deadline(0.002);
                        let mut first = true;
                        while log.wait(self.before.len() as u64, until, first) == Waited::Again {
                            first = false;
                        }
                    }
                    Reset => log.reset().expect("reset"),
                    Sync => {
                        let end = log.tail_offset();
                        settle(log);
                        log.sync(end).expect("sync");
                    }
                    _ => unreachable!(),
                },
            ),
        }
    }

    /// The offset of the last entry that was there before.
    pub fn truncated_to(&self) -> u64 {
        self.before.last().unwrap().0
    }

    /// What lies in the log's directory besides the log.
    pub fn litter(&self) -> Vec<PathBuf> {
        self.directory
            .iter()
            .flat_map(|directory| fs::read_dir(&directory.0).unwrap())
            .map(|file| file.unwrap().path())
            .filter(|path| *path != self.path())
            .collect()
    }
}

const PRIOR: [usize; 3] = [12, 33, 200];

/// A new directory, removed in the end.
#[derive(Debug)]
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Directory {
        let parent = match std::env::var_os("TRIALS_DIR") {
            Some(parent) => parent.into(),
            // What is not synced need not be kept from a real disk.
            None if Path::new("/dev/shm").is_dir() => PathBuf::from("/dev/shm"),
            None => std::env::temp_dir(),
        };
        for i in 0.. {
            let path = parent.join(format!("log-trial-{}-{i}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Directory(path),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
        unreachable!()
    }
}

impl Default for Directory {
    fn default() -> Directory {
        Directory::new()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
