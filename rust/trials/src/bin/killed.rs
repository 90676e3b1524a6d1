//! Kills a process at every instruction of every operation, and looks whether the log is sound.

use std::process::exit;
use std::time::{Duration, Instant};

use data_log_shared::log::{deadline, Log, Waited};
use data_log_shared::protocol::Patience;
use trials::options::Options;
use trials::scene::{all_scenes, append, pattern, replay, settle, slot, Operation, World};
use trials::step::{each_boundary, watchdog, Density};
use trials::{equal, holds};

const HELP: &str = "\
Usage: killed [OPTION VALUE]...
Stops a child at each instruction of an operation, kills it there, and uses the log.
Between a fork and a kill the child is stepped by ptrace; every system call is also interrupted by a kill inside, and
before and behind it.

  --only TEXT     only scenes whose name contains this (default: all)
  --stride N      every Nth instruction (default 13; long form: 1)
  --sparse N      every Nth instruction between two system calls that are more than 4000
                  apart, where files are scanned (default 997; long form: 97)
  --rounds N      rounds of a repeated string instruction between two kills (default 61)
  --patient N     every Nth boundary is read with the default patience instead of none
                  (default 16; long form: 1)
";

/// Nobody may be held up for longer.
const LIMIT: Duration = Duration::from_millis(500);

fn main() {
    let mut options = Options::new(HELP);
    let only = options.text("only", "");
    let full = Density {
        stride: options.number("stride", 13).max(1) as usize,
        sparse: options.number("sparse", 997).max(1) as usize,
        rounds: options.number("rounds", 61).max(1) as usize,
        inside: true,
    };
    let patient_every = options.number("patient", 16).max(1);
    options.done();

    let (mut tried, mut missed, mut bad, mut slowest) = (0, 0, 0, Duration::ZERO);
    for scene in all_scenes() {
        let mut density = full;
        if !scene.name().contains(&only) {
            continue;
        }
        if !scene.on_path() {
            density.sparse = density.stride;
        }
        let (mut here, bad_before, start) = (0, bad, Instant::now());
        missed += each_boundary(
            density,
            || World::start(scene),
            |world, mut child, boundary| {
                let subject = format!("{}, {boundary:?}", scene.name());
                watchdog(30, &subject);
                child.kill();
                let killed = Instant::now();
                let result = look(&world, here % patient_every == 0);
                let took = killed.elapsed();
                slowest = slowest.max(took);
                let result = result.and_then(|()| {
                    holds(took <= LIMIT, || {
                        format!("somebody was held up for {took:?}")
                    })
                });
                if let Err(reason) = result {
                    bad += 1;
                    if bad - bad_before <= 5 {
                        println!("BAD {subject}: {reason}");
                    }
                }
                here += 1;
            },
        );
        println!(
            "{:32} {here:6} boundaries in {:.1} s",
            scene.name(),
            start.elapsed().as_secs_f64()
        );
        tried += here;
    }
    println!(
        "killed: {tried} boundaries tried, {missed} not reached, {bad} bad; \
         at most {slowest:?} from a kill to the end of all checks"
    );
    exit(i32::from(bad > 0 || tried == 0));
}

/// What may be read after the kill: what was hidden, and the rest.
fn allowed(world: &World) -> Vec<(u64, Vec<Vec<u8>>)> {
    let before: Vec<Vec<u8>> = world.before.iter().map(|(_, data)| data.clone()).collect();
    let with_data = [before.clone(), world.data.clone()].concat();
    match world.scene.operation {
        Operation::Truncate => {
            let hidden = before.len() - 1;
            vec![(hidden as u64, before[hidden..].to_vec()), (0, before)]
        }
        Operation::Reset => vec![(0, before), (0, Vec::new())],
        _ => vec![(0, with_data), (0, before)],
    }
}

