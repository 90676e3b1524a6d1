//! The memory of the protocol: a shared mapping of a file or memfd.
//!
//! The only place that touches mapped bytes. Other processes change them at any time, so payloads
//! are copied out and in through raw pointers and no reference to them is ever made; words are
//! reached as atomics. Every access is checked against the size that was mapped.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::layout::{Field, Hole, Wake, HEADER_SIZE, SLOT_HEADER, UNIT};
use crate::memory::Memory;
use crate::sys;

const HEADER: usize = HEADER_SIZE as usize;
const UNIT_BYTES: usize = UNIT as usize;
/// How many bytes more than it needs a writer makes ready at most.
const AHEAD: u64 = 256 << 10;

#[derive(Debug)]
pub struct Mapping {
    map: MmapRaw,
    units: usize,
    /// The file, if it does not have all its space yet.
    sparse: Option<File>,
    ready: Ready,
    writable: bool,
    /// Whether there may be pages that have no space yet.
    has_holes: bool,
}

/// From which unit up to which one this process has made space and pages ready. On a page that a forked
/// child finds zeroed, since page tables of shared mappings are not inherited. What lies before the first
/// unit is not known: a damaged tail may have pointed beyond it. The third is where the process began to
/// append. Relaxed, as nothing hangs on the order.
#[derive(Debug)]
struct Ready(MmapRaw);

impl Ready {
    fn new() -> io::Result<Ready> {
        let page = MmapRaw::from(MmapOptions::new().len(24).map_anon()?);
        // Where the kernel does not know this a child takes a fault for each page, as it would anyway.
        // SAFETY: it is private to this process, and any bytes are a hint.
        let _ = unsafe { sys::wipe_on_fork(page.as_mut_ptr(), page.len()) };
        Ok(Ready(page))
    }

    #[inline(always)]
    fn bounds(&self) -> &[AtomicU64; 3] {
        // SAFETY: the page is mapped as long as `self` lives, and nothing else is on it.
        unsafe { &*self.0.as_mut_ptr().cast() }
    }

    #[inline(always)]
    fn holds(&self, from: u64, to: u64) -> bool {
        let [begin, end, _] = self.bounds();
        to <= end.load(Ordering::Relaxed) && from >= begin.load(Ordering::Relaxed)
    }

    /// Adds what was made ready from `begin` on, or forgets the rest for it where that is elsewhere.
    fn extend(&self, begin: u64, end: u64) {
        let [known, until, _] = self.bounds();
        if begin != until.load(Ordering::Relaxed) {
            until.store(0, Ordering::Relaxed);
            known.store(begin, Ordering::Relaxed);
        }
        until.fetch_max(end, Ordering::Relaxed);
    }
}

/// Some 5 microseconds where a pause takes 13 ns: enough for a hundred appends of another process.
const BACK_OFF: u32 = 400;

/// The failure order that goes with a success order.
const fn on_failure(order: Ordering) -> Ordering {
    match order {
        Ordering::SeqCst => Ordering::SeqCst,
        _ => Ordering::Acquire,
    }
}

impl Mapping {
    /// Maps the header and `data_size` bytes behind it, which the file must have. For a sparse file
    /// a descriptor to reserve space by.
    pub fn new(
        file: &File,
        data_size: u64,
        has_holes: bool,
        sparse: Option<File>,
    ) -> io::Result<Mapping> {
        let map = MmapOptions::new()
            .len((HEADER_SIZE + data_size) as usize)
            .map_raw(file)?;
        Ok(Mapping {
            units: (map.len() - HEADER) / UNIT_BYTES,
            map,
            sparse,
            ready: Ready::new()?,
            writable: true,
            has_holes,
        })
    }

    /// The same for reading only; to write through it would be a signal.
    pub fn read_only(file: &File, data_size: u64) -> io::Result<Mapping> {
        let map = MmapOptions::new()
            .len((HEADER_SIZE + data_size) as usize)
            .map_raw_read_only(file)?;
        Ok(Mapping {
            units: (map.len() - HEADER) / UNIT_BYTES,
            map,
            sparse: None,
            ready: Ready::new()?,
            writable: false,
            has_holes: false,
        })
    }

