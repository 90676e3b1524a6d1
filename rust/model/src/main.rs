//! Runs the models, or the mutants; see README.md.

use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::exit;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Instant;

#[allow(dead_code, unused_imports, clippy::all)]
#[path = "../../src/layout.rs"]
mod layout;
#[allow(dead_code, unused_imports, clippy::all)]
#[path = "../../src/memory.rs"]
mod memory;
#[allow(dead_code, unused_imports, clippy::all)]
#[path = "../../src/protocol/mod.rs"]
mod protocol;

mod models;
mod mutants;
mod world;

use models::{Model, MODELS};
use mutants::{Mutant, MUTANTS};
use world::Setup;

const USAGE: &str = "usage: model [--mutants | --survivors] [--deeper] [NAME...]
Explores the models (default: all), or runs the mutants that a model must catch. A NAME is that of
a model or a mutant; survivors run on the models named.
--survivors  runs the mutants that no model can catch, each on all of them; hours
--deeper  one more preemption in each model; takes hours
";

struct Outcome {
    executions: u64,
    /// The message of the failure.
    failure: Option<String>,
}

/// Explores the model; one whose victim dies is explored for each step until no step is left.
fn explore(model: &'static Model, mutant: Mutant, deeper: usize) -> Outcome {
    let executions = Arc::new(AtomicU64::new(0));
    let mut failure = None;
    for step in 0.. {
        let (died, counter) = (Arc::new(AtomicU64::new(0)), Arc::clone(&executions));
        let seen = Arc::clone(&died);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = model.preemptions.map(|bound| bound + deeper);
        builder.max_branches = 20_000;
        let run = move || {
            counter.fetch_add(1, Relaxed);
            let setup = Rc::new(Setup {
                mutant,
                step,
                died: Cell::new(false),
            });
            (model.body)(&setup);
            if setup.died.get() {
                seen.store(1, Relaxed);
            }
        };
        if let Err(reason) = catch_unwind(AssertUnwindSafe(|| builder.check(run))) {
            let text = reason
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| reason.downcast_ref::<&str>().map(|text| text.to_string()))
                .unwrap_or_default();
            let place = if model.dies {
                format!(" (death before step {step})")
            } else {
                String::new()
            };
            failure = Some(text.lines().next().unwrap_or("").to_string() + &place);
            break;
        }
        if !model.dies || died.load(Relaxed) == 0 {
            break;
        }
    }
    Outcome {
        executions: executions.load(Relaxed),
        failure,
    }
}

fn run_models(names: &[String], deeper: usize) -> bool {
    let (mut all, mut good) = (0, true);
    let begin = Instant::now();
    for model in MODELS {
        if !names.is_empty() && !names.iter().any(|name| name == model.name) {
            continue;
        }
        let start = Instant::now();
        let outcome = explore(model, Mutant::Nothing, deeper);
        let seconds = start.elapsed().as_secs_f64();
        all += outcome.executions;
        print!(
            "{}: {} executions, {seconds:.1} s",
            model.name, outcome.executions
        );
        match outcome.failure {
            None => println!(),
            Some(failure) => {
                good = false;
                println!(", FAILED: {failure}");
            }
        }
    }
    println!(
        "all models: {all} executions, {:.0} s",
        begin.elapsed().as_secs_f64()
    );
    good
}

/// Each mutant must be caught, unless it is expected to survive; then it must.
fn run_mutants(names: &[String], survivors: bool) -> bool {
    std::panic::set_hook(Box::new(|_| ()));
    let (mut tried, mut caught, mut redundant, mut good) = (0, 0, 0, true);
    let begin = Instant::now();
    let (only, names): (Vec<_>, Vec<_>) = names
        .iter()
        .cloned()
        .partition(|name| MODELS.iter().any(|model| model.name == name));
    let wanted = |model: &&Model| only.is_empty() || only.iter().any(|name| name == model.name);
    for &(mutant, model) in MUTANTS {
        let name = format!("{mutant:?}");
        let chosen = names.is_empty() && model.is_none() == survivors;
        if !chosen && !names.contains(&name) {
            continue;
        }
        tried += usize::from(model.is_some());
        let candidates: Vec<_> = match model {
            Some(only) => MODELS.iter().filter(|model| model.name == only).collect(),
            None => MODELS.iter().filter(wanted).collect(),
        };
        let found = candidates.into_iter().find_map(|model| {
            let failure = explore(model, mutant, 0).failure?;
            Some((model.name, failure))
        });
        match (found, model) {
            (Some((by, failure)), Some(_)) => {
                caught += 1;
                println!("{name}: caught by {by}: {failure}");
            }
            (None, None) => {
                redundant += 1;
                println!("{name}: survives, as expected");
            }
            (Some((by, failure)), None) => {
                good = false;
                println!("{name}: UNEXPECTEDLY caught by {by}: {failure}");
            }
            (None, Some(only)) => {
                good = false;
                println!("{name}: NOT CAUGHT by {only}");
            }
        }
    }
    println!(
        "mutants: {caught} of {tried} caught, {redundant} survive as expected, {:.0} s",
        begin.elapsed().as_secs_f64()
    );
    good
}

fn main() {
    let (mut mutants, mut survivors) = (false, false);
    let (mut deeper, mut names) = (0, Vec::new());
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--mutants" => mutants = true,
            "--survivors" => (mutants, survivors) = (true, true),
            "--deeper" => deeper = 1,
            "--help" => return print!("{USAGE}"),
            option if option.starts_with('-') => {
                eprint!("{USAGE}");
                exit(2);
            }
            _ => names.push(argument),
        }
    }
    let good = if mutants {
        run_mutants(&names, survivors)
    } else {
        run_models(&names, deeper)
    };
    exit(i32::from(!good));
}