fn look(world: &World, patient: bool) -> Result<(), String> {
    let litter = world.litter();
    holds(litter.is_empty(), || format!("left over: {litter:?}"))?;
    let log = world.attach();
    let own = pattern(99, 17.min(log.available().saturating_sub(8)) as usize);
    let fits = !own.is_empty() && log.available() >= slot(own.len());
    let mut own_at = None;
    if patient {
        // A reader behind the dead writer gets what others append.
        if fits {
            own_at = append(&log, &own);
        }
        let early = replay(&log, Patience::DEFAULT);
        settle(&log);
        let late = replay(&log, Patience::DEFAULT);
        holds(late.starts_with(&early), || {
            "what was read has changed".into()
        })?;
    }

    let mut found = replay(&log, Patience::AtOnce);
    if let Some(at) = own_at {
        equal("the last entry", found.pop(), Some((at, own.clone())))?;
    }
    let contents: Vec<Vec<u8>> = found.iter().map(|(_, data)| data.clone()).collect();
    let hidden = match allowed(world)
        .iter()
        .find(|(_, wanted)| *wanted == contents)
    {
        Some((hidden, _)) => *hidden,
        None => {
            return Err(format!(
                "{} entries that are not the right ones",
                contents.len()
            ))
        }
    };
    if world.scene.operation != Operation::Reset {
        holds(
            found
                .iter()
                .all(|read| world.data.contains(&read.1) || world.before.contains(read)),
            || "an entry has moved".into(),
        )?;
    }
    let mut count = hidden + found.len() as u64 + u64::from(own_at.is_some());
    counted(world, &log, count)?;

    if fits && own_at.is_none() {
        let tail = log.tail_offset();
        own_at = append(&log, &own);
        equal("the offset of an append", own_at, Some(tail))?;
        count += 1;
    }
    if let Some(at) = own_at {
        let read = log.read(at, Patience::DEFAULT).map(trials::scene::copy);
        equal("an own entry", read, Some(own.clone()))?;
        found.push((at, own));
    }
    equal("the replay", replay(&log, Patience::AtOnce), found)?;
    counted(world, &log, count)?;
    counters(world, &log, count, own_at.is_some())
}

fn counted(world: &World, log: &Log, count: u64) -> Result<(), String> {
    equal("entry_count", log.entry_count(), count)?;
    let wait = log.wait(count, deadline(0.0), true);
    equal("a wait for another count", wait, Waited::TimedOut)?;
    match &world.old {
        Some(old) => equal("entry_count of an old handle", old.entry_count(), count),
        None => Ok(()),
    }
}

fn counters(world: &World, log: &Log, count: u64, appended: bool) -> Result<(), String> {
    let stats = log.stats();
    let verified = log.verify();
    equal("stats.count", stats.count, count)?;
    equal("stats.tail", stats.tail, log.tail_offset())?;
    equal(
        "stats.available",
        stats.available,
        log.data_size() - stats.tail,
    )?;
    equal("stats.truncation", stats.truncation, log.truncation())?;
    // Nobody was woken if nothing was appended.
    let waiters = if appended { 0 } else { stats.waiters };
    equal("stats.waiters", stats.waiters, waiters)?;
    let was_reset = world.scene.operation == Operation::Reset;
    let ever = world.before.len() as u64 + u64::from(appended);
    let appends = if was_reset { ever } else { count };
    equal("stats.appends", stats.appends, appends)?;
    let resets = u64::from(was_reset && count < ever);
    equal("stats.generation", stats.generation, resets)?;
    let recoveries = u64::from(world.scene.operation == Operation::Recover);
    holds(
        (recoveries..=2 * recoveries).contains(&stats.recoveries),
        || format!("{} recoveries", stats.recoveries),
    )?;
    equal("stats.damaged", stats.damaged, 0)?;
    equal("stats.sync_failed", stats.sync_failed, false)?;
    equal("verify's entries", verified.entries, count)?;
    equal("verify's damaged", verified.damaged, 0)?;
    equal("verify's sealed", verified.sealed, stats.sealed)
}
