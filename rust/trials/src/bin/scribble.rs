//! Others use a log while somebody scribbles over all of it, header and data. Whatever they are then
//! told, they must not crash, touch memory beside the log, or be caught in a loop.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::io::{AsRawFd, RawFd};
use std::process::{exit, Child, Command, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use data_log_shared::cursor::Cursor;
use data_log_shared::layout::{
    committed_word, damaged_word, reserved_word, sealed_word, slot_size, Checked, Field, Hole,
    Slot, Tail, HEADER_SIZE, UNIT,
};
use data_log_shared::log::{deadline, Log, Payload, Waited};
use data_log_shared::protocol::{Entry, Patience};
use data_log_shared::region::Making;
use data_log_shared::sys;
use trials::options::Options;
use trials::random::Random;

const HELP: &str = "\
usage: scribble [--OPTION VALUE ...]

  --seconds 5      how long the operators work; the long form is 600
  --operators 3    processes that use the log
  --scribblers 1   threads that spoil it
  --size 65536     bytes of its data region; with multiples of 4096 forbidden pages lie beside it
  --file PATH      the log is a file, not a memfd
  --stuck 20       seconds after which an operation counts as a loop without end
  --seed 1         other garbage; what is spoiled when is left to chance anyway
  --under COMMAND  runs the operators under it, as 'valgrind -q --error-exitcode=99'
  --operator COMMAND  is run as operator: with a descriptor of the log, seconds and a seed

An operator writes to its standard output 'R' as soon as it has the log, then before each operation a
letter that stands for it, and the capital after one that led to something. It exits with 0.
";

/// What operators do, and whether something must come of it.
const OPERATIONS: &[(u8, &str)] = &[
    (b'a', "append"),
    (b'b', "batch"),
    (b'c', "count"),
    (b'e', "watch"),
    (b'g', "read anywhere"),
    (b'h', "attach"),
    (b'i', "replay"),
    (b'n', "cursor"),
    (b's', "stats"),
    (b't', "truncate"),
    (b'v', "verify"),
    (b'w', "wait"),
    (b'y', "sync"),
    (b'z', "reset"),
];

struct Plan {
    seconds: u64,
    operators: u64,
    scribblers: u64,
    size: u64,
    file: Option<String>,
    stuck: u64,
    seed: u64,
    under: Vec<String>,
    operator: Vec<String>,
}

fn plan() -> Plan {
    let mut options = Options::new(HELP);
    let words = |text: String| text.split_whitespace().map(String::from).collect();
    let plan = Plan {
        seconds: options.number("seconds", 5),
        operators: options.number("operators", 3),
        scribblers: options.number("scribblers", 1),
        size: options.number("size", 65536),
        file: Some(options.text("file", "")).filter(|path| !path.is_empty()),
        stuck: options.number("stuck", 20),
        seed: options.number("seed", 1),
        under: words(options.text("under", "")),
        operator: words(options.text("operator", "")),
    };
    options.done();
    plan
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().map(String::as_str) == Some("operate") {
        let [fd, seconds, seed] =
            [1, 2, 3].map(|i| arguments.get(i).map_or(0, |n| n.parse().expect("a number")));
        operate(fd as RawFd, Duration::from_secs(seconds), Random(seed));
    } else {
        exit(oversee(&plan()));
    }
}

/// The whole of a log, mapped by one who means it no good.
struct Victim {
    start: *mut u8,
    units: u64,
    salt: u64,
    pristine: Vec<u8>,
}

// SAFETY: the mapping lasts for ever and is only reached through atomics.
unsafe impl Send for Victim {}

impl Victim {
    fn new(file: &File) -> io::Result<Victim> {
        let length = file.metadata()?.len() as usize;
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping of the whole file, whose size does not change.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), length, access, flags, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut pristine = vec![0; HEADER_SIZE as usize];
        std::os::unix::fs::FileExt::read_exact_at(file, &mut pristine, 0)?;
        let mut salt = [0; 8];
        salt.copy_from_slice(&pristine[56..64]);
        Ok(Victim {
            start: start.cast(),
            units: (length as u64 - HEADER_SIZE) / UNIT,
            salt: u64::from_ne_bytes(salt),
            pristine,
        })
    }

    fn word(&self, unit: u64) -> &AtomicU32 {
        assert!(unit < HEADER_SIZE / UNIT + self.units);
        // SAFETY: inside the mapping, at a multiple of four.
        unsafe { &*self.start.add((unit * UNIT) as usize).cast() }
    }

    fn field(&self, field: Field) -> &AtomicU64 {
        // SAFETY: in the header page, at a multiple of eight.
        unsafe { &*self.start.add(field.offset()).cast() }
    }

    fn set_data(&self, at: u64, word: u32) {
        if at < self.units {
            self.word(HEADER_SIZE / UNIT + at)
                .store(word, Ordering::Relaxed);
        }
    }

    /// Where one who goes from slot to slot comes to what is none.
    fn end_of_walk(&self) -> u64 {
        let mut at = 0;
        while at < self.units {
            let word = self.word(HEADER_SIZE / UNIT + at).load(Ordering::Relaxed);
            at += match Slot::from_word(word) {
                Slot::Committed { len, .. } if len > 0 => slot_size(u64::from(len)),
                Slot::Sealed { size } if size > 0 => size,
                _ => break,
            };
        }
        at.min(self.units)
    }

    fn spoil(&self, random: &mut Random) {
        let tail = Tail(self.field(Field::Tail).load(Ordering::Relaxed));
        let near_tail = tail.start().min(self.units);
        let at = match random.below(4) {
            0 => random.below(self.units),
            3 => self.end_of_walk(),
            1 => near_tail.saturating_sub(random.below(64)),
            _ => random.below(near_tail + 1),
        };
        let size = match random.below(5) {
            4 => 0,
            0 => random.next() & 0xfff_ffff,
            1 => self.units.saturating_sub(at) + random.below(3),
            _ => random.below(64),
        };
        let set = |field, value| self.field(field).store(value, Ordering::Relaxed);
        match random.below(24) {
            0 => {
                for unit in 0..random.below(64) {
                    let everywhere = HEADER_SIZE / UNIT + self.units;
                    self.word((at + unit) % everywhere)
                        .store(random.next() as u32, Ordering::Relaxed);
                }
            }
            1 => (0..random.below(64)).for_each(|i| self.set_data(at + i, random.next() as u32)),
            2 => (0..random.below(64)).for_each(|i| self.set_data(at + i, 0)),
            3 => self.set_data(at, reserved_word(size & 0xfff_ffff)),
            4 => self.set_data(
                at,
                committed_word(size as usize & 0xfff_ffff, size & 1 == 0, size & 2 == 0),
            ),
            5 => self.set_data(at, sealed_word(size & 0xfff_ffff)),
            6 => self.set_data(at, damaged_word(size & 0xfff_ffff)),
            7 => {
                self.set_data(at + 1, random.below(20) as u32);
                self.set_data(at, reserved_word(3 + random.below(8)));
                set(Field::Tail, Tail::new(at, size & 0xff).0);
            }
            8 => set(Field::Tail, Tail::new(at, size & 0xfff_ffff).0),
            9 => set(
                Field::Tail,
                Tail::new(at, (self.units - at.min(self.units)) & 0xfff_ffff).0,
            ),
            10 => set(Field::Tail, random.next()),
            11 if random.below(4) == 0 => set(Field::Tail, Tail::RESETTING.0),
            12 => set(Field::Wake, random.next()),
            13 => set(Field::Wake, 1 << 32),
            14 => {
                let now = sys::boot_time() >> Hole::TICK_SHIFT;
                set(
                    Field::Hole,
                    Hole::new(at, now.wrapping_sub(random.below(300))).0,
                );
            }
            15 => set(Field::Hole, random.next()),
            16 | 17 => {
                let fields = [Field::Truncation, Field::Generation, Field::Synced];
                let field = fields[random.below(3) as usize];
                set(field, Checked::seal(self.salt, field, 0, at));
            }
            18 => {
                let fields = [
                    Field::Truncation,
                    Field::Generation,
                    Field::Synced,
                    Field::SyncFailed,
                    Field::Reset,
                    Field::BootIdLow,
                    Field::Inode,
                    Field::AppendsBefore,
                ];
                set(fields[random.below(8) as usize], random.next());
            }
            19 => {
                let generation = self.field(Field::Generation).load(Ordering::Relaxed);
                set(
                    Field::Reset,
                    Checked::seal(self.salt, Field::Reset, generation, at),
                );
            }
            20 if random.below(8) == 0 => self.mend(random.below(2) == 0),
            21 => self
                .word(random.below(32))
                .store(random.next() as u32, Ordering::Relaxed),
            22 => (0..random.below(128)).for_each(|i| {
                let from = (at / 2 + i) % self.units;
                let word = self.word(HEADER_SIZE / UNIT + from).load(Ordering::Relaxed);
                self.set_data(at + i, word);
            }),
            _ => {}
        }
    }

    /// A good header again, so that the others come further than to its checks.
    fn mend(&self, also_data: bool) {
        if also_data {
            (0..self.units).for_each(|at| self.set_data(at, 0));
        }
        for (unit, bytes) in (0..).zip(self.pristine.chunks_exact(UNIT as usize)) {
            let mut word = [0; UNIT as usize];
            word.copy_from_slice(bytes);
            self.word(unit)
                .store(u32::from_ne_bytes(word), Ordering::Relaxed);
        }
    }
}

