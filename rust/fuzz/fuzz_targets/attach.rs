//! Whole logs as files and memfds, through everything that a program calls: attach with its checks,
//! locks and recovery, and then each operation of handles and cursors.

#![no_main]

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::ptr;

use data_log_shared::cursor::Cursor;
use data_log_shared::header::Whereabouts;
use data_log_shared::log::{Log, Payload};
use data_log_shared::protocol::{Entry, Patience};
use data_log_shared::region::Making;
use data_log_shared::sys;
use fuzz::{Image, Step};
use libfuzzer_sys::fuzz_target;

const BY_PATH: u32 = 2;
const ATTACHED_BEFORE: u32 = 3;
const DAMAGED: u32 = 4;
const READ_ONLY: u32 = 5;
const CUT: u32 = 6;

/// Sizes of the memfds, which cannot change once they are sealed.
const SIZES: [u64; 4] = [64, 127, 1000, 4096];

struct Places {
    path: PathBuf,
    memfds: Vec<File>,
    boot_id: u128,
}

thread_local! {
    static PLACES: Places = Places {
        path: std::env::temp_dir().join(format!("fuzz-attach-{}", std::process::id())),
        memfds: SIZES
            .iter()
            .map(|size| {
                let file = sys::memfd(&c"fuzz".to_owned()).expect("a memfd");
                file.set_len(4096 + size).expect("its size");
                sys::seal_size(&file).expect("its seals");
                file
            })
            .collect(),
        boot_id: sys::boot_id(),
    };
}

fuzz_target!(|bytes: &[u8]| PLACES.with(|places| attach(places, bytes)));

fn attach(places: &Places, bytes: &[u8]) {
    let mut image = Image::new(bytes);
    if image.chooses(BY_PATH) {
        let file = File::create(&places.path).expect("a file");
        file.write_all_at(&log_in(&file, &image, places, bytes), 0)
            .expect("written");
        if image.chooses(CUT) {
            let length = image.identity.file_length();
            let cut = [0, 100, 4096, 4100, length - 1, length + 1];
            file.set_len(cut[bytes.len() % cut.len()]).expect("cut");
        }
        if image.chooses(READ_ONLY) {
            if let Ok(log) = Log::open_read_only(&places.path) {
                run(&log, &image.steps);
            }
        } else {
            let making = Making::new(image.identity.data_size as f64, 384.0, None, None).unwrap();
            if let Ok(log) = Log::open(&places.path, &making) {
                run(&log, &image.steps);
            }
        }
        let _ = fs::remove_file(&places.path);
    } else {
        let which = image.identity.data_size as usize % SIZES.len();
        image.identity.data_size = SIZES[which];
        let file = &places.memfds[which];
        file.write_all_at(&log_in(file, &image, places, bytes), 0)
            .expect("written");
        if let Ok(log) = Log::from_fd(file.as_raw_fd()) {
            run(&log, &image.steps);
        }
    }
}

fn log_in(file: &File, image: &Image<'_>, places: &Places, bytes: &[u8]) -> Vec<u8> {
    let metadata = file.metadata().expect("metadata");
    let boot_id = places.boot_id * u128::from(image.chooses(ATTACHED_BEFORE));
    let mut log = image.bytes(&Whereabouts::of(&metadata, boot_id));
    if image.chooses(DAMAGED) {
        for patch in bytes.chunks_exact(2).take(8) {
            log[usize::from(patch[0]) % 140] = patch[1];
        }
    }
    log
}

fn run(log: &Log, steps: &[Step]) {
    let cursor = Cursor::new(log, None);
    for &(what, argument) in steps {
        step(log, &cursor, what, u64::from(argument));
    }
}

fn step(log: &Log, cursor: &Cursor, what: u8, argument: u64) {
    let offset = argument % (log.data_size() + 8);
    match what % 16 {
        0 => {
            let data = vec![b'a'; argument as usize % 300];
            if let Ok(Some(at)) = log.append(&data, argument % 2 == 1) {
                let found = log.read(at, Patience::AtOnce);
                // A hostile truncation may hide it.
                if let Some(found) = found.filter(|found| found.offset == at) {
                    assert_eq!(copy(&found), data);
                }
            }
        }
        1 => {
            let data = vec![b'b'; 64];
            let members = (0..argument as usize % 8).map(|n| Entry {
                data: &data[..1 + (n + argument as usize) % 60],
                utf8: true,
            });
            let _ = log.append_batch(members);
        }
        2 => {
            log.read(offset, Patience::DEFAULT)
                .map(|found| copy(&found));
        }
        3 => replay(log, offset / 4 * 4),
        4 => {
            assert!(log.entry_count() <= log.data_size() / 12);
        }
        5 => {
            // Settled before, since a hole is slept at.
            replay(log, 0);
            if let Ok(Some(truncation)) = log.truncate(offset) {
                assert!(truncation <= 1 << 39);
            }
        }
        6 => {
            if log.reset().is_ok() {
                assert_eq!((log.tail_offset(), log.entry_count()), (0, 0));
            }
        }
        7 => {
            replay(log, 0);
            let end = log.tail_offset();
            if let Ok(true) = log.settle(end) {
                let _ = log.sync(end);
            }
        }
        8 => {
            let found = log.verify();
            assert!(found.bytes <= log.data_size());
        }
        9 => {
            let stats = log.stats();
            assert!(stats.tail + stats.available <= stats.data_size);
        }
        10 => {
            cursor.next().map(|found| copy(&found));
        }
        11 => cursor.seek(offset),
        12 => {
            assert!(cursor.lag() <= log.data_size());
            cursor.position();
        }
        13 => {
            cursor.wait(0, true);
        }
        14 => {
            log.wait(argument, 0, argument % 2 == 0);
        }
        _ => {
            let clone = log.clone();
            clone.entry_count();
        }
    }
}

fn replay(log: &Log, from: u64) {
    let mut at = from;
    while let Some(found) = log.next(at, Patience::AtOnce) {
        assert!(found.next > at && found.next <= log.data_size());
        copy(&found);
        at = found.next;
    }
}

fn copy(found: &Payload) -> Vec<u8> {
    let mut copy = vec![0; found.len];
    // SAFETY: a payload lies in the mapping of a handle that is still open.
    unsafe { ptr::copy_nonoverlapping(found.data, copy.as_mut_ptr(), found.len) }
    copy
}
