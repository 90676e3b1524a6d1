//! Power cuts, killed recoveries and flipped bits: what they leave is opened and compared with what
//! the log had promised.
//!
//! # The disk
//!
//! The kernel writes dirty pages back when it likes and in any order, so each page on disk may be as
//! the last flush left it or as it stood at any moment since. The device writes sectors of 512 bytes
//! one by one, so a page may be torn between any of those versions. A sector write is atomic where it
//! matters for the header; of data it is only assumed that what is not being changed stays (power-safe
//! overwrite), so units that were changed since the last flush may also hold garbage.
//!
//! A file is short, or its header torn, only before its creation has returned from its last fsync.
//! Such a file has no name yet, except for one that the user had made empty: see [`unborn`].
//!
//! Durability points are the calls of msync and fsync themselves: they are replaced below by
//! functions that take down what the file held when they were called.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::io::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::ptr;
use std::slice;
use std::sync::atomic::Ordering::SeqCst;

use data_log_shared::header::{self, Judgement};
use data_log_shared::layout::{
    committed_word, reserved_word, slot_size, Field, Tail, HEADER_SIZE, LATER,
};
use data_log_shared::log::Log;
use data_log_shared::mapping::Mapping;
use data_log_shared::memory::Memory;
use data_log_shared::protocol::{Core, Entry, Patience};
use data_log_shared::region::Making;
use trials::options::Options;
use trials::random::Random;

const HELP: &str = "\
usage: powercut [--images N] [--seed N]

Builds the images that power cuts could leave of a checksummed log, opens them, and compares with
what was promised. Kills recovery, reset and sync at every store. Flips single bits of synced logs.

  --images N  power-cut images (default 10000; long form 1000000). Flips on large logs and killed
              operations grow with it; every bit of the small logs is always flipped
  --seed N    of the random choices (default 1)
";

const PAGE: usize = HEADER_SIZE as usize;
const SECTOR: usize = 512;
const UNIT: usize = 4;

// Flushes.

/// The file's bytes at one moment, and the byte range that a flush called then puts on disk.
struct Event {
    content: Vec<u8>,
    flush: Option<Range<usize>>,
}

struct Watch {
    inode: u64,
    file: File,
    stepped: bool,
    /// Where the log is mapped.
    maps: Vec<Range<usize>>,
    stores: u64,
    events: Vec<Event>,
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

fn record(flush: Option<Range<usize>>) {
    WATCH.with(|watch| {
        if let Some(Watch { file, events, .. }) = &mut *watch.borrow_mut() {
            let content = content(file);
            events.push(Event { content, flush });
        }
    });
}

/// Takes down a store or write. Of very many, as when much is zeroed, only some.
fn stored_something() {
    let due = WATCH.with(|watch| {
        watch.borrow_mut().as_mut().is_some_and(|watch| {
            watch.stores += 1;
            watch.stepped && (watch.stores < 200 || watch.stores % 61 == 0)
        })
    });
    if due {
        record(None);
    }
}

fn is_watched(inode: impl FnOnce() -> u64) -> bool {
    WATCH.with(|watch| match &*watch.borrow() {
        Some(watch) => watch.inode == inode(),
        None => false,
    })
}

/// Inode, addresses and offset in the file of all mappings.
fn mappings() -> Vec<(u64, Range<usize>, usize)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let hex = |text: &str| usize::from_str_radix(text, 16).unwrap();
    maps.lines()
        .map(|line| {
            // start-end perms offset device inode
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let (start, end) = words[0].split_once('-').unwrap();
            (
                words[4].parse().unwrap(),
                hex(start)..hex(end),
                hex(words[2]),
            )
        })
        .collect()
}

fn inode_of(fd: libc::c_int) -> u64 {
    fs::metadata(format!("/proc/self/fd/{fd}")).map_or(0, |metadata| metadata.ino())
}

// The C library's functions of these names, for the whole program. Nothing here needs to get to a
// disk, so the flushes do nothing.

#[no_mangle]
pub extern "C" fn msync(address: *mut libc::c_void, length: usize, _: libc::c_int) -> libc::c_int {
    if length > 0 && WATCH.with(|watch| watch.borrow().is_some()) {
        let address = address as usize;
        let (inode, at, offset) = mappings()
            .into_iter()
            .find(|(_, range, _)| range.contains(&address))
            .expect("msync of what is not mapped");
        let start = offset + address - at.start;
        if is_watched(|| inode) {
            record(Some(start..start + length));
        }
    }
    0
}

#[no_mangle]
pub extern "C" fn fsync(fd: libc::c_int) -> libc::c_int {
    if is_watched(|| inode_of(fd)) {
        record(Some(0..usize::MAX));
    }
    0
}

/// # Safety
/// As of the system call.
#[no_mangle]
pub unsafe extern "C" fn pwrite64(
    fd: libc::c_int,
    from: *const libc::c_void,
    length: usize,
    at: libc::off64_t,
) -> isize {
    // SAFETY: the caller's.
    let written = unsafe { libc::syscall(libc::SYS_pwrite64, fd, from, length, at) };
    if is_watched(|| inode_of(fd)) {
        stored_something();
    }
    written as isize
}

/// # Safety
/// As of the system call.
#[no_mangle]
pub unsafe extern "C" fn mmap64(
    near: *mut libc::c_void,
    length: usize,
    access: libc::c_int,
    flags: libc::c_int,
    fd: libc::c_int,
    offset: libc::off64_t,
) -> *mut libc::c_void {
    // SAFETY: the caller's.
    let at = unsafe { libc::syscall(libc::SYS_mmap, near, length, access, flags, fd, offset) };
    if is_watched(|| inode_of(fd)) && WATCH.with(|watch| watch.borrow().as_ref().unwrap().stepped) {
        trap::add(at as usize..at as usize + length);
    }
    at as *mut _
}