/// What an operator has said.
#[derive(Clone)]
struct Progress {
    ready: bool,
    doing: u8,
    since: Instant,
    begun: [u64; 256],
}

struct Operator {
    child: Child,
    progress: Arc<Mutex<Progress>>,
    ended: bool,
}

impl Operator {
    fn start(plan: &Plan, fd: RawFd, seed: u64) -> io::Result<Operator> {
        let myself = env::current_exe()?.to_string_lossy().into_owned();
        let mut words = plan.under.clone();
        if plan.operator.is_empty() {
            words.extend([myself, "operate".to_string()]);
        } else {
            words.extend(plan.operator.iter().cloned());
        }
        let numbers = [fd as u64, plan.seconds, seed].map(|n| n.to_string());
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args(numbers)
            .stdout(Stdio::piped())
            .spawn()?;
        let progress = Arc::new(Mutex::new(Progress {
            ready: false,
            doing: b'-',
            since: Instant::now(),
            begun: [0; 256],
        }));
        let mut output = child.stdout.take().expect("a pipe");
        let told = progress.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                let mut progress = told.lock().unwrap();
                for &letter in &buffer[..n] {
                    progress.begun[usize::from(letter)] += 1;
                    progress.ready |= letter == b'R';
                    if letter.is_ascii_lowercase() {
                        progress.doing = letter;
                    }
                }
                progress.since = Instant::now();
            }
        });
        Ok(Operator {
            child,
            progress,
            ended: false,
        })
    }
}

