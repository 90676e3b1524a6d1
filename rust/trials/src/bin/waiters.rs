//! Wake-ups: none is missed, and a killed waiter costs one, once.

use std::process::exit;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::sleep;
use std::time::{Duration, Instant};

use data_log_shared::layout::{Field, Wake};
use data_log_shared::log::{deadline, Log, Waited};
use data_log_shared::memory::Memory;
use data_log_shared::region::Region;
use data_log_shared::sys::monotonic_time;
use libc::pid_t;
use trials::options::Options;
use trials::scene::{append, making};
use trials::step::{fork, kill, wait_for, watchdog, Board};
use trials::{equal, holds};

const HELP: &str = "\
Usage: waiters [OPTION VALUE]...
Processes hand a turn around through a log, each waiting for the one before it. Then waiters are
killed in their sleep, and appends counted and timed beside those to a log that nobody ever waited in.

  --handoffs N    turns (default 50000; long form: 1000000)
  --processes N   that take turns (default 3)
  --killed N      waiters to kill at a time (default 50; long form: 500)
  --rounds N      how often (default 10; long form: 100)
";

fn main() {
    let mut options = Options::new(HELP);
    let handoffs = options.number("handoffs", 50_000).max(1);
    let processes = options.number("processes", 3).max(2);
    let killed = options.number("killed", 50).max(1);
    let rounds = options.number("rounds", 10).max(1);
    options.done();

    let parts = [
        hand_around(handoffs, processes),
        killed_waiters(killed, rounds),
    ];
    for part in &parts {
        match part {
            Ok(figures) => println!("{figures}"),
            Err(reason) => println!("BAD {reason}"),
        }
    }
    exit(i32::from(parts.iter().any(Result::is_err)));
}

fn log_in_memory(size: u64) -> Log {
    Log::in_memory(Some(b"waiters"), &making(size, false)).expect("create")
}

fn attach(log: &Log) -> Log {
    Log::from_fd(log.memfd().unwrap()).expect("attach")
}

/// The wake word, seen from aside.
struct Watch(Region);

impl Watch {
    fn new(log: &Log) -> Watch {
        Watch(Region::from_fd(log.memfd().unwrap()).expect("attach"))
    }

    fn wake(&self) -> Wake {
        Wake(self.0.core.memory.load(Field::Wake, SeqCst))
    }
}

const MISSED: usize = 0;
const SLEPT: usize = 1;
const OVERSLEPT: usize = 2;

/// Words from here on: when the append that ended a turn was over, by the turn.
const OVER: usize = 16;
const TURNS: u64 = 256;