/// # Safety
/// As of the system call.
#[no_mangle]
pub unsafe extern "C" fn munmap(at: *mut libc::c_void, length: usize) -> libc::c_int {
    trap::remove(at as usize);
    // SAFETY: the caller's.
    unsafe { libc::syscall(libc::SYS_munmap, at, length) as libc::c_int }
}

fn content(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Runs `operation`; what the file held at each of its flushes, and at its end; also after each of
/// its stores and writes, if it is `stepped`.
fn watched<T>(file: &File, stepped: bool, operation: impl FnOnce() -> T) -> (T, Vec<Event>) {
    let watch = Watch {
        inode: file.metadata().unwrap().ino(),
        file: file.try_clone().unwrap(),
        stepped,
        maps: Vec::new(),
        stores: 0,
        events: Vec::new(),
    };
    WATCH.with(|place| *place.borrow_mut() = Some(watch));
    if stepped {
        trap::begin();
    }
    let result = operation();
    if stepped {
        trap::end();
    }
    record(None);
    let watch = WATCH.with(|place| place.borrow_mut().take()).unwrap();
    (result, watch.events)
}

/// Stops at every store to the log: its mapping is read-only, and a store that faults is let through
/// by itself. Only the architecture that lets a program step itself has this; elsewhere stores go
/// unseen.
mod trap {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    const TRAP_FLAG: i64 = 0x100;

    pub fn begin() {
        let handle = |signal, handler: extern "C" fn(_, _, _)| {
            // SAFETY: all zeros is a valid sigaction; the handlers are safe where they run, since
            // only this program's stores to the log can fault.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handler as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO;
                assert_eq!(libc::sigaction(signal, &action, ptr::null_mut()), 0);
            }
        };
        handle(libc::SIGSEGV, stored);
        handle(libc::SIGTRAP, after_store);
        let inode = WATCH.with(|watch| watch.borrow().as_ref().unwrap().inode);
        for (own, range, _) in mappings() {
            if own == inode {
                add(range);
            }
        }
    }

    pub fn end() {
        protect(libc::PROT_READ | libc::PROT_WRITE);
    }

    /// A new mapping of the log.
    pub fn add(range: Range<usize>) {
        if cfg!(target_arch = "x86_64") {
            WATCH.with(|watch| watch.borrow_mut().as_mut().unwrap().maps.push(range));
            protect(libc::PROT_READ);
        }
    }

    pub fn remove(address: usize) {
        WATCH.with(|watch| {
            if let Some(watch) = &mut *watch.borrow_mut() {
                watch.maps.retain(|map| map.start != address);
            }
        });
    }

    fn protect(access: libc::c_int) {
        WATCH.with(|watch| {
            for map in &watch.borrow().as_ref().unwrap().maps {
                // SAFETY: a mapping of the log, which is read by others and written under this trap.
                unsafe { libc::mprotect(map.start as *mut _, map.len(), access) };
            }
        });
    }

    extern "C" fn stored(
        signal: libc::c_int,
        about: *mut libc::siginfo_t,
        context: *mut libc::c_void,
    ) {
        // SAFETY: the kernel passes a siginfo of a fault.
        let address = unsafe { (*about).si_addr() } as usize;
        let ours = WATCH.with(|watch| match &*watch.borrow() {
            Some(watch) => watch.maps.iter().any(|map| map.contains(&address)),
            None => false,
        });
        if !ours {
            // SAFETY: back to dying of it, at the same instruction.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            return;
        }
        protect(libc::PROT_READ | libc::PROT_WRITE);
        step(context, true);
    }

    extern "C" fn after_store(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        step(context, false);
        protect(libc::PROT_READ);
        stored_something();
    }

    #[allow(unused_variables)]
    fn step(context: *mut libc::c_void, on: bool) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the kernel passes the context that it goes on with.
        unsafe {
            let flags = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs
                [libc::REG_EFL as usize];
            *flags = if on {
                *flags | TRAP_FLAG
            } else {
                *flags & !TRAP_FLAG
            };
        }
    }
}

// The disk.

/// A file on a disk behind a page cache: for each page what the last flush wrote, and every version since.
#[derive(Clone)]
struct Disk {
    pages: Vec<Vec<Vec<u8>>>,
    length: usize,
}

impl Disk {
    fn new(bytes: &[u8]) -> Disk {
        let pages = bytes.chunks(PAGE).map(|page| vec![page.to_vec()]).collect();
        let length = bytes.len();
        Disk { pages, length }
    }

