//! Hostile logs for the fuzz targets.
//!
//! An input says what stands in the header and in the data region, and which of its checksums are put
//! right: otherwise hardly any input would get past them. What remains is done with the log.

use std::cell::{Cell, RefCell};
use std::io;
use std::{mem, ptr};
use std::sync::atomic::Ordering;

use data_log_shared::header::{Identity, Page, Whereabouts, MAGIC};
use data_log_shared::layout::{slot_size, Checked, Field, Slot, Tail, HEADER_SIZE, LATER, UNIT};
use data_log_shared::mapping::Mapping;
use data_log_shared::memory::Memory;
use data_log_shared::protocol::Core;
use data_log_shared::sys;

/// Bytes are taken from the front; when there are none left they are zeros.
#[derive(Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let n = N.min(self.0.len());
        let (head, rest) = self.0.split_at(n);
        taken[..n].copy_from_slice(head);
        self.0 = rest;
        taken
    }

    pub fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

/// What is done to the log, with an argument.
pub type Step = (u8, u16);

#[derive(Debug)]
pub struct Image<'a> {
    choices: u8,
    sealed: u8,
    summed: u8,
    pub identity: Identity,
    fields: [(Field, u64); 7],
    pub steps: Vec<Step>,
    data: &'a [u8],
}

pub const MAX_STEPS: u8 = 12;
pub const SIZES: std::ops::RangeInclusive<u64> = 64..=4096;

impl<'a> Image<'a> {
    pub fn new(bytes: &'a [u8]) -> Image<'a> {
        let mut input = Input(bytes);
        let (choices, sealed, summed) = (input.u8(), input.u8(), input.u8());
        let size = u64::from(input.u16());
        // Most are small, for speed.
        let span = (SIZES.end() - SIZES.start() + 1) >> (size % 8);
        let identity = Identity {
            data_size: SIZES.start() + size / 8 % span,
            salt: 42,
            checksums: choices & 1 != 0,
            sparse: choices & 2 != 0,
        };
        let fields = [
            Field::Truncation,
            Field::Generation,
            Field::Synced,
            Field::Reset,
            Field::Tail,
            Field::Wake,
            Field::Hole,
        ]
        .map(|field| (field, input.u64()));
        let steps = (0..input.u8() % (MAX_STEPS + 1))
            .map(|_| (input.u8(), input.u16()))
            .collect();
        Image {
            choices,
            sealed,
            summed,
            identity,
            fields,
            steps,
            data: input.0,
        }
    }

    /// One of the choices that are the target's own.
    pub fn chooses(&self, bit: u32) -> bool {
        self.choices & 1 << bit != 0
    }

    /// Puts the log into `memory`, which is zeros beyond the fields.
    pub fn put<M: Memory>(&self, core: &Core<M>) {
        let memory = &core.memory;
        for (at, unit) in (0..core.units()).zip(self.data.chunks_exact(UNIT as usize)) {
            let mut bytes = [0; UNIT as usize];
            bytes.copy_from_slice(unit);
            memory.store_word(at, u32::from_le_bytes(bytes), Ordering::Relaxed);
        }
        for (i, &(field, raw)) in self.fields.iter().enumerate() {
            memory.store(field, self.field(core, i, field, raw), Ordering::Relaxed);
        }
        self.put_sums(core);
    }

    /// A field as it was given, or with its check put right and a value that makes some sense.
    fn field<M: Memory>(&self, core: &Core<M>, i: usize, field: Field, raw: u64) -> u64 {
        if self.sealed & 1 << i == 0 {
            return raw;
        }
        let places = 2 * core.units();
        match field {
            Field::Tail => {
                let start = raw as u32 as u64 % places;
                Tail::new(start, (raw >> 32) % (places - start)).0
            }
            Field::Reset => Checked::seal(core.salt(), field, core.generation(), raw % places),
            Field::Wake | Field::Hole => raw & 0xff_0000_00ff,
            _ => core.seal_field(field, raw % places),
        }
    }

    /// Puts right the checksums of some of the entries that a walk from the beginning meets.
    fn put_sums<M: Memory>(&self, core: &Core<M>) {
        let (mut at, mut kind) = (0, 0);
        for i in 0.. {
            if at + 2 >= core.units() {
                return;
            }
            let word = core.memory.load_word(at, Ordering::Relaxed);
            match Slot::from_word(word) {
                Slot::Committed { len, more, .. } => {
                    let next = at + slot_size(u64::from(len));
                    if len == 0 || next > core.units() {
                        return;
                    }
                    if self.summed & 1 << (i % 8) != 0 {
                        let sum = core.entry_crc(at, word, len as usize, core.generation());
                        core.memory.store_aux(at, sum ^ kind);
                    }
                    kind = if more { LATER } else { 0 };
                    at = next;
                }
                Slot::Sealed { size } | Slot::Reserved { size } if size > 0 => at += size,
                _ => return,
            }
        }
    }

    /// The same log as bytes, header first; with the whereabouts of `here` or none.
    pub fn bytes(&self, here: &Whereabouts) -> Vec<u8> {
        let units = self.identity.data_size / UNIT;
        let core = Core::new(
            Heap::new(units),
            units,
            self.identity.salt,
            self.identity.checksums,
        );
        self.put(&core);
        let mut page: Page = self.identity.page(here);
        page[..MAGIC.len()].copy_from_slice(&MAGIC);
        for (field, _) in self.fields {
            let word = core.memory.load(field, Ordering::Relaxed);
            page[field.offset()..][..8].copy_from_slice(&word.to_ne_bytes());
        }
        let mut bytes = page.to_vec();
        bytes.extend_from_slice(&core.memory.data.borrow());
        bytes.resize(self.identity.file_length() as usize, 0);
        bytes
    }
}

/// Plain memory of exactly the log's size, which counts what is done to it.
#[derive(Debug)]
pub struct Heap {
    header: [Cell<u64>; 128],
    data: RefCell<Vec<u8>>,
    clock: Cell<u64>,
    work: Cell<u64>,
}

impl Heap {
    pub fn new(units: u64) -> Heap {
        Heap {
            header: [const { Cell::new(0) }; 128],
            data: RefCell::new(vec![0; (units * UNIT) as usize]),
            clock: Cell::new(1000),
            work: Cell::new(u64::MAX),
        }
    }

