//! The protocol and recovery on hostile memory, in process: on plain memory, where each access is
//! checked and counted, and on a mapping between pages that must not be touched.

#![no_main]

use std::cell::Cell;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use data_log_shared::header::{judge, Judgement, Whereabouts, MAGIC, PAGE};
use data_log_shared::layout::{Field, Hole, Tail, HEADER_SIZE, LATER, MAX_DATA_SIZE, UNIT};
use data_log_shared::mapping::Mapping;
use data_log_shared::memory::Memory;
use data_log_shared::protocol::{Core, Entry, Found, Patience, Position, Stop};
use data_log_shared::recover::recover;
use fuzz::{guarded_mapping, Fuzzed, Heap, Image, Step};
use libfuzzer_sys::fuzz_target;

const ON_MAPPING: u32 = 2;
const ON_PAGE: u32 = 3;
const RARELY: u32 = 4;

const NOWHERE: Whereabouts = Whereabouts {
    boot_id: 0,
    device: 0,
    inode: 0,
    born: 0,
};

thread_local! {
    static MAPPED: [Core<Mapping>; 2] = [false, true].map(|checksums| {
        let mapping = guarded_mapping(1).expect("a mapping");
        let units = mapping.units();
        Core::new(mapping, units, 42, checksums)
    });
}

fuzz_target!(|bytes: &[u8]| {
    let image = Image::new(bytes);
    if image.chooses(ON_PAGE) && image.chooses(RARELY) {
        judge_page(&image, bytes);
    } else if image.chooses(ON_MAPPING) && image.chooses(RARELY) {
        MAPPED.with(|cores| {
            let core = &cores[usize::from(image.identity.checksums)];
            core.memory.zero(0, core.units());
            image.put(core);
            Trial::new(core).run(&image.steps);
        });
    } else {
        let units = image.identity.data_size / UNIT;
        let core = Core::new(
            Heap::new(units),
            units,
            image.identity.salt,
            image.identity.checksums,
        );
        image.put(&core);
        Trial::new(&core).run(&image.steps);
    }
});

/// Judges a header page with some of its bytes replaced, its checksum put right.
fn judge_page(image: &Image<'_>, bytes: &[u8]) {
    let mut page = image.identity.page(&NOWHERE);
    page[..MAGIC.len()].copy_from_slice(&MAGIC);
    for patch in bytes.chunks_exact(3).skip(1) {
        let at = usize::from(u16::from_le_bytes([patch[0], patch[1]]));
        page[at % 128] = patch[2];
    }
    let length = image.identity.file_length();
    let checksum = crc32c::crc32c(&page[MAGIC.len()..124]);
    for sealed in [false, true] {
        if sealed {
            page[124..128].copy_from_slice(&checksum.to_ne_bytes());
        }
        let claimed = u64::from_ne_bytes(page[40..48].try_into().unwrap());
        for length in [length, claimed.wrapping_add(HEADER_SIZE)] {
            if let Ok(Judgement::Log(found)) = judge(&page, length) {
                assert!((1..=MAX_DATA_SIZE).contains(&found.data_size));
                assert_eq!(found.file_length(), length);
            }
            let _ = judge(&page[..length.min(PAGE as u64) as usize], length);
        }
    }
}

struct Trial<'a, M> {
    core: &'a Core<M>,
    position: Position,
}