    fn write(&mut self, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.length);
        for (page, now) in self.pages.iter_mut().zip(bytes.chunks(PAGE)) {
            if page.last().unwrap() != now {
                page.push(now.to_vec());
            }
        }
    }

    fn flush(&mut self, range: &Range<usize>) {
        let pages = range.start / PAGE..range.end.div_ceil(PAGE).min(self.pages.len());
        for page in &mut self.pages[pages] {
            page.drain(..page.len() - 1);
        }
    }

    /// Every choice of whole pages, if there are at most `limit`.
    fn whole_pages(&self, limit: usize) -> Vec<Vec<u8>> {
        let ways = self.pages.iter().try_fold(1usize, |product, page| {
            Some(product * page.len()).filter(|&ways| ways <= limit)
        });
        (0..ways.unwrap_or(0))
            .map(|mut way| {
                let mut image = Vec::with_capacity(self.length);
                for page in &self.pages {
                    image.extend_from_slice(&page[way % page.len()]);
                    way /= page.len();
                }
                image
            })
            .collect()
    }

    /// What a power cut could leave: stale, torn and garbled pages.
    fn cut(&self, random: &mut Random) -> Vec<u8> {
        let garbles = random.one_in(3);
        self.cut_to_sectors(random, garbles)
    }

    fn cut_to_sectors(&self, random: &mut Random, garbles: bool) -> Vec<u8> {
        let mut image = Vec::with_capacity(self.length);
        let eager = random.index(5);
        for (number, page) in self.pages.iter().enumerate() {
            let newest = page.len() - 1;
            let any = |random: &mut Random| match random.index(5) {
                n if n < eager => newest,
                4 => random.index(page.len()),
                _ => 0,
            };
            if random.one_in(2) {
                image.extend_from_slice(&page[any(random)]);
                continue;
            }
            for (at, sector) in page[0].chunks(SECTOR).enumerate() {
                let at = at * SECTOR..at * SECTOR + sector.len();
                let version = any(random);
                let start = image.len();
                image.extend_from_slice(&page[version][at.clone()]);
                if number > 0 && garbles && random.one_in(3) {
                    self.garble(random, &mut image[start..], page, at);
                }
            }
        }
        image
    }

    /// Puts garbage into the units of a sector that were being changed.
    fn garble(&self, random: &mut Random, sector: &mut [u8], page: &[Vec<u8>], at: Range<usize>) {
        let kind = random.index(4);
        let from = random.index(self.pages.len());
        let elsewhere = &self.pages[from][random.index(self.pages[from].len())];
        for (i, unit) in sector.chunks_mut(UNIT).enumerate() {
            let place = at.start + i * UNIT..at.start + i * UNIT + unit.len();
            if page
                .iter()
                .all(|version| version[place.clone()] == page[0][place.clone()])
            {
                continue;
            }
            match kind {
                0 => unit.fill(0xff),
                1 => unit.fill(0),
                2 if place.end <= elsewhere.len() => unit.copy_from_slice(&elsewhere[place]),
                _ => unit.iter_mut().for_each(|byte| *byte = random.next() as u8),
            }
        }
    }
}

/// After a power cut the boot is another one.
fn reboot(image: &mut [u8]) {
    image[Field::BootIdHigh.offset()] ^= 1;
}

// What was promised.

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    offset: u64,
    data: Vec<u8>,
}

/// What a log may hold after a power cut.
#[derive(Clone, Debug)]
struct History {
    /// Entries and batches in the log's order.
    groups: Vec<Vec<Place>>,
    /// How many of them are on disk.
    synced: usize,
    /// The truncation on disk, and all since.
    truncations: BTreeSet<u64>,
}

impl History {
    fn empty() -> History {
        History {
            groups: Vec::new(),
            synced: 0,
            truncations: BTreeSet::from([0]),
        }
    }

    /// The same, all of it on disk.
    fn on_disk(&self, truncation: u64) -> History {
        History {
            synced: self.groups.len(),
            groups: self.groups.clone(),
            truncations: BTreeSet::from([truncation]),
        }
    }
}

/// What is found in an image.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    entries: u64,
    truncation: u64,
    damaged: u64,
    places: Vec<Place>,
}

/// A file that images are put into to be opened.
struct Bench {
    file: File,
}

impl Bench {
    fn new(folder: &Path, length: usize) -> Bench {
        let path = folder.join("bench");
        let file = create(&path);
        file.set_len(length as u64).unwrap();
        fs::remove_file(&path).unwrap();
        Bench { file }
    }

    /// Opens an image, which recovers it, and reads all there is. Then appends, as the log must go on.
    fn open(&mut self, image: &[u8]) -> Result<Found, String> {
        self.file.write_all_at(image, 0).unwrap();
        let recoveries = field(image, Field::Recoveries);
        let log =
            Log::from_fd(self.file.as_raw_fd()).map_err(|error| format!("open: {error:?}"))?;
        let stats = log.stats();
        if stats.recoveries != recoveries.wrapping_add(1) {
            return Err("no recovery ran".to_owned());
        }
        let found = found(&log)?;
        if stats.damaged != found.damaged {
            let (said, is) = (stats.damaged, found.damaged);
            return Err(format!("stats say {said} damaged, verify says {is}"));
        }
        self.go_on(&log, &found)?;
        Ok(found)
    }

    fn go_on(&self, log: &Log, found: &Found) -> Result<(), String> {
        let data = b"goes on";
        let tail = log.tail_offset();
        match log.append(data, false) {
            Ok(Some(at)) if at == tail => {}
            Ok(None) if log.available() < 16 => return Ok(()),
            other => return Err(format!("append at {tail}: {other:?}")),
        }
        let after = self::found(log)?;
        let new = Place {
            offset: tail,
            data: data.to_vec(),
        };
        if after.entries != found.entries + 1
            || after.places.split_last() != Some((&new, &found.places))
        {
            return Err("append changed what was there".to_owned());
        }
        if log.entry_count() != after.entries {
            return Err("entry_count is wrong".to_owned());
        }
        Ok(())
    }
}

fn found(log: &Log) -> Result<Found, String> {
    let truncation = log.truncation();
    let mut places = Vec::new();
    let mut at = truncation;
    while let Some(payload) = log.next(at, Patience::AtOnce) {
        // SAFETY: the log has checked the payload against its mapping, and nobody else writes to it.
        let data = unsafe { slice::from_raw_parts(payload.data, payload.len) }.to_vec();
        let offset = payload.offset;
        places.push(Place { offset, data });
        at = payload.next;
    }
    if log.tail_offset() < at {
        return Err("an entry beyond the tail".to_owned());
    }
    let verified = log.verify();
    Ok(Found {
        entries: verified.entries,
        truncation,
        damaged: verified.damaged,
        places,
    })
}

