//! Writers, readers and waiters that are killed and stopped at random; nothing acknowledged is lost.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::sleep;
use std::time::{Duration, Instant};

use data_log_shared::log::{deadline, Log};
use data_log_shared::protocol::Patience;
use libc::pid_t;
use trials::options::Options;
use trials::random::Random;
use trials::scene::{append, copy, making, replay, settle, slot, Directory};
use trials::step::{fork, kill, watchdog, Board};

const HELP: &str = "\
Usage: soak [OPTION VALUE]...
Writers append entries of 64 bytes to 64 KiB and put down what was acknowledged; readers read on,
waiters wait. All are killed or stopped for a while at random and replaced. When a log is full it is
checked: every acknowledged entry exactly once, each writer's in its order, and nobody blocked.

  --kills N       processes to kill (default 1000; long form: 10000)
  --seconds N     stop after so long even so (default 30; long form: 3600)
  --writers N     at a time (default 3)
  --readers N     at a time (default 1)
  --waiters N     at a time (default 2)
  --size N        bytes of each log's data region (default 64 MiB)
  --seed N        of the random numbers (default: the time)
";

const HEAD: usize = 24;
const LARGEST: u64 = 64 << 10;

fn main() {
    let mut options = Options::new(HELP);
    let kills = options.number("kills", 1000);
    let seconds = options.number("seconds", 30);
    let roles = [
        (Role::Writer, options.number("writers", 3)),
        (Role::Reader, options.number("readers", 1)),
        (Role::Waiter, options.number("waiters", 2)),
    ];
    let size = options.number("size", 64 << 20);
    let seed = options.number("seed", Random::from_time().next());
    options.done();

    let start = Instant::now();
    let mut random = Random(seed);
    let mut sum = Sum::default();
    let mut bad = 0;
    while sum.kills < kills && start.elapsed().as_secs() < seconds {
        watchdog(120, &format!("log {} of seed {seed}", sum.logs + 1));
        let left = Duration::from_secs(seconds).saturating_sub(start.elapsed());
        let limit = (kills - sum.kills, Instant::now() + left);
        if let Err(reason) = one_log(&mut random, &roles, size, limit, &mut sum) {
            println!("BAD log {} of seed {seed}: {reason}", sum.logs);
            bad += 1;
        }
    }
    println!(
        "soak: {} kills ({} writers, {} readers, {} waiters), {} stops, {} logs, {} entries \
         acknowledged, {} places closed, {bad} logs bad or blocked, seed {seed}",
        sum.kills,
        sum.killed[0],
        sum.killed[1],
        sum.killed[2],
        sum.stops,
        sum.logs,
        sum.entries,
        sum.sealed
    );
    exit(i32::from(bad > 0 || sum.kills == 0));
}

#[derive(Default)]
struct Sum {
    kills: u64,
    killed: [u64; 3],
    stops: u64,
    logs: u64,
    entries: u64,
    sealed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Writer,
    Reader,
    Waiter,
}

struct Process {
    pid: pid_t,
    role: Role,
}

/// The `n`th entry of writer `id`.
fn entry(id: u64, n: u64) -> Vec<u8> {
    let mut random = Random(id << 32 | n);
    random.next();
    // Most are small, yet most bytes are in large ones.
    let exponent = random.below(11).min(random.below(11)).min(random.below(11));
    let length = (64 << exponent) + random.below(64 << exponent);
    let mut data = vec![0; length.min(LARGEST) as usize];
    data[..8].copy_from_slice(&id.to_ne_bytes());
    data[8..16].copy_from_slice(&n.to_ne_bytes());
    for chunk in data[HEAD..].chunks_mut(8) {
        chunk.copy_from_slice(&random.next().to_ne_bytes()[..chunk.len()]);
    }
    data
}

fn word(data: &[u8], i: usize) -> u64 {
    u64::from_ne_bytes(data[8 * i..8 * i + 8].try_into().unwrap())
}

fn one_log(
    random: &mut Random,
    roles: &[(Role, u64)],
    size: u64,
    (kills, until): (u64, Instant),
    sum: &mut Sum,
) -> Result<(), String> {
    let directory = Directory::new();
    let path = directory.0.join("log");
    let making = making(size, true);
    let log = Log::open(&path, &making).expect("create");
    let board = Board::new();
    let mut next_id = 0;
    let mut start = |role: Role| {
        next_id += 1;
        let id = next_id;
        let pid = fork(|| {
            let log = Log::open(&path, &making).expect("attach");
            match role {
                Role::Writer => write(&log, &directory.0, id, &board),
                Role::Reader => read(&log, &board),
                Role::Waiter => wait(&log),
            }
        });
        Process { pid, role }
    };
    let mut processes: Vec<Process> = roles
        .iter()
        .flat_map(|&(role, n)| (0..n).map(move |_| role))
        .map(&mut start)
        .collect();
    let mut stopped: Vec<(pid_t, Instant)> = Vec::new();
    let done = sum.kills + kills;
    sum.logs += 1;

    while sum.kills < done && Instant::now() < until && board.get(0) == 0 {
        sleep(Duration::from_micros(random.below(1000)));
        let i = random.below(processes.len() as u64) as usize;
        let Process { pid, role } = processes[i];
        stopped.retain(|&(stopped, since)| {
            let over = since.elapsed() > Duration::from_millis(60);
            if over {
                signal(stopped, libc::SIGCONT);
            }
            !over
        });
        if stopped.iter().any(|&(stopped, _)| stopped == pid) {
            continue;
        }
        if random.below(3) == 0 {
            // Longer than the patience that others have.
            signal(pid, libc::SIGSTOP);
            stopped.push((pid, Instant::now()));
            sum.stops += 1;
            continue;
        }
        kill(pid);
        sum.kills += 1;
        sum.killed[role as usize] += 1;
        processes[i] = start(role);
    }
    for Process { pid, .. } in &processes {
        kill(*pid);
    }
    trials::equal("entries that a reader found torn", board.get(1), 0)?;
    trials::equal("entries before which a reader missed one", board.get(2), 0)?;
    trials::equal("writers told that it is full", board.get(3), 0)?;
    examine(&log, &directory.0, next_id, sum)
}

