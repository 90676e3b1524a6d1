//! How long a dead writer holds up the readers behind it, and that no live one is given up for good.

use std::ffi::CString;
use std::fs;
use std::io;
use std::process::exit;
use std::ptr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use data_log_shared::log::{deadline, Log};
use data_log_shared::protocol::Patience;
use data_log_shared::sys::{boot_id, monotonic_time};
use libc::pid_t;
use trials::options::Options;
use trials::scene::{append, copy, in_flight, making, pattern, replay, settle, Directory};
use trials::step::{fork, kill, wait_for, watchdog, Board};
use trials::{equal, holds};

const HELP: &str = "\
Usage: unblock [OPTION VALUE]...
Kills writers right behind their reservation and measures how long readers wait for the entry
behind it: one that waits, ones that live for 5 ms each, two cursors in turn at two places in a row.
Then a live writer of a huge entry against readers without patience, and containers.

  --rounds N      deaths for each figure (default 50; long form: 1000)
  --limit N       milliseconds that the 99th percentile may take for each death (default 50)
  --tries N       measurements; the best counts, since a busy machine only adds (default 3)
  --huge N        bytes of the huge entry (default 64 MiB; long form: 268435455)
  --only TEXT     only the parts whose name contains this (default: all)
";

fn main() {
    let mut options = Options::new(HELP);
    let rounds = options.number("rounds", 50).max(1);
    let limit = Duration::from_millis(options.number("limit", 50));
    let tries = options.number("tries", 3).max(1);
    let huge = options.number("huge", 64 << 20) as usize;
    let only = options.text("only", "");
    options.done();

    let mut bad = 0;
    let mut part = |name: &str, run: &mut dyn FnMut() -> Result<String, String>| {
        if !name.contains(&only) {
            return;
        }
        watchdog(300, name);
        match run() {
            Ok(figures) => println!("{name}: {figures}"),
            Err(reason) => {
                println!("BAD {name}: {reason}");
                bad += 1;
            }
        }
    };
    let figures: [(&str, u32, Measure); 3] = [
        ("waiting reader", 1, waiting),
        ("readers of 5 ms", 1, short_lived),
        ("two cursors, two deaths", 2, two_cursors),
    ];
    for (name, deaths, measure) in figures {
        part(name, &mut || {
            best(tries, || measured(rounds, deaths * limit, measure))
        });
    }
    part("huge entry", &mut || live_writer(huge));
    part("containers", &mut containers);
    exit(i32::from(bad > 0));
}

/// The delays of so many rounds, and more to be said about them.
type Measure = fn(u64) -> Result<(Vec<Duration>, String), String>;

fn best(tries: u64, run: impl Fn() -> Result<String, String>) -> Result<String, String> {
    let mut result = run();
    for _ in 1..tries {
        result = result.or_else(|_| run());
    }
    result
}

fn measured(rounds: u64, limit: Duration, measure: Measure) -> Result<String, String> {
    let (mut delays, more) = measure(rounds)?;
    delays.sort();
    let percentile = |p: usize| delays[(delays.len() * p / 100).min(delays.len() - 1)];
    let figures = format!(
        "{} rounds, p50 {:.1?}, p99 {:.1?}, max {:.1?}{more}",
        delays.len(),
        percentile(50),
        percentile(99),
        percentile(100)
    );
    holds(percentile(99) <= limit, || {
        format!("{figures}, but p99 may be {limit:?}")
    })?;
    Ok(figures)
}

fn log_in_memory(size: u64) -> Log {
    Log::in_memory(Some(b"unblock"), &making(size, true)).expect("create")
}

fn attach(log: &Log) -> Log {
    Log::from_fd(log.memfd().unwrap()).expect("attach")
}

/// Appends through a process that dies right behind its reservation.
fn dead_place(log: &Log) {
    drop(in_flight(
        log,
        || attach(log),
        &Board::new(),
        0,
        b"never committed",
    ));
}

/// A reader that waits in the log all the time.
fn waiting(rounds: u64) -> Result<(Vec<Duration>, String), String> {
    const GOT: usize = 0;
    const WHEN: usize = 1;
    const BUSY: usize = 2;
    let log = log_in_memory(1 << 20);
    let board = Board::new();
    let start = monotonic_time();
    let reader = fork(|| {
        let log = attach(&log);
        let mut at = 0;
        let began = processor_time();
        for got in 1.. {
            while log.next(at, Patience::DEFAULT).is_none() {
                log.wait(log.entry_count(), u64::MAX, true);
            }
            at = log.next(at, Patience::DEFAULT).unwrap().next;
            board.set(WHEN, monotonic_time());
            board.set(BUSY, processor_time() - began);
            board.set(GOT, got);
        }
    });
    let mut delays = Vec::new();
    for round in 1..=rounds {
        dead_place(&log);
        let died = monotonic_time();
        append(&log, b"behind").expect("room");
        while board.get(GOT) < round {
            sleep(Duration::from_millis(1));
        }
        delays.push(Duration::from_nanos(board.get(WHEN) - died));
    }
    let share = board.get(BUSY) as f64 / (monotonic_time() - start) as f64;
    kill(reader);
    holds(share < 0.01, || {
        format!("the reader takes {:.2} % of a processor", share * 100.0)
    })?;
    Ok((delays, format!(", {:.2} % of a processor", share * 100.0)))
}