/// How many groups an image holds, if that is one of the numbers that `history` allows.
fn kept(found: &Found, history: &History) -> Result<usize, String> {
    let mut count = 0;
    let mut end = 0;
    let mut kept = None;
    for n in 0..=history.groups.len() {
        if count == found.entries {
            kept = Some(n);
            break;
        }
        if let Some(group) = history.groups.get(n) {
            count += group.len() as u64;
            end = group.last().map_or(end, |last| {
                last.offset + slot_size(last.data.len() as u64) * UNIT as u64
            });
        }
    }
    let (synced, all) = (history.synced, history.groups.len());
    let n = kept.ok_or(format!("{} entries are no whole groups", found.entries))?;
    if n < synced {
        return Err(format!("{n} groups of {synced} synced ones ({all} in all)"));
    }
    // Sealed slots may follow the last entry, so that a truncation behind them is kept.
    let allowed = |&word: &u64| found.truncation == word || found.truncation >= end && word >= end;
    if !history.truncations.iter().any(allowed) {
        return Err(format!("truncation {}", found.truncation));
    }
    let visible = history.groups[..n]
        .iter()
        .flatten()
        .filter(|place| place.offset >= found.truncation);
    if !visible.eq(&found.places) {
        return Err(format!("wrong entries: {n} groups should be there"));
    }
    if found.damaged > 0 {
        return Err(format!("{} damaged", found.damaged));
    }
    Ok(n)
}

fn judge(found: &Found, histories: &[History]) -> Result<(usize, usize), String> {
    let mut complaints = Vec::new();
    for (i, history) in histories.iter().enumerate() {
        match kept(found, history) {
            Ok(n) => return Ok((i, n)),
            Err(complaint) => complaints.push(complaint),
        }
    }
    Err(complaints.join("; or "))
}

fn field(image: &[u8], field: Field) -> u64 {
    let at = field.offset();
    u64::from_ne_bytes(image[at..at + 8].try_into().unwrap())
}

#[derive(Default)]
struct Tally {
    tried: u64,
    bad: u64,
}

impl Tally {
    fn count<T>(&mut self, what: impl FnOnce() -> String, result: Result<T, String>) -> Option<T> {
        self.tried += 1;
        match result {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.bad += 1;
                if self.bad <= 5 {
                    println!("BAD {}: {complaint}", what());
                }
                None
            }
        }
    }

    fn add(&mut self, other: &Tally) {
        self.tried += other.tried;
        self.bad += other.bad;
    }

    fn report(&self, what: &str) {
        println!("{what}: {} tried, {} bad", self.tried, self.bad);
    }
}

// Workloads.

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        let root = ["/dev/shm", "/tmp"]
            .iter()
            .find(|root| Path::new(root).is_dir());
        let path = Path::new(root.unwrap()).join(format!("powercut-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn create(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    options.open(path).unwrap()
}

fn making(size: usize) -> Making {
    Making::new(size as f64, f64::from(0o600), None, Some(true)).unwrap()
}

/// How far a writer gets before it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Reserved,
    LaterMembersWritten,
    AllButCommitted,
}

/// Leaves what a writer leaves that dies in the middle of appending `batch`: its places.
fn abandon(file: &File, batch: &[(Vec<u8>, bool)], death: Death) -> Option<Range<usize>> {
    let image = content(file);
    let data_size = (image.len() - PAGE) as u64;
    let memory = Mapping::new(file, data_size, false, None).unwrap();
    let units = memory.units();
    let salt = match header::judge(&image[..PAGE], image.len() as u64) {
        Ok(Judgement::Log(identity)) => identity.salt,
        other => panic!("{other:?}"),
    };
    let core = Core::new(memory, units, salt, true);
    let memory = &core.memory;
    let tail = core.tail();
    let sizes: Vec<u64> = batch
        .iter()
        .map(|(data, _)| slot_size(data.len() as u64))
        .collect();
    let size: u64 = sizes.iter().sum();
    if tail.end() + size > units {
        return None;
    }
    if tail.size() > 0 && memory.load_word(tail.start(), SeqCst) == 0 {
        memory.store_word(tail.start(), reserved_word(tail.size()), SeqCst);
    }
    memory.store(Field::Tail, Tail::new(tail.end(), size).0, SeqCst);
    let mut at = tail.end();
    for (i, ((data, utf8), size)) in batch.iter().zip(&sizes).enumerate() {
        let write = match death {
            Death::Reserved => false,
            Death::LaterMembersWritten => i > 0,
            Death::AllButCommitted => true,
        };
        if write {
            let word = committed_word(data.len(), *utf8, i + 1 < batch.len());
            memory.write_payload(at, data);
            let sum = core.entry_crc(at, word, data.len(), core.generation());
            memory.store_aux(at, if i > 0 { sum ^ LATER } else { sum });
            if i > 0 {
                memory.store_word(at, word, SeqCst);
            }
        }
        at += size;
    }
    let bytes = |at: u64| PAGE + at as usize * UNIT;
    Some(bytes(tail.end())..bytes(at))
}

/// One machine that goes on from power cut to power cut.
struct Machine<'a> {
    random: Random,
    folder: &'a Path,
    path: PathBuf,
    files: u64,
    log: Log,
    file: File,
    disk: Disk,
    history: History,
    bench: Bench,
    tally: Tally,
    /// A length that all entries have: what was cut fits behind what takes its place.
    uniform: Option<usize>,
    /// Images for each moment.
    density: usize,
    ids: u64,
    what: String,
}

