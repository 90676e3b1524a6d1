//! Recovery: what of a log is whole after a power cut, on a copy, or after damage at rest.
//!
//! Runs while nobody else has the log open. It trusts checksums and the synced mark, not the tail.
//! Below the mark everything was settled, so what does not check out is damage of the medium: that
//! one slot is sealed and the walk goes on. Above it the log ends at the first slot or batch that
//! does not check out, since what lies behind may have been written out of order.
//!
//! Only slot words are changed here, each by one store, and only below the mark; the caller zeroes
//! what follows the new tail and puts that on disk before it stores the tail. A log without checksums
//! is judged by its structure alone.
//!
//! # One flipped bit
//!
//! costs the entry that it is in and no other. What can be told apart:
//!
//! - An entry whose word was hit checks out under one of the 32 neighbours of that word.
//! - An entry whose payload or checksum was hit has its length still. It is no sealed slot whose word
//!   was hit, since sizes are stored inverted there.
//! - The word of a sealed slot has an odd number of ones unless it was hit. What follows says which
//!   bit it was: inside a sealed slot nothing checks out, since the later members of a batch have
//!   checksums of another kind.

use std::sync::atomic::Ordering::Relaxed;

use crc32c::crc32c_combine;

use crate::layout::{
    damaged_word, has_odd_ones, sealed_word, slot_size, Field, Slot, Tail, EMPTY, LATER,
    MAX_RESERVATION, MIN_SLOT, SLOT_HEADER, UNIT,
};
use crate::memory::Memory;
use crate::protocol::Core;

/// What a recovered log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    pub tail: Tail,
    /// Slots that this recovery or an earlier one had to close because their entries were damaged.
    pub damaged: u64,
}

/// Finds the end of the log, sealing damaged slots below the synced mark.
pub fn recover<M: Memory>(core: &Core<M>, units: u64) -> Recovered {
    if core.unzeroed().map_or(false, |units| units > 0) {
        return Recovered {
            tail: Tail::EMPTY,
            damaged: 0,
        };
    }
    let within = |end: &u64| *end <= units;
    let mark = core.checked(Field::Synced).filter(within);
    // Without its mark a log is trusted as far as its tail.
    let settled = mark.unwrap_or_else(|| core.tail().end().min(units));
    let mut recovery = Recovery {
        core,
        generation: core.generation(),
        units,
        settled,
        mark_is_known: mark.is_some(),
        budget: 8 * settled * UNIT,
        tail: Tail::EMPTY,
        damaged: 0,
    };
    recovery.settled_part();
    recovery.open_part();
    Recovered {
        tail: recovery.tail,
        damaged: recovery.damaged,
    }
}

struct Recovery<'a, M> {
    core: &'a Core<M>,
    generation: u64,
    /// How far there is anything to look at.
    units: u64,
    /// Everything below was settled.
    settled: u64,
    mark_is_known: bool,
    /// Bytes that may still be summed in vain.
    budget: u64,
    tail: Tail,
    damaged: u64,
}

/// Whose checksum an entry's is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A single entry, or the first of a batch.
    First,
    /// A later member of a batch.
    Later,
    Any,
}

impl Kind {
    fn agrees(self, aux: u32, sum: u32) -> bool {
        match self {
            Kind::First => aux == sum,
            Kind::Later => aux == sum ^ LATER,
            Kind::Any => aux == sum || aux == sum ^ LATER,
        }
    }

    fn after(more: bool) -> Kind {
        if more {
            Kind::Later
        } else {
            Kind::First
        }
    }
}