/// A sleep ends by itself after 200 ms, or 10 ms beside an entry that is being written, so a missed
/// wake-up shows as one that lasted so long although the turn's append was over long before. Time that
/// the process had no processor for does not count. Of the short ones a few may be the machine's.
fn hand_around(handoffs: u64, processes: u64) -> Result<String, String> {
    const NAP: u64 = 190_000_000;
    const LATE: u64 = 100_000_000;
    const NAP_AT_HOLE: u64 = 9_000_000;
    const LATE_AT_HOLE: u64 = 5_000_000;
    watchdog(120 + (handoffs / 1000) as u32, "hand-offs");
    let log = log_in_memory(12 * handoffs + 4096);
    let board = Board::new();
    let start = Instant::now();
    let pids: Vec<pid_t> = (0..processes)
        .map(|id| {
            fork(|| {
                let log = attach(&log);
                let over = |turn: u64| board.word(OVER + (turn % TURNS) as usize);
                let mut random = id + 1;
                loop {
                    let count = log.entry_count();
                    if count >= handoffs {
                        break;
                    }
                    if count % processes == id {
                        over(count).store(u64::MAX, SeqCst);
                        append(&log, b"turn").expect("room");
                        over(count).store(monotonic_time(), SeqCst);
                        continue;
                    }
                    // Others append at any moment of what comes before the sleep.
                    random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    for _ in 0..random >> 54 {
                        std::hint::spin_loop();
                    }
                    let (since, queued) = (monotonic_time(), time_in_queue());
                    log.wait(count, u64::MAX, true);
                    let now = monotonic_time();
                    if now - since > NAP_AT_HOLE && log.entry_count() != count {
                        let late = now
                            .saturating_sub(over(count).load(SeqCst))
                            .saturating_sub(time_in_queue() - queued);
                        if now - since > NAP && late > LATE {
                            board.word(MISSED).fetch_add(1, SeqCst);
                        }
                        if late > LATE_AT_HOLE {
                            board.word(OVERSLEPT).fetch_add(1, SeqCst);
                        }
                    }
                    board.word(SLEPT).fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    for pid in pids {
        equal("the status of a process", wait_for(pid), 0)?;
    }
    let took = start.elapsed();
    equal("missed wake-ups", board.get(MISSED), 0)?;
    let overslept = board.get(OVERSLEPT);
    holds(overslept <= handoffs / 500, || {
        format!("wake-ups missed beside an entry being written are {overslept}")
    })?;
    equal("entry_count", log.entry_count(), handoffs)?;
    equal("stats.waiters", log.stats().waiters, 0)?;
    Ok(format!(
        "waiters: {handoffs} hand-offs among {processes} processes, {} waits, 0 missed, {overslept} late, \
         {:.1} us each",
        board.get(SLEPT),
        took.as_secs_f64() * 1e6 / handoffs as f64
    ))
}

/// Nanoseconds for which this process was ready and had no processor.
fn time_in_queue() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let second = text.split(' ').nth(1);
    second.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn killed_waiters(killed: u64, rounds: u64) -> Result<String, String> {
    const APPENDS: u64 = 20_000;
    const BATCHES: u64 = 10;
    let size = 12 * (APPENDS * rounds + rounds) + 4096;
    let (log, calm) = (log_in_memory(size), log_in_memory(size));
    let watch = Watch::new(&log);
    let mut spent = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        watchdog(60, "killed waiters");
        let count = log.entry_count();
        let pids: Vec<pid_t> = (0..killed)
            .map(|_| {
                fork(|| {
                    let log = attach(&log);
                    loop {
                        log.wait(count, u64::MAX, true);
                    }
                })
            })
            .collect();
        while u64::from(watch.wake().waiters()) < killed {
            sleep(Duration::from_millis(1));
        }
        pids.into_iter().for_each(kill);
        let left = u64::from(watch.wake().waiters());
        // Killed between two sleeps, a waiter is not registered.
        holds(left > 0 && left <= killed, || {
            format!("{left} registered waiters of {killed} that were killed")
        })?;

        let before = watch.wake().sequence();
        append(&log, b"wake").expect("room");
        append(&calm, b"wake").expect("room");
        equal(
            "wake-ups by the first append",
            watch.wake(),
            Wake::new(before.wrapping_add(1), 0),
        )?;
        for batch in 0..BATCHES {
            // Taking turns, since who goes first finds cold caches.
            for i in [batch as usize % 2, (batch as usize + 1) % 2] {
                let start = Instant::now();
                for _ in 0..APPENDS / BATCHES {
                    append([&log, &calm][i], b"turn").expect("room");
                }
                spent[i].push(start.elapsed());
            }
            equal(
                &format!("the wake word in round {round}"),
                watch.wake(),
                Wake::new(before.wrapping_add(1), 0),
            )?;
        }
    }
    // Whoever waited in vain has taken itself off.
    let mut waited = log.wait(log.entry_count(), deadline(0.01), true);
    while waited == Waited::Again {
        waited = log.wait(log.entry_count(), deadline(0.0), false);
    }
    equal("a wait in vain", waited, Waited::TimedOut)?;
    equal("stats.waiters", log.stats().waiters, 0)?;
    let [with, without] = spent.map(|mut spent| {
        spent.sort();
        spent[spent.len() / 2].as_secs_f64() * 1e9 / (APPENDS / BATCHES) as f64
    });
    Ok(format!(
        "waiters: {} killed in their sleep cost {rounds} wake-ups; later appends take {:.1} ns, \
         {:.1} ns where nobody waited (ratio {:.3})",
        killed * rounds,
        with,
        without,
        with / without
    ))
}