impl<'a> Machine<'a> {
    fn new(folder: &'a Path, mut random: Random, density: usize) -> Machine<'a> {
        let size = random.pick(&[3000, 4096, 9001, 20_000, 13_313]);
        let path = folder.join("created");
        let log = Log::open(&path, &making(size)).unwrap();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        Machine {
            disk: Disk::new(&content(&file)),
            bench: Bench::new(folder, PAGE + size),
            folder,
            path,
            files: 0,
            log,
            file,
            history: History::empty(),
            tally: Tally::default(),
            uniform: match random.index(2) {
                0 => Some(random.pick(&[3, 8, 24, 100, 248, 504])),
                _ => None,
            },
            density,
            ids: 0,
            what: String::new(),
            random,
        }
    }

    /// Looks at what power cuts right now could leave.
    fn explore(&mut self, histories: &[History]) {
        let mut images = self.disk.whole_pages(self.density);
        while images.len() < self.density {
            images.push(self.disk.cut(&mut self.random));
        }
        for mut image in images {
            reboot(&mut image);
            let found = self.bench.open(&image);
            let judged = found.and_then(|found| judge(&found, histories));
            let what = &self.what;
            self.tally.count(|| what.clone(), judged);
        }
    }

    /// Looks at what is there if the process is killed right now, and everybody else as well.
    fn killed(&mut self, mut content: Vec<u8>, histories: &[History]) {
        reboot(&mut content);
        let found = self.bench.open(&content);
        let judged = found.and_then(|found| judge(&found, histories));
        let what = &self.what;
        self.tally.count(|| format!("killed in {what}"), judged);
    }

    /// Puts what an operation did on disk, looking at every moment; `histories` for the time after
    /// that many flushes.
    fn replay(&mut self, events: Vec<Event>, histories: impl Fn(usize) -> Vec<History>) {
        let mut flushes = 0;
        for event in events {
            self.disk.write(&event.content);
            self.killed(event.content, &histories(flushes));
            self.explore(&histories(flushes));
            if let Some(range) = event.flush {
                self.disk.flush(&range);
                flushes += 1;
                self.explore(&histories(flushes));
            }
        }
    }

    /// Runs an operation, every store of it if it is to be stepped.
    fn operate<T>(
        &mut self,
        step: bool,
        operation: impl Fn(&Log, &File) -> T,
        histories: impl Fn(usize) -> Vec<History>,
    ) -> T {
        let (result, events) = watched(&self.file, step, || operation(&self.log, &self.file));
        self.replay(events, histories);
        result
    }

    fn data(&mut self) -> (Vec<u8>, bool) {
        let length = match self.uniform {
            Some(length) => length,
            None => match self.random.index(12) {
                0 => 1 + self.random.index(7),
                1 => 600 + self.random.index(1500),
                2..=4 => self.random.pick(&[3, 8, 12, 24]),
                _ => 1 + self.random.index(120),
            },
        };
        self.ids += 1;
        let mut data = self.ids.to_le_bytes().to_vec();
        while data.len() < length {
            data.extend_from_slice(&self.random.next().to_le_bytes());
        }
        data.truncate(length);
        (data, self.random.one_in(4))
    }

    fn batch(&mut self) -> Vec<(Vec<u8>, bool)> {
        let members = 1 + self.random.index(5);
        (0..members).map(|_| self.data()).collect()
    }

    fn append(&mut self, step: bool, batch: Vec<(Vec<u8>, bool)>) {
        self.what = format!(
            "append {:?}",
            batch.iter().map(|(data, _)| data.len()).collect::<Vec<_>>()
        );
        let mut group = Vec::new();
        let mut offset = self.log.tail_offset();
        for (data, _) in &batch {
            let data = data.clone();
            let size = slot_size(data.len() as u64) * UNIT as u64;
            group.push(Place { offset, data });
            offset += size;
        }
        let mut after = self.history.clone();
        after.groups.push(group);
        let before = self.history.clone();
        let fits = offset <= self.log.data_size();
        let histories = vec![if fits { after.clone() } else { before }];
        let appended = self.operate(
            step,
            |log, _| {
                let entries: Vec<Entry> = batch
                    .iter()
                    .map(|(data, utf8)| Entry { data, utf8: *utf8 })
                    .collect();
                match *entries {
                    [Entry { data, utf8 }] => log.append(data, utf8),
                    _ => log.append_batch(entries.iter().copied()),
                }
            },
            |_| histories.clone(),
        );
        let appended = appended.unwrap().is_some();
        assert_eq!(appended, fits);
        if appended {
            self.history = after;
        }
    }

    /// A reader without patience closes what dead writers left.
    fn seal(&mut self) {
        self.what = "seal".to_owned();
        let before = self.history.clone();
        self.operate(
            false,
            |log, _| found(log).unwrap(),
            |_| vec![before.clone()],
        );
    }

    fn sync(&mut self, step: bool) {
        self.seal();
        self.what = "sync".to_owned();
        let before = self.history.clone();
        self.operate(
            step,
            |log, _| {
                let end = log.tail_offset();
                assert!(log.settle(end).unwrap());
                log.sync(end).unwrap();
            },
            |_| vec![before.clone()],
        );
        self.history = self.history.on_disk(self.log.truncation());
        let histories = [self.history.clone()];
        self.explore(&histories);
    }

    fn truncate(&mut self) {
        let to = self.random.index(self.log.tail_offset() as usize + 1) as u64;
        self.what = format!("truncate {to}");
        let (truncation, events) = watched(&self.file, false, || loop {
            if let Some(truncation) = self.log.truncate(to).unwrap() {
                break truncation;
            }
        });
        self.history.truncations.insert(truncation);
        let after = self.history.clone();
        self.replay(events, |_| vec![after.clone()]);
    }

    fn reset(&mut self, step: bool) {
        self.what = "reset".to_owned();
        let before = self.history.clone();
        let histories = |flushes| match flushes {
            0 => vec![History::empty(), before.clone()],
            _ => vec![History::empty()],
        };
        self.operate(step, |log, _| log.reset().unwrap(), histories);
        self.history = History::empty();
    }

    /// A reset is killed at some store, and whoever comes next finishes it.
    fn killed_reset(&mut self) {
        self.what = "killed reset".to_owned();
        let before = self.history.clone();
        let content = content(&self.file);
        let ((), mut events) = watched(&self.file, true, || self.log.reset().unwrap());
        // Most stores are zeroes; what is decided is so in the first few.
        let few = self.random.pick(&[10, events.len()]).min(events.len());
        events.truncate(self.random.index(few) + 1);
        let mut killed = events.last().unwrap().content.clone();
        let flushes = events.iter().filter(|event| event.flush.is_some()).count();
        let begun =
            killed != content && field(&killed, Field::Tail) != field(&content, Field::Tail);
        let histories = |flushes| match flushes {
            0 => vec![History::empty(), before.clone()],
            _ => vec![History::empty()],
        };
        self.replay(events, histories);
        self.file.write_all_at(&killed, 0).unwrap();
        if !begun {
            self.log = Log::open(&self.path, &making(1)).unwrap();
            return;
        }
        self.what = "finished reset".to_owned();
        let decided = field(&killed, Field::Generation) != field(&content, Field::Generation);
        if decided && self.random.one_in(2) {
            // By recovery: in a container that shows another boot id, with nothing more on disk.
            reboot(&mut killed);
            self.file.write_all_at(&killed, 0).unwrap();
            self.log = Log::in_memory(None, &making(1)).unwrap();
        }
        // Attaching may do it already.
        let path = &self.path;
        let ((log, count), events) = watched(&self.file, false, || {
            let log = Log::open(path, &making(1)).unwrap();
            let count = log.entry_count();
            (log, count)
        });
        self.log = log;
        assert_eq!(count, 0);
        self.replay(events, |more| histories(flushes + more));
        self.history = History::empty();
        let histories = [self.history.clone()];
        self.explore(&histories);
    }

    fn abandon(&mut self) {
        let batch = self.batch();
        let death = self.random.pick(&DEATHS);
        self.what = format!("{death:?}");
        let before = self.history.clone();
        let act = |_: &Log, file: &File| abandon(file, &batch, death);
        self.operate(false, act, |_| vec![before.clone()]);
        if self.random.one_in(2) {
            self.seal();
        }
    }

    fn reopen(&mut self) {
        self.what = "reopen".to_owned();
        let before = self.history.clone();
        let path = self.path.clone();
        let ((), events) = watched(&self.file, false, || {
            self.log = Log::open(&path, &making(1)).unwrap();
        });
        self.replay(events, |_| vec![before.clone()]);
    }

    /// The power goes; the machine comes up again with one of the images, and goes on from there.
    fn power_cut(&mut self, step: bool) {
        let mut image = self.disk.cut(&mut self.random);
        reboot(&mut image);
        self.what = "power cut".to_owned();
        let found = self.bench.open(&image);
        let history = self.history.clone();
        let judged = found
            .and_then(|found| judge(&found, &[history]).map(|(_, kept)| (kept, found.truncation)));
        let what = self.what.clone();
        let Some((kept, truncation)) = self.tally.count(|| what, judged) else {
            return;
        };
        self.history.groups.truncate(kept);
        self.history = self.history.on_disk(truncation);

        self.files += 1;
        let path = self.folder.join(format!("recovered-{}", self.files));
        fs::write(&path, &image).unwrap();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        self.disk = Disk::new(&image);
        self.what = "recovery".to_owned();
        let (log, events) = watched(&file, step, || Log::open(&path, &making(1)).unwrap());
        let _ = fs::remove_file(std::mem::replace(&mut self.path, path));
        (self.log, self.file) = (log, file);
        let after = self.history.clone();
        self.replay(events, |_| vec![after.clone()]);
    }

    /// From one power cut to the next.
    fn boot(&mut self, step: bool) {
        // What is cut must span some sectors.
        let lazy = self.random.one_in(2);
        for _ in 0..5 + self.random.index(25) {
            match self.random.index(41) {
                24..=28 if lazy => {
                    let batch = self.batch();
                    self.append(step, batch);
                }
                0..=14 => {
                    let data = self.data();
                    self.append(step, vec![data]);
                }
                15..=21 => {
                    let batch = self.batch();
                    self.append(step, batch);
                }
                22..=28 => self.sync(step),
                29..=31 => self.truncate(),
                32 => self.reset(step),
                33..=37 => self.abandon(),
                38 => self.reopen(),
                39 => self.seal(),
                _ if self.random.one_in(2) => self.killed_reset(),
                _ => {}
            }
        }
        if self.log.available() < 500 {
            self.reset(step);
        }
        self.power_cut(step);
    }
}

fn main() {
    let (images, seed) = options();
    let scratch = Scratch::new();
    let tallies = [
        cuts(&scratch.0, images, seed),
        stores(&scratch.0, images / 2000, seed),
        flips(&scratch.0, images / 2000, seed),
        mended(&scratch.0, images / 1000, seed),
        unborn(&scratch.0),
    ];
    drop(scratch);
    exit(i32::from(tallies.iter().any(|tally| tally.bad > 0)));
}

fn options() -> (u64, u64) {
    let mut options = Options::new(HELP);
    let images = options.number("images", 10_000);
    let seed = options.number("seed", 1);
    options.done();
    (images, seed)
}

/// Boots with power cuts between the flushes and stores of every operation.
fn boots(folder: &Path, mut random: Random, boots: usize, step: bool) -> Tally {
    let random = Random(random.next());
    let mut machine = Machine::new(folder, random, if step { 2 } else { 8 });
    for _ in 0..boots {
        machine.boot(step);
    }
    let _ = fs::remove_file(&machine.path);
    machine.tally
}

fn cuts(folder: &Path, images: u64, seed: u64) -> Tally {
    let mut total = Tally::default();
    let mut turn = 0;
    while total.tried < images {
        turn += 1;
        total.add(&boots(folder, Random(seed << 32 | turn), 8, false));
    }
    total.report("power cuts");
    total
}

/// The same at every store, which takes a thousand times as long.
fn stores(folder: &Path, turns: u64, seed: u64) -> Tally {
    let mut total = Tally::default();
    for turn in 0..turns {
        total.add(&boots(folder, Random(!seed << 32 | turn), 1, true));
    }
    total.report("power cuts and kills at every store");
    total
}

/// What a synced log is made of.
#[derive(Clone, Debug)]
enum Part {
    Entries(Vec<(Vec<u8>, bool)>),
    Sealed(Vec<(Vec<u8>, bool)>, Death),
}

/// A log of these parts, synced: its image and its entries.
fn synced(folder: &Path, parts: &[Part]) -> (Vec<u8>, Vec<Place>) {
    let sizes = parts.iter().map(|part| match part {
        Part::Entries(batch) | Part::Sealed(batch, _) => batch
            .iter()
            .map(|(data, _)| slot_size(data.len() as u64))
            .sum::<u64>(),
    });
    let size = sizes.sum::<u64>() as usize * UNIT + 64;
    let path = folder.join("flipped");
    let log = Log::open(&path, &making(size)).unwrap();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    for part in parts {
        match part {
            Part::Entries(batch) => {
                let entries: Vec<Entry> = batch
                    .iter()
                    .map(|(data, utf8)| Entry { data, utf8: *utf8 })
                    .collect();
                log.append_batch(entries.iter().copied()).unwrap().unwrap();
            }
            Part::Sealed(batch, death) => drop(abandon(&file, batch, *death).unwrap()),
        }
    }
    let places = found(&log).unwrap().places;
    let end = log.tail_offset();
    assert!(log.settle(end).unwrap());
    log.sync(end).unwrap();
    fs::remove_file(&path).unwrap();
    let mut image = content(&file);
    reboot(&mut image);
    (image, places)
}

/// What must be found after one bit of the image was flipped: all but the entry it is in.
fn without(places: &[Place], bit: usize) -> (Vec<Place>, u64) {
    let hit = |place: &&Place| {
        let start = PAGE + place.offset as usize;
        (start..start + 8 + place.data.len()).contains(&(bit / 8))
    };
    let rest: Vec<Place> = places.iter().filter(|place| !hit(place)).cloned().collect();
    let damaged = (places.len() - rest.len()) as u64;
    (rest, damaged)
}

fn check_flip(
    bench: &mut Bench,
    image: &mut [u8],
    places: &[Place],
    bit: usize,
) -> Result<(), String> {
    image[bit / 8] ^= 1 << (bit % 8);
    let found = bench.open(image);
    image[bit / 8] ^= 1 << (bit % 8);
    let found = match found {
        Err(refused) if bit / 8 < PAGE && refused.starts_with("open: ") => return Ok(()),
        found => found?,
    };
    let (rest, damaged) = without(places, bit);
    if found.places != rest {
        let lost = rest
            .iter()
            .filter(|place| !found.places.contains(place))
            .count();
        let strange = found
            .places
            .iter()
            .filter(|place| !rest.contains(place))
            .count();
        return Err(format!("{lost} entries lost, {strange} strange ones"));
    }
    if found.damaged != damaged {
        return Err(format!(
            "{} said to be damaged, not {damaged}",
            found.damaged
        ));
    }
    // What was closed stays closed.
    let again = content(&bench.file);
    let mut again = again;
    reboot(&mut again);
    let log = bench.open(&again)?;
    if log.places.len() != found.places.len() + 1 || log.damaged != damaged {
        return Err("a second recovery differs from the first".to_owned());
    }
    Ok(())
}

const DEATHS: [Death; 3] = [
    Death::Reserved,
    Death::LaterMembersWritten,
    Death::AllButCommitted,
];

fn parts(random: &mut Random, uniform: Option<usize>, n: usize) -> Vec<Part> {
    let batch = |random: &mut Random| {
        let members = random.pick(&[1, 1, 2, 3, 4]);
        let entry = |random: &mut Random| {
            let length = match uniform {
                Some(length) => length,
                None if random.one_in(4) => 1 + random.index(200),
                None => 1 + random.index(32),
            };
            let data: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
            (data, random.one_in(4))
        };
        (0..members).map(|_| entry(random)).collect::<Vec<_>>()
    };
    (0..n)
        .map(|_| {
            let batch = batch(random);
            if random.one_in(3) {
                Part::Sealed(batch, random.pick(&DEATHS))
            } else {
                Part::Entries(batch)
            }
        })
        .collect()
}

/// One flipped bit below the synced mark.
fn flips(folder: &Path, turns: u64, seed: u64) -> Tally {
    let mut random = Random(seed ^ 0xf11b);
    let mut tally = Tally::default();
    let uniform = [1, 3, 4, 5, 8, 12, 16, 24, 28, 40].map(Some);
    for uniform in uniform.into_iter().chain([None; 5]) {
        let parts = parts(&mut random, uniform, 7);
        let (mut image, places) = synced(folder, &parts);
        let mut bench = Bench::new(folder, image.len());
        for bit in PAGE * 8..image.len() * 8 {
            let checked = check_flip(&mut bench, &mut image, &places, bit);
            let what = || format!("bit {} of byte {} of {parts:?}", bit % 8, bit / 8 - PAGE);
            tally.count(what, checked);
        }
    }
    let (mut image, places) = synced(folder, &parts(&mut random, None, 7));
    let mut bench = Bench::new(folder, image.len());
    for bit in 0..PAGE * 8 {
        let checked = check_flip(&mut bench, &mut image, &places, bit);
        tally.count(|| format!("bit {bit} of the header"), checked);
    }
    for _ in 0..turns {
        let uniform = random.pick(&[None, None, Some(8), Some(12), Some(24)]);
        let parts = parts(&mut random, uniform, 300);
        let (mut image, places) = synced(folder, &parts);
        let mut bench = Bench::new(folder, image.len());
        for _ in 0..200 {
            let bit = PAGE * 8 + random.index((image.len() - PAGE) * 8);
            let checked = check_flip(&mut bench, &mut image, &places, bit);
            tally.count(|| format!("bit {bit} of a large log"), checked);
        }
    }
    tally.report("flipped bits");
    tally
}

/// Recovery of a damaged log, killed or cut off at every store.
fn mended(folder: &Path, turns: u64, seed: u64) -> Tally {
    let mut random = Random(seed ^ 0x3e4d);
    let mut tally = Tally::default();
    for _ in 0..turns {
        let uniform = random.pick(&[None, Some(8), Some(12), Some(24)]);
        let parts = parts(&mut random, uniform, 12);
        let (mut image, _) = synced(folder, &parts);
        let bit = PAGE * 8 + random.index((image.len() - PAGE) * 8);
        image[bit / 8] ^= 1 << (bit % 8);
        let mut bench = Bench::new(folder, image.len());
        let Some(whole) = tally.count(
            || "an uninterrupted recovery".to_owned(),
            bench.open(&image),
        ) else {
            continue;
        };
        let path = folder.join("mended");
        fs::write(&path, &image).unwrap();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let ((), events) = watched(&file, true, || drop(Log::open(&path, &making(1)).unwrap()));
        let mut disk = Disk::new(&image);
        for event in events {
            disk.write(&event.content);
            for cut in 0..4 {
                let mut left = match cut {
                    0 => event.content.clone(),
                    // Garbage in the word that closes a damaged slot would be a second fault.
                    _ => disk.cut_to_sectors(&mut random, false),
                };
                reboot(&mut left);
                let same = bench.open(&left).and_then(|found| {
                    if found == whole {
                        Ok(())
                    } else {
                        Err(format!("ends otherwise: {} damaged", found.damaged))
                    }
                });
                tally.count(
                    || format!("recovery of {parts:?}, bit {bit}, cut {cut}"),
                    same,
                );
            }
            if let Some(range) = &event.flush {
                disk.flush(range);
            }
        }
        fs::remove_file(&path).unwrap();
    }
    tally.report("recoveries of damaged logs killed or cut at every store");
    tally
}

/// A file that the user made empty, or of zeros, has its name while it is made into a log. Whatever
/// a power cut leaves of it until that has returned, the same call makes a log of it. The file may
/// be short, as its length is on disk with the last fsync; its header may be torn, having no
/// magic yet, or only have that magic.
fn unborn(folder: &Path) -> Tally {
    let mut tally = Tally::default();
    let mut random = Random(1);
    let size = 10_000;
    for zeros in [0, PAGE + size] {
        let path = folder.join("unborn");
        fs::write(&path, vec![0; zeros]).unwrap();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let ((), events) = watched(&file, true, || {
            drop(Log::open(&path, &making(size)).unwrap())
        });
        let whole = PAGE + size;
        let mut disk = Disk::new(&vec![0; whole]);
        let mut synced = false;
        for mut event in events {
            event.content.resize(whole, 0);
            disk.write(&event.content);
            for _ in 0..300 {
                let mut image = disk.cut(&mut random);
                reboot_if_born(&mut image);
                let header_is_empty = image[..PAGE].iter().all(|&byte| byte == 0);
                if zeros == 0 && !synced && header_is_empty && random.one_in(2) {
                    image.clear();
                }
                fs::write(&path, &image).unwrap();
                let opened = Log::open(&path, &making(size))
                    .map_err(|error| format!("{error:?}"))
                    .and_then(|log| {
                        let appended = log.append(b"first", false);
                        match appended {
                            Ok(Some(0)) if found(&log)?.entries == 1 => Ok(()),
                            other => Err(format!("{other:?}")),
                        }
                    });
                tally.count(|| "creation in a file with a name".to_owned(), opened);
            }
            if let Some(range) = &event.flush {
                disk.flush(range);
                synced = true;
            }
        }
        fs::remove_file(&path).unwrap();
    }
    tally.report("creations");
    tally
}

fn reboot_if_born(image: &mut [u8]) {
    if field(image, Field::BootIdHigh) != 0 {
        reboot(image);
    }
}