    fn place(at: u64) -> std::ops::Range<usize> {
        (at * UNIT) as usize..((at + 1) * UNIT) as usize
    }

    fn spend(&self, work: u64) {
        let left = self.work.get().checked_sub(work);
        self.work.set(left.expect("a loop without end"));
    }

    fn cell(&self, field: Field) -> &Cell<u64> {
        self.spend(1);
        &self.header[field.offset() / 8]
    }

    fn get(&self, at: u64) -> u32 {
        self.spend(1);
        let mut bytes = [0; UNIT as usize];
        bytes.copy_from_slice(&self.data.borrow()[Self::place(at)]);
        u32::from_ne_bytes(bytes)
    }

    fn set(&self, at: u64, word: u32) {
        self.spend(1);
        self.data.borrow_mut()[Self::place(at)].copy_from_slice(&word.to_ne_bytes());
    }

    fn payload(at: u64, len: usize) -> std::ops::Range<usize> {
        let start = ((at + 2) * UNIT) as usize;
        start..start + len
    }
}

impl Memory for Heap {
    fn load(&self, field: Field, _: Ordering) -> u64 {
        self.cell(field).get()
    }

    fn store(&self, field: Field, value: u64, _: Ordering) {
        self.cell(field).set(value);
    }

    fn exchange(&self, field: Field, seen: u64, new: u64, _: Ordering) -> Result<u64, u64> {
        match self.cell(field).get() {
            now if now == seen => Ok(self.cell(field).replace(new)),
            now => Err(now),
        }
    }

    fn add(&self, field: Field, value: u64) {
        let cell = self.cell(field);
        cell.set(cell.get().wrapping_add(value));
    }

    fn load_word(&self, at: u64, _: Ordering) -> u32 {
        self.get(at)
    }

    fn store_word(&self, at: u64, word: u32, _: Ordering) {
        self.set(at, word);
    }

    fn exchange_word(&self, at: u64, seen: u32, new: u32, _: Ordering) -> Result<u32, u32> {
        match self.get(at) {
            now if now == seen => {
                self.set(at, new);
                Ok(now)
            }
            now => Err(now),
        }
    }