fn name(letter: u8) -> String {
    let found = OPERATIONS.iter().find(|(known, _)| *known == letter);
    found.map_or(format!("'{}'", letter as char), |(_, name)| {
        name.to_string()
    })
}

/// Holds still for so many milliseconds, and for as long as an operator does what it did at their
/// beginning: more garbage would end a loop that has no end by itself. Sync and truncate may wait.
fn rest(operators: &[Arc<Mutex<Progress>>], milliseconds: u64, over: &AtomicBool) {
    let doing = || -> Vec<(u8, u64)> {
        let doing = |operator: &Arc<Mutex<Progress>>| {
            let progress = operator.lock().unwrap();
            (progress.doing, progress.begun.iter().sum())
        };
        operators.iter().map(doing).collect()
    };
    let before = doing();
    thread::sleep(Duration::from_millis(milliseconds));
    while !over.load(Ordering::Relaxed)
        && doing()
            .iter()
            .zip(&before)
            .any(|(now, before)| now == before && !b"yt".contains(&now.0))
    {
        thread::sleep(Duration::from_millis(1));
    }
}

fn oversee(plan: &Plan) -> i32 {
    let making = Making::new(plan.size as f64, 384.0, None, Some(true)).expect("a size");
    let log = match &plan.file {
        Some(path) => Log::open(path.as_ref(), &making),
        None => Log::in_memory(Some(b"scribble"), &making),
    }
    .expect("a log");
    let file = match &plan.file {
        Some(path) => File::options().read(true).write(true).open(path),
        None => File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/self/fd/{}", log.memfd().expect("a memfd"))),
    }
    .expect("its file");
    // SAFETY: no pointers; the operators inherit the duplicate.
    let fd = unsafe { libc::dup(file.as_raw_fd()) };
    let length = file.metadata().expect("metadata").len();

    let mut operators: Vec<Operator> = (0..plan.operators)
        .map(|i| Operator::start(plan, fd, plan.seed * 1000 + i).expect("an operator"))
        .collect();
    // Each has the log before anything is spoiled.
    let stuck = Duration::from_secs(plan.stuck);
    let mut bad = 0;
    let begin = Instant::now();
    while !operators
        .iter()
        .all(|operator| operator.progress.lock().unwrap().ready)
    {
        thread::sleep(Duration::from_millis(10));
        if begin.elapsed() > stuck + Duration::from_secs(60) {
            println!("an operator does not start");
            bad += 1;
            break;
        }
    }

    let over = Arc::new(AtomicBool::new(false));
    let spoiled = Arc::new(AtomicU64::new(0));
    let scribblers: Vec<_> = (0..plan.scribblers)
        .map(|i| {
            let victim = Victim::new(&file).expect("a mapping");
            let (over, spoiled) = (over.clone(), spoiled.clone());
            let progress: Vec<_> = operators.iter().map(|o| o.progress.clone()).collect();
            let mut random = Random(plan.seed << 32 | i);
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    for _ in 0..random.below(200) {
                        victim.spoil(&mut random);
                        spoiled.fetch_add(1, Ordering::Relaxed);
                    }
                    match random.below(16) {
                        0 => rest(&progress, random.below(60), &over),
                        1..=7 => thread::sleep(Duration::from_micros(random.below(400))),
                        _ => thread::yield_now(),
                    }
                }
            })
        })
        .collect();

    while operators.iter().any(|operator| !operator.ended) {
        thread::sleep(Duration::from_millis(20));
        for operator in operators.iter_mut().filter(|operator| !operator.ended) {
            if let Some(status) = operator.child.try_wait().expect("a child") {
                operator.ended = true;
                if !status.success() {
                    let doing = operator.progress.lock().unwrap().doing;
                    println!("broken: an operator ended with {status} in {}", name(doing));
                    bad += 1;
                }
                continue;
            }
            let progress = operator.progress.lock().unwrap().clone();
            if progress.since.elapsed() > stuck {
                println!(
                    "broken: an operator is caught in {} for {} s",
                    name(progress.doing),
                    plan.stuck
                );
                bad += 1;
                operator.ended = true;
                let _ = operator.child.kill();
                let _ = operator.child.wait();
            }
        }
    }
    over.store(true, Ordering::Relaxed);
    for scribbler in scribblers {
        scribbler.join().expect("a scribbler");
    }
    if file.metadata().expect("metadata").len() != length {
        println!("broken: the log's file has another size");
        bad += 1;
    }

    let mut figures = String::new();
    for (letter, name) in OPERATIONS {
        let sum = |letter: u8| -> u64 {
            let count = |o: &Operator| o.progress.lock().unwrap().begun[usize::from(letter)];
            operators.iter().map(count).sum()
        };
        let (begun, fruitful) = (sum(*letter), sum(letter.to_ascii_uppercase()));
        figures += &format!(" {name} {fruitful}/{begun}");
        if begun > 0 && fruitful == 0 && plan.seconds >= 5 {
            println!("vacuous: nothing came of {name} in {begun} times");
            bad += 1;
        }
    }
    println!(
        "{} operators, {} pieces of garbage; led to something:{figures}",
        plan.operators,
        spoiled.load(Ordering::Relaxed)
    );
    if let Some(path) = &plan.file {
        let _ = fs::remove_file(path);
    }
    i32::from(bad > 0)
}