fn processor_time() -> u64 {
    // SAFETY: an all-zero timespec is valid, and may be written.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// No reader lives as long as the patience, so they must share its clock.
fn short_lived(rounds: u64) -> Result<(Vec<Duration>, String), String> {
    let log = log_in_memory(1 << 20);
    let board = Board::new();
    let mut delays = Vec::new();
    let mut readers = 0;
    for round in 0..rounds {
        dead_place(&log);
        let died = Instant::now();
        let wanted = append(&log, &pattern(round as u8, 30)).expect("room");
        board.set(0, 0);
        while board.get(0) == 0 {
            holds(died.elapsed() < Duration::from_secs(10), || {
                "no reader got through for 10 s".into()
            })?;
            readers += 1;
            let reader = fork(|| {
                let log = attach(&log);
                let end = Instant::now() + Duration::from_millis(5);
                while Instant::now() < end && board.get(0) == 0 {
                    let read = replay(&log, Patience::DEFAULT);
                    if read.last().map(|last| last.0) == Some(wanted) {
                        board.set(0, 1);
                    }
                    sleep(Duration::from_millis(1));
                }
            });
            wait_for(reader);
        }
        delays.push(died.elapsed());
    }
    Ok((delays, format!(", {readers} readers")))
}

/// Two cursors of one process, one of them at an entry between two dead places.
fn two_cursors(rounds: u64) -> Result<(Vec<Duration>, String), String> {
    let log = log_in_memory(1 << 20);
    let cursors = [attach(&log), attach(&log)];
    let mut from = 0;
    let mut delays = Vec::new();
    for _ in 0..rounds {
        dead_place(&log);
        let between = append(&log, b"between").expect("room");
        dead_place(&log);
        let died = Instant::now();
        let behind = append(&log, b"behind").expect("room");
        let mut at = [from, between];
        while at.iter().any(|&at| at <= behind) {
            for (log, at) in cursors.iter().zip(&mut at) {
                if let Some(payload) = log.next(*at, Patience::DEFAULT) {
                    *at = payload.next;
                }
            }
            sleep(Duration::from_millis(1));
        }
        delays.push(died.elapsed());
        from = at[0];
    }
    Ok((delays, String::new()))
}

/// Whatever impatient readers do, a live writer of a huge entry gets through.
fn live_writer(length: usize) -> Result<String, String> {
    let log = log_in_memory(length as u64 * 6 + (1 << 20));
    let readers: Vec<pid_t> = (0..2)
        .map(|_| {
            fork(|| {
                let log = attach(&log);
                loop {
                    log.next(0, Patience::Within(0));
                }
            })
        })
        .collect();
    let data = vec![b'x'; length];
    let start = Instant::now();
    let offset = append(&log, &data);
    let took = start.elapsed();
    readers.into_iter().for_each(kill);
    let offset = offset.ok_or("the writer never got through")?;
    let read = log.read(offset, Patience::DEFAULT).map(copy);
    holds(read == Some(data), || {
        "the entry is not what was appended".into()
    })?;
    let (count, sealed) = (log.entry_count(), log.stats().sealed);
    equal("entry_count", count, 1)?;
    Ok(format!(
        "{length} bytes got through at attempt {} in {took:.1?}",
        sealed + 1
    ))
}

const FIRST: usize = 10;
const PROCESS: usize = 2;
const CONTAINER_BOOT: usize = 4;

/// Two containers that see boot ids of their own and processes of their own, both with pid 1: they
/// work on one log and are killed in turn, so that always one of them lives.
fn containers() -> Result<String, String> {
    const TURNS: u64 = 6;
    let directory = Directory::new();
    let path = directory.0.join("log");
    let board = Board::new();
    let making = making(16 << 20, true);
    let start = |turn: u64| -> Result<pid_t, io::Error> {
        let side = (turn % 2) as usize;
        board.set(PROCESS + side, 0);
        let boot = directory.0.join(format!("boot-{side}"));
        fs::write(
            &boot,
            format!("{side:08x}-0000-4000-8000-00000000000{side}\n"),
        )?;
        let outer = fork(|| {
            if let Err(error) = enter_container(&boot) {
                board.set(
                    PROCESS + side,
                    u64::from(u32::MAX) + error.raw_os_error().unwrap_or(0) as u64,
                );
                return;
            }
            let inner = fork(|| {
                // SAFETY: no pointers.
                assert_eq!(unsafe { libc::getpid() }, 1);
                let low = boot_id() as u64;
                board.set(CONTAINER_BOOT + side, low);
                let log = Log::open(&path, &making).expect("attach");
                for n in 0.. {
                    let entry = [turn.to_ne_bytes(), u64::to_ne_bytes(n)].concat();
                    append(&log, &entry).expect("room");
                    board.set(FIRST + turn as usize, n + 1);
                    log.wait(log.entry_count(), deadline(0.0002), true);
                }
            });
            board.set(PROCESS + side, inner as u64);
            wait_for(inner);
        });
        Ok(outer)
    };
    let inner = |turn: u64| -> Result<u64, String> {
        let side = (turn % 2) as usize;
        while board.get(PROCESS + side) == 0 {
            sleep(Duration::from_millis(1));
        }
        match board.get(PROCESS + side).checked_sub(u64::from(u32::MAX)) {
            Some(errno) => Err(io::Error::from_raw_os_error(errno as i32).to_string()),
            None => Ok(board.get(PROCESS + side)),
        }
    };
    let works = |turn: u64| {
        let done = board.get(FIRST + turn as usize);
        while board.get(FIRST + turn as usize) < done + 50 {
            sleep(Duration::from_millis(1));
        }
    };
    let end = |turn: u64, outer: pid_t, inner: u64| {
        // SAFETY: no pointers; its parent has not reaped it, or is about to end.
        unsafe { libc::kill(inner as pid_t, libc::SIGKILL) };
        wait_for(outer);
        board.get(FIRST + turn as usize)
    };

    let mut acknowledged = Vec::new();
    let mut lives: Option<(u64, pid_t, u64)> = None;
    for turn in 0..TURNS {
        let outer = start(turn).map_err(|error| error.to_string())?;
        let pid = match inner(turn) {
            Ok(pid) => pid,
            Err(reason) => {
                wait_for(outer);
                return Ok(format!("skipped, no container: {reason}"));
            }
        };
        works(turn);
        if let Some((other, outer, pid)) = lives.replace((turn, outer, pid)) {
            works(other);
            acknowledged.push(end(other, outer, pid));
        }
        works(turn);
    }
    let boots = [board.get(CONTAINER_BOOT), board.get(CONTAINER_BOOT + 1)];
    holds(boots[0] != boots[1], || {
        "the containers see one boot id".into()
    })?;

    let log = Log::open(&path, &making).expect("attach");
    let (turn, outer, pid) = lives.unwrap();
    acknowledged.push(end(turn, outer, pid));
    equal("stats.recoveries", log.stats().recoveries, 0)?;
    nothing_lost(&log, &acknowledged)?;
    drop(log);
    // Now that nobody lives, recovery is due here, and loses nothing either.
    let log = Log::open(&path, &making).expect("attach");
    equal("stats.recoveries", log.stats().recoveries, 1)?;
    nothing_lost(&log, &acknowledged)?;
    Ok(format!(
        "{TURNS} lives, {} entries, 0 lost, no recovery while one lived",
        acknowledged.iter().sum::<u64>()
    ))
}

fn nothing_lost(log: &Log, acknowledged: &[u64]) -> Result<(), String> {
    settle(log);
    let mut next = vec![0; acknowledged.len()];
    for (_, data) in replay(log, Patience::DEFAULT) {
        let word = |i: usize| u64::from_ne_bytes(data[i..i + 8].try_into().unwrap());
        let turn = word(0) as usize;
        equal("the order of a container", word(8), next[turn])?;
        next[turn] += 1;
    }
    for (turn, (&found, &noted)) in next.iter().zip(acknowledged).enumerate() {
        holds(found == noted || found == noted + 1, || {
            format!("life {turn} was told of {noted} entries, {found} are there")
        })?;
    }
    Ok(())
}

/// New namespaces, which children will be in, and `boot` for a boot id.
fn enter_container(boot: &std::path::Path) -> io::Result<()> {
    let check = |result| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    let c_string = |text: &str| CString::new(text).unwrap();
    let from = c_string(boot.to_str().unwrap());
    let to = c_string("/proc/sys/kernel/random/boot_id");
    let (none, root) = (ptr::null(), c_string("/"));
    // SAFETY: all strings live through the calls.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWPID))?;
        // Or the mount below would be everybody's.
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(libc::mount(none, root.as_ptr(), none, private, ptr::null()))?;
        let bind = libc::MS_BIND;
        check(libc::mount(
            from.as_ptr(),
            to.as_ptr(),
            none,
            bind,
            ptr::null(),
        ))
    }
}