fn signal(pid: pid_t, signal: i32) {
    // SAFETY: no pointers; `pid` is a child that has not been reaped.
    unsafe { libc::kill(pid, signal) };
}

fn notes(directory: &Path, id: u64) -> PathBuf {
    directory.join(format!("notes-{id}"))
}

/// Appends until the log is full, and notes each offset it was told.
fn write(log: &Log, directory: &Path, id: u64, board: &Board) {
    let mut notes = OpenOptions::new()
        .create(true)
        .append(true)
        .open(notes(directory, id))
        .unwrap();
    for n in 0.. {
        let data = entry(id, n);
        match append(log, &data) {
            Some(offset) => notes.write_all(&offset.to_ne_bytes()).unwrap(),
            None => {
                if log.available() >= slot(data.len()) {
                    board.set(3, 1);
                }
                break;
            }
        }
    }
    board.set(0, 1);
    loop {
        sleep(Duration::from_secs(1));
    }
}

/// Reads on for ever. Whatever it reads is whole, and it never passes an entry that appears later.
fn read(log: &Log, board: &Board) {
    let mut at = 0;
    let mut next = HashMap::new();
    loop {
        while let Some(payload) = log.next(at, Patience::DEFAULT) {
            let data = copy(payload);
            let (id, n) = (word(&data, 0), word(&data, 1));
            if data != entry(id, n) {
                board.word(1).fetch_add(1, SeqCst);
            } else if next.insert(id, n + 1).unwrap_or(0) != n {
                board.word(2).fetch_add(1, SeqCst);
            }
            at = payload.next;
        }
        sleep(Duration::from_micros(200));
    }
}

fn wait(log: &Log) {
    loop {
        let count = log.entry_count();
        let until = deadline(0.5);
        let mut first = true;
        while log.wait(count, until, first) == data_log_shared::log::Waited::Again {
            first = false;
        }
    }
}

fn examine(log: &Log, directory: &Path, ids: u64, sum: &mut Sum) -> Result<(), String> {
    let begun = Instant::now();
    settle(log);
    let last = append(log, &entry(0, 0)[..64]).is_some();
    trials::holds(begun.elapsed() < Duration::from_secs(5), || {
        format!("blocked for {:?}", begun.elapsed())
    })?;
    let mut read = replay(log, Patience::DEFAULT);
    if last {
        read.pop();
    }
    let mut by_writer = vec![Vec::new(); ids as usize + 1];
    for (offset, data) in &read {
        let (id, n) = (word(data, 0), word(data, 1));
        if id > ids || *data != entry(id, n) {
            return Err(format!("the entry at {offset} is not whole"));
        }
        by_writer[id as usize].push((n, *offset));
    }
    for id in 1..=ids {
        let noted = noted(&notes(directory, id));
        let found = &by_writer[id as usize];
        for (i, &(n, _)) in found.iter().enumerate() {
            trials::equal(&format!("the order of writer {id}"), n, i as u64)?;
        }
        // Killed between its append and its note, a writer has one more than it noted.
        trials::holds(
            found.len() == noted.len() || found.len() == noted.len() + 1,
            || {
                format!(
                    "writer {id} noted {} entries, {} are there",
                    noted.len(),
                    found.len()
                )
            },
        )?;
        for (&(_, found), &noted) in found.iter().zip(&noted) {
            trials::equal(&format!("an offset of writer {id}"), found, noted)?;
        }
        sum.entries += noted.len() as u64;
    }
    let count = read.len() as u64 + u64::from(last);
    trials::equal("entry_count", log.entry_count(), count)?;
    let (stats, verified) = (log.stats(), log.verify());
    trials::equal("verify's entries", verified.entries, count)?;
    trials::equal("verify's damaged", verified.damaged, 0)?;
    trials::equal("stats.appends", stats.appends, count)?;
    if last {
        trials::equal("stats.waiters", stats.waiters, 0)?;
    }
    sum.sealed += stats.sealed;
    Ok(())
}

fn noted(path: &Path) -> Vec<u64> {
    let Ok(file) = File::open(path) else {
        return Vec::new();
    };
    // The last note may have been cut off by a kill.
    let length = fs::metadata(path).unwrap().len() / 8 * 8;
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes.chunks(8).map(|chunk| word(chunk, 0)).collect()
}