/// Says what is being done, and that something came of it.
fn say(letter: u8) {
    let _ = io::stdout()
        .write_all(&[letter, b'\n'])
        .and_then(|()| io::stdout().flush());
}

const FORBIDDEN: usize = 4096;

/// Maps pages that nobody may touch, at a place or wherever the kernel likes.
fn forbid(place: usize, count: usize) -> usize {
    let fixed = if place == 0 {
        0
    } else {
        libc::MAP_FIXED_NOREPLACE
    };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | fixed;
    // SAFETY: replaces no mapping, and nobody is told of the new one.
    unsafe {
        libc::mmap(
            place as *mut _,
            count * FORBIDDEN,
            libc::PROT_NONE,
            flags,
            -1,
            0,
        ) as usize
    }
}

/// Puts forbidden pages beside each mapping of the log, where nothing else is mapped.
fn guard(fd: RawFd) {
    let inode = match fs::metadata(format!("/proc/self/fd/{fd}")) {
        Ok(metadata) => metadata.ino().to_string(),
        Err(_) => return,
    };
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        let mut columns = line.split_whitespace();
        let range = columns.next().and_then(|range| range.split_once('-'));
        if columns.nth(3) == Some(&inode) {
            if let Some((start, end)) = range {
                let parsed = |hex| usize::from_str_radix(hex, 16).expect("an address");
                forbid(parsed(start) - FORBIDDEN, 1);
                forbid(parsed(end), 1);
            }
        }
    }
}