impl<M: Memory> Recovery<'_, M> {
    fn word(&self, at: u64) -> u32 {
        self.core.memory.load_word(at, Relaxed)
    }

    fn settled_part(&mut self) {
        let mut at = 0;
        while at < self.settled {
            let next = match self.sound(at) {
                Some(next) => {
                    self.tail = Tail::new(at, next - at);
                    Some(next)
                }
                None => self.mend(at),
            };
            match next {
                Some(next) => at = next,
                // Only without a mark: nothing tells that the log goes on.
                None => return,
            }
        }
    }

    /// Above the mark: whole batches as long as they check out. Sealed slots at the very end go.
    fn open_part(&mut self) {
        let end = self.units;
        let (mut at, mut start) = (self.tail.end(), self.tail.end());
        while at < end {
            let word = self.word(at);
            if at == start {
                if let Some(next) = self.vouched(at, word) {
                    at = next;
                    start = next;
                    continue;
                }
            }
            match self.entry(at, word, end, Kind::after(at != start)) {
                Some((next, more)) => {
                    if !more {
                        self.tail = Tail::new(at, next - at);
                        start = next;
                    }
                    at = next;
                }
                None => return,
            }
        }
    }

    /// Where the sealed slot at `at` ends, if it is one and not garbage that looks like it.
    fn vouched(&self, at: u64, word: u32) -> Option<u64> {
        let next = sealed_slot(at, word, self.units)?;
        let agrees = !self.core.checksums() || {
            next - at >= MIN_SLOT
                && self.core.memory.load_aux(at) == self.core.seal_crc(at, word, self.generation)
        };
        agrees.then_some(next)
    }

    /// Where the slot at `at` ends, if nothing is wrong with it.
    fn sound(&mut self, at: u64) -> Option<u64> {
        let word = self.word(at);
        match Slot::from_word(word) {
            Slot::Committed { .. } => self.guess(at, word, Kind::Any),
            Slot::Sealed { size } => {
                let next = sealed_slot(at, word, self.settled)?;
                // An entry whose state was hit may look like this.
                let entry = word ^ SEALED_OR_COMMITTED;
                if self.core.checksums() && self.guess(at, entry, Kind::Any).is_some() {
                    return None;
                }
                self.damaged += u64::from(word == damaged_word(size));
                Some(next)
            }
            _ => None,
        }
    }

    /// Where the entry at `at` ends and whether its batch goes on, if `word` is its word, it ends
    /// below `limit` and its checksum agrees.
    fn entry(&self, at: u64, word: u32, limit: u64, kind: Kind) -> Option<(u64, bool)> {
        let (len, more) = match Slot::from_word(word) {
            Slot::Committed { len, more, .. } if len > 0 => (len, more),
            _ => return None,
        };
        let next = at + slot_size(u64::from(len));
        if next > limit {
            return None;
        }
        let agrees = !self.core.checksums() || {
            let sum = self.core.entry_crc(at, word, len as usize, self.generation);
            kind.agrees(self.core.memory.load_aux(at), sum)
        };
        agrees.then_some((next, more))
    }

    /// The same below the mark, within the budget: what checks out costs nothing, since no byte of
    /// it is summed for another entry.
    fn guess(&mut self, at: u64, word: u32, kind: Kind) -> Option<u64> {
        let len = match Slot::from_word(word) {
            Slot::Committed { len, .. } if self.budget > 0 => len,
            _ => return None,
        };
        if slot_size(u64::from(len)) > self.settled - at {
            return None;
        }
        let found = self.entry(at, word, self.settled, kind);
        if found.is_none() {
            self.spend(u64::from(len) + SLOT_HEADER * UNIT);
        }
        found.map(|(next, _)| next)
    }

    fn spend(&mut self, bytes: u64) {
        self.budget = self.budget.saturating_sub(bytes);
    }

    /// Follows sealed slots from `at` to an entry of that kind, or to the mark.
    fn leads_to(&mut self, at: u64, kind: Kind) -> Option<u64> {
        let (mut at, mut kind) = (at, kind);
        while at < self.settled && self.budget > 0 {
            let word = self.word(at);
            match sealed_slot(at, word, self.settled) {
                Some(next) => {
                    // The first of a batch may have been lost before.
                    if word == damaged_word(next - at) {
                        kind = Kind::Any;
                    }
                    self.spend(UNIT);
                    at = next;
                }
                None => return self.guess(at, word, kind).map(|_| at),
            }
        }
        (at == self.settled).then_some(at)
    }

    /// Closes the damaged slot at `at`, as narrowly as what is around it allows; where it ends.
    fn mend(&mut self, at: u64) -> Option<u64> {
        let word = self.word(at);
        let state = Slot::from_word(word);
        // Without a mark, what is in flight is no damage.
        let in_flight = word == EMPTY || matches!(state, Slot::Reserved { .. });
        if !self.mark_is_known && (in_flight || !self.core.checksums()) {
            return None;
        }
        if !self.core.checksums() {
            return Some(self.close(at, self.settled));
        }
        if let Some(next) = self.neighbour(at, word) {
            return Some(self.close(at, next));
        }
        if let Slot::Committed { len, more, .. } = state {
            let next = at + slot_size(u64::from(len));
            if next <= self.settled && self.leads_to(next, Kind::after(more)).is_some() {
                return Some(self.close(at, next));
            }
        }
        if let Some(word) = self.sealed_neighbour(at, word) {
            return Some(self.restore(at, word));
        }
        let next = (at + 1..self.settled)
            .find(|&behind| self.guess(behind, self.word(behind), Kind::First).is_some());
        Some(self.close(at, next.unwrap_or(self.settled)))
    }

    /// Where the entry at `at` ends, if it checks out with one bit of its word changed. All lengths
    /// are tried in one pass over the payload.
    fn neighbour(&mut self, at: u64, word: u32) -> Option<u64> {
        let left = (self.settled - at) * UNIT;
        let affordable = |len: u32| u64::from(len) <= self.budget / 4;
        let mut words: Vec<(usize, u32)> = neighbours(word)
            .filter_map(|word| match Slot::from_word(word) {
                Slot::Committed { len, .. }
                    if len > 0 && affordable(len) && slot_size(u64::from(len)) * UNIT <= left =>
                {
                    Some((len as usize, word))
                }
                _ => None,
            })
            .collect();
        words.sort_unstable();
        let memory = &self.core.memory;
        if words.is_empty() {
            return None;
        }
        let aux = memory.load_aux(at);
        let payload_crc = |done: usize, len| {
            memory.payload_crc(at + done as u64 / UNIT, len, [0; 12], BEFORE_ZEROS)
        };
        // The checksum of the payload's first `done` bytes, a multiple of the unit.
        let (mut done, mut sum) = (0, 0);
        let mut found = None;
        for (len, word) in words {
            let whole = len - len % UNIT as usize;
            sum = crc32c_combine(sum, payload_crc(done, whole - done), whole - done);
            done = whole;
            let rest = len - done;
            let payload = crc32c_combine(sum, payload_crc(done, rest), rest);
            let head = self.core.entry_crc(at, word, 0, self.generation);
            let sum = crc32c_combine(head, payload, len);
            if Kind::Any.agrees(aux, sum) {
                found = Some(at + slot_size(len as u64));
                break;
            }
        }
        if found.is_none() {
            self.spend(done as u64);
        }
        found
    }

    /// The word of the sealed slot at `at`, if it was one that lost a bit. Whatever follows it checks
    /// out, and inside it nothing does, so of all sizes the right one leads to the nearest entry.
    fn sealed_neighbour(&mut self, at: u64, word: u32) -> Option<u32> {
        // Of two of the same size, one of which says that there was damage before, the other comes first.
        let mut words: Vec<(u64, bool, u32)> = neighbours(word)
            .filter_map(|word| {
                let next = sealed_slot(at, word, self.settled)?;
                Some((next, word == damaged_word(next - at), word))
            })
            .collect();
        words.sort_unstable();
        // Behind a slot that was closed for damage the rest of a batch may stand.
        [Kind::First, Kind::Any].into_iter().find_map(|kind| {
            let mut nearest = None;
            for &(next, _, word) in &words {
                if nearest.map_or(false, |(end, _)| end <= next) {
                    break;
                }
                match self.leads_to(next, kind) {
                    Some(end) if nearest.map_or(true, |(nearest, _)| end < nearest) => {
                        nearest = Some((end, word));
                    }
                    _ => {}
                }
            }
            nearest.map(|(_, word)| word)
        })
    }

    /// Closes `at..next` as one damaged slot, or more where it is too large for one.
    fn close(&mut self, at: u64, next: u64) -> u64 {
        self.damaged += 1;
        let mut start = at;
        while start < next {
            let size = MAX_RESERVATION.min(next - start);
            let word = if start == at {
                damaged_word(size)
            } else {
                sealed_word(size)
            };
            self.tail = Tail::new(start, size);
            self.core.memory.store_word(start, word, Relaxed);
            start += size;
        }
        next
    }

    /// Gives a sealed slot back its word.
    fn restore(&mut self, at: u64, word: u32) -> u64 {
        let size = match Slot::from_word(word) {
            Slot::Sealed { size } => size,
            _ => unreachable!("{word:#x} is no sealed word"),
        };
        self.damaged += u64::from(word == damaged_word(size));
        self.tail = Tail::new(at, size);
        self.core.memory.store_word(at, word, Relaxed);
        at + size
    }
}