impl<'a, M: Fuzzed> Trial<'a, M> {
    fn new(core: &'a Core<M>) -> Trial<'a, M> {
        Trial {
            core,
            position: Position::default(),
        }
    }

    fn run(&mut self, steps: &[Step]) {
        for &step in steps {
            // What takes more than this grows faster than the log.
            self.core.memory.allow(1000 + 60 * self.core.units());
            self.step(step);
        }
    }

    fn step(&mut self, (what, argument): Step) {
        let core = self.core;
        let place = u64::from(argument) % (core.units() + 2);
        let patience = match argument % 3 {
            0 => Patience::AtOnce,
            1 => Patience::Within(0),
            _ => Patience::DEFAULT,
        };
        match what % 16 {
            0 => self.recover(),
            1 => self.append(1 + usize::from(argument) % 300),
            2 => self.append_batch(usize::from(argument) % 8, usize::from(argument >> 3) % 64),
            3 => {
                self.locate(place, patience);
            }
            4 => self.replay(place, patience),
            5 => {
                core.walk(&mut self.position, u64::MAX, patience);
                assert!(self.position.at <= core.units());
            }
            6 => {
                core.truncate(&mut self.position, place);
            }
            7 => {
                core.reset(self.position.count, || Ok::<(), ()>(()))
                    .unwrap();
                assert_eq!(core.tail(), Tail::EMPTY);
                self.replay(0, Patience::AtOnce);
            }
            8 => {
                core.walk(&mut self.position, place, Patience::AtOnce);
                core.raise_synced(self.position.at);
            }
            9 => {
                self.verify();
            }
            10 => {
                let ticket = core.register();
                core.sleep(ticket, 0);
                core.wake();
                core.leave(ticket);
            }
            11 => core.memory.pass(u64::from(argument) << (argument % 16)),
            12 if place < core.units() => {
                let word = u32::from(argument).wrapping_mul(0x9e37_79b1);
                core.memory.store_word(place, word, Relaxed);
            }
            13 => {
                let fields = [
                    Field::Tail,
                    Field::Wake,
                    Field::Truncation,
                    Field::Generation,
                    Field::Synced,
                    Field::Hole,
                    Field::Reset,
                ];
                let field = fields[usize::from(argument) % fields.len()];
                let value = match argument >> 12 {
                    0 => u64::MAX,
                    1 => Tail::new(place, 3).0,
                    2 => core.seal_field(field, place),
                    _ => u64::from(argument).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                };
                core.memory.store(field, value, Relaxed);
            }
            14 => {
                core.is_at_end(&self.position);
                core.waiters();
                core.truncation();
                core.unzeroed();
            }
            _ => self.position = Position::default(),
        }
    }

    /// Recovers as a region does. What that leaves is a whole log, and to recover it again changes
    /// nothing.
    fn recover(&mut self) {
        let core = self.core;
        let found = recover(core, core.units());
        let end = found.tail.end();
        assert!(end <= core.units());
        core.memory.zero(end, core.units());
        let truncation = core.truncation().min(end);
        let store = |field, value| core.memory.store(field, value, Relaxed);
        store(Field::Tail, found.tail.0);
        store(
            Field::Truncation,
            core.seal_field(Field::Truncation, truncation),
        );
        store(Field::Synced, core.seal_field(Field::Synced, end));
        store(Field::Reset, 0);
        store(Field::Wake, 0);
        store(Field::Hole, Hole::NONE.0);

        self.position = Position::default();
        let stop = core.walk(&mut self.position, u64::MAX, Patience::AtOnce);
        assert_eq!((stop, self.position.at), (Stop::End, end));
        assert_eq!(self.verify(), 0, "an entry does not check out");
        assert_eq!(recover(core, core.units()).tail.end(), end);
    }

    fn append(&mut self, len: usize) {
        let data = vec![b'a'; len];
        let entry = Entry {
            data: &data,
            utf8: len % 2 == 1,
        };
        if let Ok(at) = self.core.append(entry) {
            self.must_stand(at, entry);
        }
    }

    fn append_batch(&mut self, count: usize, len: usize) {
        let data = vec![b'b'; len + count];
        let members = (0..count).map(|n| Entry {
            data: &data[..len + n + 1],
            utf8: false,
        });
        if let Ok(mut at) = self.core.append_batch(members.clone()) {
            for member in members {
                self.must_stand(at, member);
                at += member.slot_size();
            }
        }
    }

    /// Also a hostile log keeps what was just appended.
    fn must_stand(&self, at: u64, entry: Entry<'_>) {
        match self.core.look(at, self.core.tail()) {
            Found::Entry(found) => {
                assert_eq!((found.len, found.utf8), (entry.data.len(), entry.utf8));
                assert_eq!(self.core.memory.bytes(at, found.len), entry.data);
            }
            other => panic!("appended, and then found {other:?}"),
        }
    }

    /// Where the entry found at or behind `at` ends.
    fn locate(&mut self, at: u64, patience: Patience) -> Option<u64> {
        let found = self
            .core
            .locate(Cell::from_mut(&mut self.position), at, patience)?;
        assert!(found.at >= at && found.next > found.at && found.next <= self.core.units());
        self.core.memory.bytes(found.at, found.len);
        Some(found.next)
    }

    fn replay(&mut self, from: u64, patience: Patience) {
        let mut at = from;
        while let Some(next) = self.locate(at, patience) {
            at = next;
        }
    }

    /// Goes over the log as `Log::verify` does; how many entries do not check out.
    fn verify(&mut self) -> u32 {
        let core = self.core;
        let tail = core.refresh(&mut Position::default());
        let generation = core.generation();
        let (mut at, mut wrong) = (0, 0);
        loop {
            at = match core.look(at, tail) {
                Found::Entry(found) => {
                    let word = core.memory.load_word(at, Acquire);
                    if core.checksums() {
                        let sum = core.entry_crc(at, word, found.len, generation);
                        wrong += u32::from(![sum, sum ^ LATER].contains(&core.memory.load_aux(at)));
                    }
                    found.next
                }
                Found::Sealed { next } => next,
                _ => return wrong,
            };
        }
    }
}