    pub fn units(&self) -> u64 {
        self.units as u64
    }

    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Puts the bytes `from..to` of the file on disk.
    pub fn flush(&self, from: u64, to: u64) -> io::Result<()> {
        self.map.flush_range(from as usize, (to - from) as usize)
    }

    /// Reserves the bytes `from..to` of the file while others write them.
    pub fn reserve(&self, file: &File, from: u64, to: u64) -> io::Result<()> {
        match sys::allocate(file, from, to) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => self.populate(from, to),
            result => result,
        }
    }

    /// Gives the bytes `from..to` of the file their pages, and the pages their space, as a store to each
    /// would, but for the signal where there is none.
    fn populate(&self, from: u64, to: u64) -> io::Result<()> {
        assert!(
            from <= to && to <= self.bytes(),
            "range outside the mapping"
        );
        let (from, len) = (from as usize, (to - from) as usize);
        let populated = loop {
            match self.map.advise_range(Advice::PopulateWrite, from, len) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                populated => break populated,
            }
        };
        populated.map_err(|error| match error.raw_os_error() {
            Some(libc::EFAULT) => io::Error::from_raw_os_error(libc::ENOSPC),
            // A kernel before 5.14.
            Some(libc::EINVAL) => io::Error::from_raw_os_error(libc::EOPNOTSUPP),
            _ => error,
        })
    }

    /// Zeroes what the file has of the units `from..to`. Through the mapping only where a limit on the size
    /// of files forbids to write, since a page may have space for a part of it only.
    fn zero_data(&self, file: &File, from: u64, to: u64) -> io::Result<()> {
        let zeroes = [0; 1 << 14];
        let (first, last) = (HEADER_SIZE + from * UNIT, HEADER_SIZE + to * UNIT);
        let may_write = sys::check_file_size_limit(last).is_ok();
        let mut end = HEADER_SIZE;
        while let Some((start, stop)) = sys::next_data(file, end)? {
            end = stop;
            let (mut at, stop) = (start.clamp(first, last), stop.clamp(first, last));
            if !may_write {
                self.write_zeroes((at - HEADER_SIZE) / UNIT, (stop - HEADER_SIZE) / UNIT);
                continue;
            }
            while at < stop {
                let len = (stop - at).min(zeroes.len() as u64);
                file.write_all_at(&zeroes[..len as usize], at)?;
                at += len;
            }
        }
        Ok(())
    }

    fn write_zeroes(&self, from: u64, to: u64) {
        assert!(
            from <= to && to <= self.units as u64,
            "range outside the region"
        );
        let (from, len) = (
            from as usize * UNIT_BYTES,
            (to - from) as usize * UNIT_BYTES,
        );
        // SAFETY: the range was just found to lie inside the mapping.
        unsafe { ptr::write_bytes(self.map.as_mut_ptr().add(HEADER + from), 0, len) }
    }

    /// The end of the page that the byte of the region before `end` is on, or the region's.
    fn whole_pages(&self, end: u64) -> u64 {
        let page = sys::page_size();
        let end = (HEADER_SIZE + end + page - 1) / page * page;
        end.min(self.bytes()) - HEADER_SIZE
    }

    /// Gives the region's memory back.
    fn drop_pages(&self) -> bool {
        let data = self.map.len() - HEADER;
        // SAFETY: the range is that of the data region, page-aligned, and to lose its pages makes
        // it zero without invalidating anything.
        unsafe {
            let start = self.map.as_mut_ptr().add(HEADER).cast();
            libc::madvise(start, data, libc::MADV_REMOVE) == 0
        }
    }

    #[inline(always)]
    fn field(&self, field: Field) -> &AtomicU64 {
        // SAFETY: fields lie in the header page, which is mapped as long as `self` lives, at
        // multiples of eight; the mapping is page-aligned.
        unsafe { &*self.map.as_mut_ptr().add(field.offset()).cast() }
    }

    #[inline(always)]
    fn futex(&self) -> &AtomicU32 {
        let place = Field::Wake.offset() + Wake::FUTEX_OFFSET;
        // SAFETY: as in `field`, at a multiple of four.
        unsafe { &*self.map.as_mut_ptr().add(place).cast() }
    }

    #[inline(always)]
    fn unit(&self, at: u64) -> &AtomicU32 {
        assert!(at < self.units as u64, "unit outside the region");
        // SAFETY: the unit lies in the mapping, which lives as long as `self`, at a multiple of four.
        unsafe {
            &*self
                .map
                .as_mut_ptr()
                .add(HEADER + at as usize * UNIT_BYTES)
                .cast()
        }
    }

    /// Where the payload of the slot at `at` begins, if `len` bytes of it lie inside the region.
    #[inline(always)]
    pub fn payload(&self, at: u64, len: usize) -> *mut u8 {
        let header = SLOT_HEADER as usize * UNIT_BYTES;
        let room = self.units.saturating_sub(at as usize) * UNIT_BYTES;
        assert!(
            len <= room && room - len >= header,
            "payload outside the region"
        );
        let start = at as usize * UNIT_BYTES + header;
        // SAFETY: start and end were just found to lie inside the mapping.
        unsafe { self.map.as_mut_ptr().add(HEADER + start) }
    }

    /// The checksum over private copies, a piece at a time.
    #[inline(never)]
    fn long_crc(&self, at: u64, len: usize, head: [u8; 12], crc: u32) -> u32 {
        const CHUNK: usize = 1024;
        let mut private = MaybeUninit::<[u8; CHUNK]>::uninit();
        let chunk: *mut u8 = private.as_mut_ptr().cast();
        let from = self.payload(at, len);
        // SAFETY: the chunk has room for the head.
        unsafe { ptr::copy_nonoverlapping(head.as_ptr(), chunk, head.len()) }
        let (mut crc, mut filled, mut done) = (crc, head.len(), 0);
        loop {
            let n = (CHUNK - filled).min(len - done);
            // SAFETY: `payload` has checked all `len` bytes; `n` more fit the chunk, of which the
            // first `filled` are initialised and so are the `n`, by this copy, before they are
            // looked at. A concurrent writer can make the bytes wrong, not the copy.
            let bytes = unsafe {
                ptr::copy_nonoverlapping(from.add(done), chunk.add(filled), n);
                slice::from_raw_parts(chunk, filled + n)
            };
            crc = crc32c::crc32c_append(crc, bytes);
            (filled, done) = (0, done + n);
            if done == len {
                return crc;
            }
        }
    }

    #[cold]
    fn make_ready(&self, from: u64, to: u64) -> Result<(), i32> {
        if !self.writable {
            return Err(libc::EACCES);
        }
        let [begin, end, since] = self.ready.bounds();
        let (begin, end) = (begin.load(Ordering::Relaxed), end.load(Ordering::Relaxed));
        if end == 0 || from < since.load(Ordering::Relaxed) {
            since.store(from, Ordering::Relaxed);
        }
        let since = since.load(Ordering::Relaxed).min(from) * UNIT;
        // Another thread may just have done it.
        let first = if (begin..=end).contains(&from) {
            end.min(to)
        } else {
            from
        };
        let (from, to) = (first * UNIT, to * UNIT);
        // In proportion, lest many small logs take up memory that none of them uses, and a process that
        // appends a line has pages of a file written that nothing is on.
        let mut until = self.whole_pages(to + AHEAD.min((to - since) / 2));
        if let Some(file) = &self.sparse {
            // What lies before, its own writer has reserved.
            let reserve = |until| self.reserve(file, HEADER_SIZE + from, HEADER_SIZE + until);
            // Near the end of the disk what is ahead may be what does not fit.
            if reserve(until).is_err() {
                until = self.whole_pages(to);
                reserve(until).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
            }
        }
        // One call is cheaper than a fault for each page, and not between reservation and commit. Where
        // it fails, the faults come as they would have.
        let _ = self.populate(HEADER_SIZE + from, HEADER_SIZE + until);
        self.ready.extend(first, until / UNIT);
        Ok(())
    }
}