    fn load_aux(&self, at: u64) -> u32 {
        self.get(at + 1)
    }

    fn store_aux(&self, at: u64, aux: u32) {
        self.set(at + 1, aux);
    }

    fn write_payload(&self, at: u64, data: &[u8]) {
        self.data.borrow_mut()[Self::payload(at, data.len())].copy_from_slice(data);
    }

    fn payload_crc(&self, at: u64, len: usize, head: [u8; 12], crc: u32) -> u32 {
        self.spend(1 + len as u64 / UNIT);
        let crc = crc32c::crc32c_append(crc, &head);
        crc32c::crc32c_append(crc, &self.data.borrow()[Self::payload(at, len)])
    }

    fn zero(&self, from: u64, to: u64) {
        self.data.borrow_mut()[(from * UNIT) as usize..(to * UNIT) as usize].fill(0);
    }

    fn zero_all(&self) {
        self.data.borrow_mut().fill(0);
    }

    fn back(&self, _from: u64, to: u64) -> Result<(), i32> {
        assert!(to * UNIT <= self.data.borrow().len() as u64);
        Ok(())
    }

    fn ticks(&self) -> u64 {
        self.clock.get()
    }

    fn sleep(&self, _: u32, _: u64) {}

    fn wake_all(&self) {}
}

/// Memory that a target looks into beside the protocol.
pub trait Fuzzed: Memory {
    fn bytes(&self, at: u64, len: usize) -> Vec<u8>;
    /// What comes next must do with so many accesses, where they are counted.
    fn allow(&self, work: u64);
    /// Lets time pass, where it is not the machine's.
    fn pass(&self, ticks: u64);
}

impl Fuzzed for Heap {
    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        self.data.borrow()[Self::payload(at, len)].to_vec()
    }

    fn allow(&self, work: u64) {
        self.work.set(work);
    }

    fn pass(&self, ticks: u64) {
        self.clock.set(self.clock.get().wrapping_add(ticks));
    }
}

impl Fuzzed for Mapping {
    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut copy = vec![0; len];
        // SAFETY: `payload` has checked that the mapping holds so many bytes, and so does the copy.
        unsafe { ptr::copy_nonoverlapping(self.payload(at, len), copy.as_mut_ptr(), len) }
        copy
    }

    fn allow(&self, _: u64) {}

    fn pass(&self, _: u64) {}
}

const PAGE_BYTES: usize = 4096;

/// A mapping of so many pages of data between two pages that nobody may touch.
pub fn guarded_mapping(pages: usize) -> io::Result<Mapping> {
    let file = sys::memfd(&c"fuzz".to_owned())?;
    file.set_len(HEADER_SIZE + (pages * PAGE_BYTES) as u64)?;
    for _ in 0..100 {
        // The kernel maps downwards as a rule, so what comes next lies below this one; but for a single
        // page that goes with the mapping, for which there is a gap.
        let above = forbidden_pages(ptr::null_mut(), 3);
        // SAFETY: the page was just made, and nobody was told of it.
        unsafe { libc::munmap(above.add(PAGE_BYTES).cast(), PAGE_BYTES) };
        let mapping = Mapping::new(&file, (pages * PAGE_BYTES) as u64, true, None)?;
        let end = mapping.payload(mapping.units() - 2, 0);
        let below = end.wrapping_sub(mapping.bytes() as usize + PAGE_BYTES);
        if end == above && forbidden_pages(below, 1) == below {
            return Ok(mapping);
        }
        // Where it lies it would go again.
        mem::forget(mapping);
    }
    Err(io::ErrorKind::OutOfMemory.into())
}

fn forbidden_pages(place: *mut u8, count: usize) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let fixed = if place.is_null() {
        libc::MAP_FIXED_NOREPLACE
    } else {
        0
    };
    // SAFETY: replaces no mapping, and nobody is told of the new one.
    unsafe {
        libc::mmap(
            place.cast(),
            count * PAGE_BYTES,
            libc::PROT_NONE,
            flags ^ fixed,
            -1,
            0,
        )
        .cast()
    }
}
