//! What the core costs without Perl, beside what the machine does at best.
//!
//! In processor time, so that what else the machine does disturbs little. Threads that append at once
//! show what they cost each other only where each has a processor to itself.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use data_log_shared::cursor::Cursor;
use data_log_shared::log::Log;
use data_log_shared::protocol::{Entry, Patience};
use data_log_shared::region::Making;

const ENTRIES: u64 = 100_000;
const MIB: usize = 1 << 20;

/// The processor time of this process.
struct ProcessorTime;

impl Measurement for ProcessorTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `now` is writable.
        let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now) };
        assert_eq!(status, 0, "a clock that every Linux has");
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = ProcessorTime.start();
    work();
    ProcessorTime.end(start)
}

fn slot(length: usize) -> u64 {
    length as u64 + 8
}

/// A log with more room than `size`: one that is full may give its memory back when it is emptied.
fn log(size: u64, checksums: bool) -> Log {
    let making =
        Making::new((size + 4096) as f64, 0.0, None, Some(checksums)).expect("valid options");
    Log::in_memory(None, &making).expect("memory")
}

fn append(log: &Log, data: &[u8]) {
    let offset = log.append(black_box(data), false).expect("a sound log");
    black_box(offset.expect("room"));
}

/// Times `step` on a log with room for `ENTRIES` of them, which is emptied, untimed, when it is full.
fn refilled(log: &Log, iterations: u64, step: impl Fn()) -> Duration {
    let mut time = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        log.reset().expect("a log of memory");
        let now = left.min(ENTRIES);
        time += timed(|| (0..now).for_each(|_| step()));
        left -= now;
    }
    time
}

/// `threads` append at once, each with a handle of its own.
fn contended(threads: u64, iterations: u64, data: &[u8]) -> Duration {
    let mut time = Duration::ZERO;
    let log = log(threads * ENTRIES * slot(data.len()), false);
    let mut left = iterations;
    while left > 0 {
        log.reset().expect("a log of memory");
        let now = left.min(ENTRIES);
        let barrier = Barrier::new(threads as usize);
        time += timed(|| {
            thread::scope(|scope| {
                for _ in 0..threads {
                    let (log, barrier) = (log.clone(), &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        (0..now).for_each(|_| append(&log, data));
                    });
                }
            })
        });
        assert_eq!(log.entry_count(), threads * now);
        left -= now;
    }
    time
}

fn writing(c: &mut Criterion<ProcessorTime>) {
    let mut group = c.benchmark_group("write");
    for length in [12, 200] {
        let data = vec![b'x'; length];
        for checksums in [false, true] {
            let log = log(ENTRIES * slot(length), checksums);
            let kind = if checksums {
                "append checksummed"
            } else {
                "append"
            };
            group.bench_function(format!("{kind} {length} B"), |b| {
                b.iter_custom(|n| refilled(&log, n, || append(&log, &data)))
            });
        }
    }

    let data = [b'x'; 12];
    let batch = [Entry {
        data: &data,
        utf8: false,
    }; 100];
    let large = log(ENTRIES * 100 * slot(12), false);
    group.throughput(Throughput::Elements(100));
    group.bench_function("batch of 100 x 12 B", |b| {
        b.iter_custom(|n| {
            refilled(&large, n, || {
                let entries = black_box(&batch).iter().copied();
                let offset = large.append_batch(entries).expect("a sound log");
                black_box(offset.expect("room"));
            })
        })
    });
    group.finish();

    let mut group = c.benchmark_group("contend");
    for threads in [1, 2, 8] {
        group.throughput(Throughput::Elements(threads));
        group.bench_function(format!("{threads} threads append 12 B"), |b| {
            b.iter_custom(|n| contended(threads, n, &data))
        });
    }
    group.finish();
}

fn reading(c: &mut Criterion<ProcessorTime>) {
    let mut group = c.benchmark_group("read");
    for length in [12, 200] {
        let log = log(ENTRIES * slot(length), false);
        let data = vec![b'x'; length];
        (0..ENTRIES).for_each(|_| append(&log, &data));
        let mut at = 0;
        group.bench_function(format!("read {length} B"), |b| {
            b.iter(|| match log.read(black_box(at), Patience::DEFAULT) {
                Some(payload) => at = payload.next,
                None => at = 0,
            })
        });
        let cursor = Cursor::new(&log, None);
        group.bench_function(format!("cursor {length} B"), |b| {
            b.iter(|| {
                if black_box(cursor.next()).is_none() {
                    cursor.seek(0);
                }
            })
        });
    }
    let log = log(ENTRIES * slot(12), false);
    (0..ENTRIES).for_each(|_| append(&log, &[b'x'; 12]));
    group.bench_function("count", |b| b.iter(|| black_box(&log).entry_count()));
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("walk of 100,000 x 12 B", |b| {
        b.iter(|| black_box(&log).verify())
    });
    group.finish();
}

/// The floor: an append moves the tail and commits, one CAS each, and copies.
fn machine(c: &mut Criterion<ProcessorTime>) {
    let mut group = c.benchmark_group("machine");
    #[repr(align(64))]
    struct Line(AtomicU64);
    let lines = [Line(AtomicU64::new(0)), Line(AtomicU64::new(0))];
    group.bench_function("two uncontended CAS", |b| {
        b.iter(|| {
            for line in black_box(&lines) {
                let seen = line.0.load(SeqCst);
                let _ = black_box(line.0.compare_exchange(seen, seen + 1, SeqCst, SeqCst));
            }
        })
    });

    let from = vec![1u8; 64 * MIB];
    let mut to = vec![2u8; 64 * MIB];
    group.throughput(Throughput::Bytes(64 * MIB as u64));
    group.bench_function("memcpy of 64 MiB", |b| {
        b.iter(|| black_box(&mut to[..]).copy_from_slice(black_box(&from)))
    });
    group.finish();
}

fn configured() -> Criterion<ProcessorTime> {
    Criterion::default()
        .with_measurement(ProcessorTime)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = core; config = configured(); targets = machine, writing, reading }
criterion_main!(core);