impl Memory for Mapping {
    #[inline(always)]
    fn load(&self, field: Field, order: Ordering) -> u64 {
        self.field(field).load(order)
    }

    #[inline(always)]
    fn store(&self, field: Field, value: u64, order: Ordering) {
        self.field(field).store(value, order);
    }

    #[inline(always)]
    fn exchange(&self, field: Field, seen: u64, new: u64, order: Ordering) -> Result<u64, u64> {
        self.field(field)
            .compare_exchange(seen, new, order, on_failure(order))
    }

    fn add(&self, field: Field, value: u64) {
        self.field(field).fetch_add(value, Ordering::Relaxed);
    }

    #[inline(always)]
    fn load_word(&self, at: u64, order: Ordering) -> u32 {
        self.unit(at).load(order)
    }

    #[inline(always)]
    fn store_word(&self, at: u64, word: u32, order: Ordering) {
        self.unit(at).store(word, order);
    }

    #[inline(always)]
    fn exchange_word(&self, at: u64, seen: u32, new: u32, order: Ordering) -> Result<u32, u32> {
        self.unit(at)
            .compare_exchange(seen, new, order, on_failure(order))
    }

    #[inline(always)]
    fn load_aux(&self, at: u64) -> u32 {
        self.unit(at + 1).load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn store_aux(&self, at: u64, aux: u32) {
        self.unit(at + 1).store(aux, Ordering::Relaxed);
    }

    #[inline(always)]
    fn write_payload(&self, at: u64, data: &[u8]) {
        let to = self.payload(at, data.len());
        // SAFETY: `payload` has checked the whole target; `data` is private memory, so they are apart.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) }
    }

    #[inline(always)]
    fn payload_crc(&self, at: u64, len: usize, head: [u8; 12], crc: u32) -> u32 {
        #[cfg(target_arch = "x86_64")]
        if len <= SHORT && std::is_x86_feature_detected!("sse4.2") {
            let from = self.payload(at, len);
            let [a, b, c, d, e, f, g, h, rest @ ..] = head;
            let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
            let rest = u32::from_le_bytes(rest);
            // SAFETY: `payload` has checked all `len` bytes; the processor has the instructions.
            return unsafe { short_crc(from, len, first, rest, crc) };
        }
        self.long_crc(at, len, head, crc)
    }

    fn zero_all(&self) {
        // A file keeps the space it has, since other handles rely on that.
        let done = match &self.sparse {
            Some(file) => self.zero_data(file, 0, self.units()).is_ok(),
            None => self.has_holes && sys::can_remove_pages() && self.drop_pages(),
        };
        if !done {
            self.write_zeroes(0, self.units());
        }
    }

    #[cold]
    fn back_off(&self) {
        for _ in 0..BACK_OFF {
            std::hint::spin_loop();
        }
    }

    fn zero(&self, from: u64, to: u64) {
        let done = self.sparse.as_ref().map_or(false, |file| {
            // A damaged tail may have led to where there is no space, and none is to be had.
            let (begin, end) = (from * UNIT, self.whole_pages(to * UNIT));
            let reserved = self.reserve(file, HEADER_SIZE + begin, HEADER_SIZE + end);
            reserved.is_err() && self.zero_data(file, from, to).is_ok()
        });
        if !done {
            self.write_zeroes(from, to);
        }
    }

    #[inline(always)]
    fn back(&self, from: u64, to: u64) -> Result<(), i32> {
        if self.ready.holds(from, to) {
            Ok(())
        } else {
            self.make_ready(from, to)
        }
    }

    #[inline(always)]
    fn is_writable(&self) -> bool {
        self.writable
    }

    fn ticks(&self) -> u64 {
        sys::boot_time() >> Hole::TICK_SHIFT
    }

    fn sleep(&self, sequence: u32, nanoseconds: u64) {
        sys::futex_wait(self.futex(), sequence, nanoseconds);
    }

    fn wake_all(&self) {
        sys::futex_wake_all(self.futex());
    }
}

/// Payloads up to this are done in one go; the crate computes longer ones in three streams at once.
#[cfg(target_arch = "x86_64")]
const SHORT: usize = 767;

/// Continues CRC-32C `crc` over twelve bytes in `first` and `rest`, and `len` at `from`, each loaded once.
///
/// # Safety
/// `from` is mapped for `len` bytes. The processor has SSE 4.2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
unsafe fn short_crc(from: *const u8, len: usize, first: u64, rest: u32, crc: u32) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u32, _mm_crc32_u64, _mm_crc32_u8};
    // SAFETY: the caller says that the instructions are there, and `len` bytes, of which `at` are done.
    unsafe {
        let mut long = _mm_crc32_u64(u64::from(!crc), first);
        long = u64::from(_mm_crc32_u32(long as u32, rest));
        let mut at = 0;
        while len - at >= 8 {
            long = _mm_crc32_u64(long, from.add(at).cast::<u64>().read_unaligned());
            at += 8;
        }
        let mut sum = long as u32;
        if len - at >= 4 {
            sum = _mm_crc32_u32(sum, from.add(at).cast::<u32>().read_unaligned());
            at += 4;
        }
        while at < len {
            sum = _mm_crc32_u8(sum, from.add(at).read());
            at += 1;
        }
        !sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn memory(data_size: u64) -> (File, Mapping) {
        let file = sys::memfd(&Default::default()).expect("a memfd");
        file.set_len(HEADER_SIZE + data_size).expect("room");
        let mapping = Mapping::new(&file, data_size, true, None).expect("a mapping");
        (file, mapping)
    }

    #[test]
    fn what_is_made_ready_ahead_is_bounded_and_in_proportion() {
        let (file, mapping) = memory(8 << 20);
        let taken = || file.metadata().expect("a file").blocks() * 512;
        let mut used = 0;
        for size in [20, 5000, 300, 1 << 20, 4, (6 << 20) + 8] {
            mapping
                .back(used / UNIT, (used + size) / UNIT)
                .expect("space");
            used += size;
            let ahead = taken().checked_sub(used).expect("what is used is ready");
            assert!(
                ahead <= AHEAD.min(used / 2) + 4096,
                "{ahead} ahead of {used}"
            );
        }
    }

    /// Each process that came to append a line to a file had 256 KiB of it written.
    #[test]
    fn who_appends_little_makes_little_ready() {
        let (file, mapping) = memory(8 << 20);
        let at = (4 << 20) / UNIT;
        mapping.back(at, at + 5).expect("space");
        assert_eq!(file.metadata().expect("a file").blocks() * 512, 4096);
    }

    #[test]
    fn what_lies_before_what_is_ready_is_not_taken_for_ready() {
        let (file, mapping) = memory(8 << 20);
        let taken = || file.metadata().expect("a file").blocks() * 512;
        let far = (6 << 20) / UNIT;
        mapping.back(far, far + 5).expect("space");
        let before = taken();
        mapping.back(2, 7).expect("space");
        assert!(taken() >= before + 4096);
    }

    #[test]
    fn a_forked_child_knows_of_nothing_that_is_ready() {
        let (_file, mapping) = memory(1 << 20);
        mapping.back(0, 5).expect("space");
        let ready = || mapping.ready.holds(0, 5);
        assert!(ready());
        // SAFETY: the child only loads a word and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: nothing of the parent's is touched.
            unsafe { libc::_exit(i32::from(ready())) }
        }
        let mut status = -1;
        // SAFETY: `status` is writable.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn short_checksums_are_those_of_the_crate() {
        if !std::is_x86_feature_detected!("sse4.2") {
            return;
        }
        let bytes: Vec<u8> = (0..SHORT as u32 + 4).map(|i| (i * 37) as u8).collect();
        let head = *b"hello, world";
        let (first, rest) = (
            u64::from_le_bytes(*b"hello, w"),
            u32::from_le_bytes(*b"orld"),
        );
        for start in 0..4 {
            for len in 0..=SHORT {
                let payload = &bytes[start..start + len];
                let expected = crc32c::crc32c_append(crc32c::crc32c_append(7, &head), payload);
                // SAFETY: a slice is readable; the instructions were just found.
                let sum = unsafe { short_crc(payload.as_ptr(), len, first, rest, 7) };
                assert_eq!(sum, expected, "{len} bytes from {start}");
            }
        }
    }
}
