//! Stops a process at every instruction of every operation, goes on without it, and lets it go on.

use std::process::exit;
use std::time::Instant;

use data_log_shared::log::Log;
use data_log_shared::protocol::Patience;
use trials::options::Options;
use trials::scene::{
    all_scenes, append, pattern, replay, slot, told, Operation, Read, Scene, World,
};
use trials::step::{each_boundary, watchdog, Child, Density};
use trials::{equal, holds};

const HELP: &str = "\
Usage: stopped [OPTION VALUE]...
Stops a child at each instruction of an operation; meanwhile a reader without patience closes its
place and passes, and another writer appends. Then the child runs to its end.

  --only TEXT     only scenes whose name contains this (default: all)
  --stride N      every Nth instruction (default 13; long form: 1)
  --sparse N      every Nth instruction between two system calls that are more than 4000
                  apart, where files are scanned (default 997; long form: 97)
  --rounds N      rounds of a repeated string instruction between two stops (default 61)
  --again N       at every Nth boundary the child is overtaken once more, right behind its
                  second reservation (default 4; long form: 2)
";

fn main() {
    let mut options = Options::new(HELP);
    let only = options.text("only", "");
    let full = Density {
        stride: options.number("stride", 13).max(1) as usize,
        sparse: options.number("sparse", 997).max(1) as usize,
        rounds: options.number("rounds", 61).max(1) as usize,
        inside: false,
    };
    let again_every = options.number("again", 4).max(1);
    options.done();

    let mut sum = Sum::default();
    let (mut tried, mut missed, mut bad) = (0, 0, 0);
    for scene in all_scenes() {
        // Who stops while it has a log for itself holds up the others, until they give up.
        if !scene.name().contains(&only) || scene.excludes() {
            continue;
        }
        let mut density = full;
        if !scene.on_path() {
            density.sparse = density.stride;
        }
        let (mut here, mut bad_here, start) = (0, 0, Instant::now());
        missed += each_boundary(
            density,
            || World::start(scene),
            |mut world, mut child, boundary| {
                let subject = format!("{}, {boundary:?}", scene.name());
                watchdog(30, &subject);
                let again = here % again_every == 0;
                if let Err(reason) = overtake(&mut world, &mut child, again, &mut sum) {
                    bad_here += 1;
                    if bad_here <= 5 {
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
        bad += bad_here;
    }
    println!(
        "stopped: {tried} boundaries tried, {missed} not reached, {bad} bad; {} came behind what was \
         appended meanwhile, {} were overtaken twice, {} found the log full",
        sum.overtaken, sum.twice, sum.full
    );
    exit(i32::from(bad > 0 || tried == 0));
}

#[derive(Default)]
struct Sum {
    overtaken: u64,
    twice: u64,
    full: u64,
}

/// What a reader that has passed everything knows: what it read, and where it stands.
struct Seen {
    entries: Vec<Read>,
    passed: u64,
    available: u64,
}

fn overtake(
    world: &mut World,
    child: &mut Child,
    again: bool,
    sum: &mut Sum,
) -> Result<(), String> {
    let log = world.attach();
    let mut seen = go_on(&log, 99)?;
    let mut running = true;
    let mut twice = false;
    let committed = seen.entries.iter().any(|read| world.data.contains(&read.1));
    if again && !committed && !world.data.is_empty() && !world.scene.on_path() {
        let tail = log.tail_offset();
        while running && log.tail_offset() == tail {
            running = child.step();
        }
        twice = running;
        if running {
            seen = go_on(&log, 98)?;
        }
    }
    if running {
        child.finish();
    }
    if world.data.is_empty() {
        unchanged(&log, &seen)?;
    } else {
        let at = told(&world.told, 0);
        let moved = appeared(&log, &seen, at, &world.data)?;
        sum.overtaken += u64::from(moved);
        sum.twice += u64::from(moved && twice);
        sum.full += u64::from(at.is_none());
    }
    if world.scene.operation == Operation::Truncate {
        equal("the truncation", log.truncation(), world.truncated_to())?;
    }

    if let Some((mut other, data)) = world.other.take() {
        let seen = go_on(&log, 97)?;
        other.finish();
        appeared(&log, &seen, told(&world.told, 1), &[data])?;
    }
    sound(&log, &world.scene)
}

/// Reads everything without patience, appends an entry, and reads that.
fn go_on(log: &Log, tag: u8) -> Result<Seen, String> {
    let mut entries = replay(log, Patience::AtOnce);
    let own = pattern(tag, 17);
    match append(log, &own) {
        Some(at) => entries.push((at, own)),
        None => holds(log.available() < slot(own.len()), || {
            "full though there is room".into()
        })?,
    }
    equal("the replay", replay(log, Patience::AtOnce), entries.clone())?;
    Ok(Seen {
        entries,
        passed: log.tail_offset(),
        available: log.available(),
    })
}

fn readable(log: &Log, entries: &[Read]) -> Vec<Read> {
    let from = log.truncation();
    entries
        .iter()
        .filter(|read| read.0 >= from)
        .cloned()
        .collect()
}

fn unchanged(log: &Log, seen: &Seen) -> Result<(), String> {
    let now = replay(log, Patience::AtOnce);
    equal("the replay", now, readable(log, &seen.entries))
}

/// Whether `data`, told to be at `at`, came behind all that had been passed, and not before.
fn appeared(log: &Log, seen: &Seen, at: Option<u64>, data: &[Vec<u8>]) -> Result<bool, String> {
    let Some(mut at) = at else {
        let wanted: u64 = data.iter().map(|data| slot(data.len())).sum();
        holds(seen.available < wanted, || {
            "full though there was room".into()
        })?;
        unchanged(log, seen)?;
        return Ok(false);
    };
    let mut entries = Vec::new();
    for data in data {
        entries.push((at, data.clone()));
        at += slot(data.len());
    }
    let committed_before = entries.iter().all(|entry| seen.entries.contains(entry));
    let mut wanted = seen.entries.clone();
    if !committed_before {
        holds(entries[0].0 >= seen.passed, || {
            "it came where a reader had already passed".into()
        })?;
        wanted.extend(entries);
    }
    let now = replay(log, Patience::AtOnce);
    equal("the replay", now, readable(log, &wanted))?;
    Ok(!committed_before)
}

/// The log counts right, for this handle and for a new one.
fn sound(log: &Log, scene: &Scene) -> Result<(), String> {
    let own = pattern(96, 17);
    if let Some(at) = append(log, &own) {
        let read = log.read(at, Patience::DEFAULT).map(trials::scene::copy);
        equal("an own entry", read, Some(own))?;
    }
    let (stats, verified) = (log.stats(), log.verify());
    equal("entry_count", log.entry_count(), verified.entries)?;
    if scene.operation != Operation::Truncate {
        let read = replay(log, Patience::AtOnce).len() as u64;
        equal("entry_count", log.entry_count(), read)?;
    }
    equal("stats.appends", stats.appends, verified.entries)?;
    equal("stats.waiters", stats.waiters, 0)?;
    equal("verify's damaged", verified.damaged, 0)?;
    equal("verify's sealed", verified.sealed, stats.sealed)
}