fn operate(fd: RawFd, time: Duration, mut random: Random) {
    // Leaves a gap for the single page that goes with a mapping, which else lies where a guard belongs.
    let gap = forbid(0, 3) + FORBIDDEN;
    // SAFETY: the page was just made, and nobody was told of it.
    unsafe { libc::munmap(gap as *mut _, FORBIDDEN) };
    let mut log = Log::from_fd(fd).expect("the log, before it is spoiled");
    guard(fd);
    let mut cursor = Cursor::new(&log, None);
    say(b'R');
    let start = Instant::now();
    while start.elapsed() < time {
        let letter = OPERATIONS[random.below(OPERATIONS.len() as u64) as usize].0;
        say(letter);
        let fruitful = match letter {
            b'h' => match Log::from_fd(fd) {
                Ok(again) => {
                    guard(fd);
                    cursor = Cursor::new(&again, None);
                    log = again;
                    true
                }
                Err(_) => false,
            },
            _ => operation(letter, &log, &cursor, &mut random),
        };
        if fruitful {
            say(letter.to_ascii_uppercase());
        }
    }
}

fn operation(letter: u8, log: &Log, cursor: &Cursor, random: &mut Random) -> bool {
    let patience = match random.below(3) {
        0 => Patience::AtOnce,
        1 => Patience::Within(0),
        _ => Patience::DEFAULT,
    };
    let offset = random.below(log.data_size() + 8);
    match letter {
        b'a' => {
            let data = vec![b'a'; 1 + random.below(500) as usize];
            matches!(log.append(&data, data.len() & 1 == 0), Ok(Some(_)))
        }
        b'b' => {
            let data = [b'b'; 100];
            let count = random.below(20) as usize;
            let members = (0..count).map(|n| Entry {
                data: &data[..=n],
                utf8: false,
            });
            matches!(log.append_batch(members), Ok(Some(_)))
        }
        b'c' => log.entry_count() > 0,
        b'e' => {
            let watched = log.watch().is_ok();
            log.unwatch();
            watched
        }
        b'g' => {
            let offset = match random.below(3) {
                0 => 0,
                1 => random.below(log.tail_offset() + 8) & !3,
                _ => offset,
            };
            log.read(offset, patience)
                .map(|found| copy(&found))
                .is_some()
        }
        b'i' => {
            let mut at = 0;
            while let Some(found) = log.next(at, patience) {
                assert!(found.next > at && found.next <= log.data_size());
                copy(&found);
                at = found.next;
            }
            at > 0
        }
        b'n' => {
            if random.below(8) == 0 {
                cursor.seek(offset);
            }
            let until = deadline(random.below(20) as f64 / 1000.0);
            let mut waited = cursor.wait(until, true);
            while waited == Waited::Again {
                waited = cursor.wait(until, false);
            }
            assert!(cursor.lag() <= log.data_size());
            cursor.next().map(|found| copy(&found)).is_some()
        }
        b's' => {
            let stats = log.stats();
            assert!(stats.available <= stats.data_size && stats.tail <= stats.data_size);
            stats.tail > 0
        }
        b't' => loop {
            match log.truncate(offset) {
                Ok(None) => {}
                Ok(Some(truncation)) => break truncation > 0,
                Err(_) => break false,
            }
        },
        b'v' => log.verify().entries > 0,
        b'w' => {
            let until = deadline(random.below(20) as f64 / 1000.0);
            let count = log.entry_count();
            let mut waited = log.wait(count, until, true);
            while waited == Waited::Again {
                waited = log.wait(count, until, false);
            }
            waited == Waited::Changed
        }
        b'y' => {
            let end = log.tail_offset();
            loop {
                match log.settle(end) {
                    Ok(false) => {}
                    Ok(true) => break log.sync(end).is_ok(),
                    Err(_) => break false,
                }
            }
        }
        b'z' => log.reset().is_ok(),
        _ => unreachable!("no operation {letter}"),
    }
}

/// Copies out what was found, as a program does that wants to keep it.
fn copy(found: &Payload) -> Vec<u8> {
    let mut copy = vec![0; found.len];
    // SAFETY: a payload lies in the mapping of a handle that is still open.
    unsafe { ptr::copy_nonoverlapping(found.data, copy.as_mut_ptr(), found.len) }
    copy
}