/// Continued over the twelve bytes of an empty head this gives what a checksum begins with.
const BEFORE_ZEROS: u32 = 0x6904_7360;

/// The bit by which the states of sealed slots and entries differ.
const SEALED_OR_COMMITTED: u32 = 1 << 30;

/// Where the sealed slot at `at` ends, if `word` is the word of one that ends below `limit`.
fn sealed_slot(at: u64, word: u32, limit: u64) -> Option<u64> {
    match Slot::from_word(word) {
        Slot::Sealed { size } if has_odd_ones(word) && (1..=limit - at).contains(&size) => {
            Some(at + size)
        }
        _ => None,
    }
}

fn neighbours(word: u32) -> impl Iterator<Item = u32> {
    (0..u32::BITS).map(move |bit| word ^ 1 << bit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{committed_word, HEADER_SIZE};
    use crate::mapping::Mapping;
    use crate::protocol::tests::{entry, log_of, replay, reserve, Heap};
    use crate::protocol::{Patience, Position, Stop};
    use crate::sys;
    use std::cell::Cell;
    use std::ffi::CString;
    use std::sync::atomic::Ordering::SeqCst;

    /// Recovers as a region does, but for the disk.
    fn recovered(core: &Core<Heap>) -> Recovered {
        let recovered = recover(core, core.units());
        core.memory.zero(recovered.tail.end(), core.units());
        core.memory.store(Field::Tail, recovered.tail.0, SeqCst);
        recovered
    }

    fn sync(core: &Core<Heap>) {
        replay(core);
        core.raise_synced(core.tail().end());
    }

    /// A writer that dies with all members written and only the first one's commit missing.
    fn abandon(core: &Core<Heap>, batch: &[&[u8]]) -> u64 {
        let entries: Vec<_> = batch.iter().map(|data| entry(data)).collect();
        let at = core.append_batch(entries.iter().copied()).unwrap();
        core.memory.store_word(at, EMPTY, SeqCst);
        at
    }

    fn flip(core: &Core<Heap>, at: u64, bit: u32) {
        let word = core.memory.load_word(at, SeqCst);
        core.memory.store_word(at, word ^ 1 << bit, SeqCst);
    }

    #[test]
    fn above_the_mark_the_log_ends_at_the_first_batch_that_does_not_check_out() {
        let core = log_of(100);
        core.append(entry(b"kept")).unwrap();
        let batch = [entry(b"one"), entry(b"two"), entry(b"three")];
        let at = core.append_batch(batch.iter().copied()).unwrap();
        core.append(entry(b"behind")).unwrap();
        flip(&core, at + 2 * slot_size(3) + SLOT_HEADER, 7);
        assert_eq!(recovered(&core).damaged, 0);
        assert_eq!(replay(&core), vec![b"kept".to_vec()]);
        assert_eq!(core.tail().end(), at);
    }

    #[test]
    fn a_batch_whose_first_commit_is_missing_leaves_no_member() {
        let core = log_of(100);
        core.append(entry(b"kept")).unwrap();
        let at = abandon(&core, &[b"one", b"two"]);
        recovered(&core);
        assert_eq!(core.tail().end(), at);
        // Nor does one that was found from the wrong place.
        let core = log_of(100);
        let at = abandon(&core, &[b"one", b"two"]);
        let sealed = sealed_word(slot_size(3));
        core.memory.store_word(at, sealed, SeqCst);
        let sum = core.seal_crc(at, sealed, core.generation());
        core.memory.store_aux(at, sum);
        recovered(&core);
        assert!(replay(&core).is_empty());
    }

    /// Where all entries were of one size, garbage that looked like a sealed slot's word, copied from
    /// elsewhere, led past a lost entry to those behind it: no prefix.
    #[test]
    fn above_the_mark_a_sealed_slot_counts_only_with_its_checksum() {
        let core = log_of(100);
        let size = slot_size(4);
        core.append(entry(b"kept")).unwrap();
        let dead = reserve(&core, 4);
        core.append(entry(b"more")).unwrap();
        assert_eq!(replay(&core), vec![b"kept".to_vec(), b"more".to_vec()]);
        let live = core.append(entry(b"lost")).unwrap();
        core.append(entry(b"last")).unwrap();

        core.memory.store_word(live, sealed_word(size), SeqCst);
        assert_eq!(recovered(&core).tail.end(), live);
        assert_eq!(replay(&core), vec![b"kept".to_vec(), b"more".to_vec()]);
        // Nor does the checksum of another place help.
        let live = core.append(entry(b"lost")).unwrap();
        core.append(entry(b"last")).unwrap();
        core.memory.store_word(live, sealed_word(size), SeqCst);
        core.memory.store_aux(live, core.memory.load_aux(dead));
        assert_eq!(recovered(&core).tail.end(), live);
    }

    #[test]
    fn a_writer_that_finds_its_slot_sealed_leaves_the_seal_intact() {
        let core = log_of(100);
        let sealed = Cell::new(false);
        core.place(slot_size(4), |at| {
            let word = core.fill(at, entry(b"late"), false);
            if !sealed.replace(true) {
                assert!(replay(&core).is_empty());
                core.fill(at, entry(b"late"), false);
            }
            word
        })
        .unwrap();
        recovered(&core);
        assert_eq!(replay(&core), vec![b"late".to_vec()]);
    }

    /// Uniform sizes made a flipped bit of an entry's word or of a sealed one's lead to another
    /// slot's beginning, and entries in between were lost or members of a sealed batch came back.
    #[test]
    fn every_flipped_bit_costs_the_entry_it_is_in_and_no_other() {
        for size in [1, 3, 8, 12, 24] {
            let data = |n: u8| vec![n; size];
            let core = log_of(120 + 20 * slot_size(size as u64));
            let make = || {
                core.memory.zero(0, core.units());
                core.memory.store(Field::Tail, 0, SeqCst);
                let mut entries = Vec::new();
                for turn in [0, 10, 20, 30] {
                    entries.push((core.append(entry(&data(turn))).unwrap(), data(turn)));
                    abandon(&core, &[&data(turn + 1), &data(turn + 2), &data(turn + 3)]);
                    reserve(&core, size as u64);
                    let members = [data(turn + 4), data(turn + 5), data(turn + 6)];
                    let batch = [&members[0], &members[1], &members[2]].map(|data| entry(data));
                    let mut at = core.append_batch(batch.iter().copied()).unwrap();
                    for member in &members {
                        entries.push((at, member.clone()));
                        at += slot_size(size as u64);
                    }
                    if turn == 10 {
                        abandon(&core, &[&data(turn + 7), &data(turn + 8)]);
                    }
                }
                sync(&core);
                entries
            };
            let entries = make();
            for at in 0..core.tail().end() {
                for bit in 0..32 {
                    make();
                    flip(&core, at, bit);
                    let found = recovered(&core);
                    let byte = at * UNIT + u64::from(bit / 8);
                    let hit = |start: u64| {
                        let start = start * UNIT;
                        (start..start + SLOT_HEADER * UNIT + size as u64).contains(&byte)
                    };
                    let rest: Vec<_> = entries
                        .iter()
                        .filter(|(start, _)| !hit(*start))
                        .map(|(_, data)| data.clone())
                        .collect();
                    let context = format!("bit {bit} of unit {at}, entries of {size}");
                    assert_eq!(replay(&core), rest, "{context}");
                    let damaged = (entries.len() - rest.len()) as u64;
                    assert_eq!(found.damaged, damaged, "{context}");
                    // Again: the same.
                    core.raise_synced(core.tail().end());
                    assert_eq!(recovered(&core), found, "{context}");
                    assert_eq!(replay(&core), rest, "{context}");
                }
            }
        }
    }

    #[test]
    fn a_damaged_mark_means_all_up_to_the_tail() {
        let core = log_of(100);
        for data in [b"one", b"two"] {
            core.append(entry(data)).unwrap();
        }
        sync(&core);
        core.append(entry(b"not synced")).unwrap();
        core.memory.store(Field::Synced, 1, SeqCst);
        recovered(&core);
        assert_eq!(replay(&core).len(), 3);
    }

    #[test]
    fn what_is_in_flight_is_no_damage_where_the_mark_is_damaged() {
        let core = log_of(100);
        core.append(entry(b"kept")).unwrap();
        reserve(&core, 8);
        core.append(entry(b"behind")).unwrap();
        core.memory.store(Field::Synced, 1, SeqCst);
        assert_eq!(recovered(&core).damaged, 0);
        assert_eq!(replay(&core), vec![b"kept".to_vec()]);
    }

    #[test]
    fn hostile_words_cost_a_bounded_amount_of_summing() {
        // Each unit claims to begin an entry that ends shortly before the mark, where nothing begins.
        let core = log_of(1 << 12);
        let end = core.units() - 8;
        for at in 0..end - SLOT_HEADER {
            let len = (end - at - SLOT_HEADER) * UNIT;
            core.memory
                .store_word(at, committed_word(len as usize, false, false), SeqCst);
        }
        core.raise_synced(core.units());
        core.memory.summed.set(0);
        assert_eq!(recovered(&core).tail.end(), core.units());
        assert!(core.memory.summed.get() <= 16 * core.units() * UNIT);
        assert!(replay(&core).is_empty());
    }

    /// From each sealed slot of a run the next entry was summed again, which spent on sound slots what
    /// the damaged one behind them needed, and all that followed was closed.
    #[test]
    fn runs_of_sealed_slots_cost_nothing_where_they_are_sound() {
        let core = log_of(40_000);
        let large = [7; 2000];
        for _ in 0..40 {
            for _ in 0..16 {
                reserve(&core, 1);
            }
            core.append(entry(&large)).unwrap();
        }
        let damaged = core.append(entry(b"damaged")).unwrap();
        core.append(entry(b"behind")).unwrap();
        sync(&core);
        let mut sound = replay(&core);
        sound.remove(40);
        flip(&core, damaged + SLOT_HEADER, 3);
        assert_eq!(recovered(&core).damaged, 1);
        assert_eq!(replay(&core), sound);
    }

    /// Closed as one, a part that is wider than the size in the tail word gave a tail elsewhere, and
    /// what was appended next could not be reached.
    #[test]
    fn what_is_wider_than_one_slot_is_closed_as_several() {
        let units = MAX_RESERVATION + 1000;
        let file = sys::memfd(&CString::new("wide").unwrap()).unwrap();
        file.set_len(HEADER_SIZE + units * UNIT).unwrap();
        let memory = Mapping::new(&file, units * UNIT, true, None).unwrap();
        let core = Core::new(memory, units, 42, true);
        let mut recovery = Recovery {
            core: &core,
            generation: core.generation(),
            units,
            settled: units,
            mark_is_known: true,
            budget: 0,
            tail: Tail::EMPTY,
            damaged: 0,
        };
        assert_eq!(recovery.close(0, units), units);
        assert_eq!((recovery.tail.end(), recovery.damaged), (units, 1));
        core.memory.store(Field::Tail, recovery.tail.0, SeqCst);
        let mut position = Position::default();
        let stop = core.walk(&mut position, u64::MAX, Patience::DEFAULT);
        assert_eq!((stop, position.at, position.count), (Stop::End, units, 0));
    }

    #[test]
    fn an_unfinished_reset_leaves_nothing() {
        let core = log_of(100);
        core.append(entry(b"old")).unwrap();
        sync(&core);
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            core.reset(1, || -> Result<(), ()> { panic!("killed") })
        }));
        assert!(killed.is_err());
        assert_eq!(recovered(&core).tail, Tail::EMPTY);
    }

    #[test]
    fn without_checksums_the_structure_alone_is_judged() {
        let summed = log_of(100);
        summed.append(entry(b"kept")).unwrap();
        summed.append(entry(b"changed")).unwrap();
        reserve(&summed, 4);
        summed.append(entry(b"behind")).unwrap();
        sync(&summed);
        flip(&summed, slot_size(4) + SLOT_HEADER, 3);
        let core = Core::new(summed.memory, 100, 42, false);
        assert_eq!(recovered(&core).damaged, 0);
        assert_eq!(replay(&core).len(), 3);
    }
}
