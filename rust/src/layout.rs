//! Where everything lies: the header page, the slots, and how each shared word is packed.
//!
//! Nothing here touches memory. Positions in the data region are counted in units of four bytes
//! (`at`, `size`, `end`), only the public interface speaks of bytes.
//!
//! ```text
//! 0     identity: written once, magic last          640   statistics
//! 128   tail word                                   4096  data region
//! 256   wake word
//! 384   truncation, generation, synced, sync failed, hole, reset
//! 512   attach identity: boot id, device, inode, birth
//! ```

/// Bytes of the header page; the data region begins behind it.
pub const HEADER_SIZE: u64 = 4096;
/// Bytes of one unit.
pub const UNIT: u64 = 4;
/// Units of a slot before its payload: word and aux.
pub const SLOT_HEADER: u64 = 2;
/// The smallest reservation: a slot with one unit of payload.
pub const MIN_SLOT: u64 = SLOT_HEADER + 1;
/// Bytes of the largest entry.
pub const MAX_ENTRY: u64 = VALUE_MASK as u64;
/// Units of the largest reservation, a batch included.
pub const MAX_RESERVATION: u64 = SIZE_MASK;
/// Bytes of the largest data region.
pub const MAX_DATA_SIZE: u64 = (1 << START_BITS) * UNIT;

/// A 64-bit word of the header that processes share; the discriminant is its place in bytes.
///
/// | field | range | written by | how |
/// |---|---|---|---|
/// | `Tail` | [`Tail`] | every append, reset, recovery | CAS |
/// | `Wake` | [`Wake`] | waiters, and committers that see waiters | CAS |
/// | `Truncation` | [`Checked`], units, never decreases but by reset | truncate | CAS |
/// | `Generation` | [`Checked`], grows by one with each reset | reset, under its lock | store |
/// | `Synced` | [`Checked`], units, everything below is settled and on disk | sync, reset | CAS |
/// | `SyncFailed` | 0, or the errno of the first sync that failed | sync | store |
/// | `Hole` | [`Hole`] | readers that stand at the lowest hole | CAS |
/// | `Reset` | [`Checked`] with the generation mixed in: units still to be zeroed | reset | store |
/// | the rest | counters; nothing depends on them | anyone | add or store |
///
/// Any of them may be stale by the time it is looked at, and none bounds a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Field {
    Tail = 128,
    Wake = 256,
    Truncation = 384,
    Generation = 392,
    Synced = 400,
    SyncFailed = 408,
    Hole = 416,
    Reset = 424,
    BootIdHigh = 512,
    BootIdLow = 520,
    Device = 528,
    Inode = 536,
    Born = 544,
    Waits = 640,
    Timeouts = 648,
    AppendsBefore = 656,
    Damaged = 664,
    Recoveries = 672,
    AppendsThen = 680,
}

impl Field {
    pub const fn offset(self) -> usize {
        self as usize
    }
}

const START_BITS: u32 = 36;
const SIZE_BITS: u32 = 64 - START_BITS;
const SIZE_MASK: u64 = (1 << SIZE_BITS) - 1;

/// The tail word: start of the last reservation (36 bits) and its size (28 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail(pub u64);

impl Tail {
    pub const EMPTY: Tail = Tail(0);
    /// A reset is under way: full for writers, empty for readers. No reservation looks like this.
    pub const RESETTING: Tail = Tail(u64::MAX);

    #[inline]
    pub const fn new(start: u64, size: u64) -> Tail {
        Tail(start << SIZE_BITS | size)
    }

    #[inline]
    pub const fn start(self) -> u64 {
        self.0 >> SIZE_BITS
    }

    #[inline]
    pub const fn size(self) -> u64 {
        self.0 & SIZE_MASK
    }

    #[inline]
    pub const fn end(self) -> u64 {
        self.start() + self.size()
    }
}

const STATE_SHIFT: u32 = 30;
const RESERVED: u32 = 1 << STATE_SHIFT;
const COMMITTED: u32 = 2 << STATE_SHIFT;
const SEALED: u32 = 3 << STATE_SHIFT;
const UTF8: u32 = 1 << 29;
const MORE: u32 = 1 << 28;
const VALUE_MASK: u32 = (1 << 28) - 1;

/// Mixed into the checksums of a batch's later members, so that what was found by searching is not
/// taken for the beginning of anything: their batch may be a sealed one.
pub const LATER: u32 = u32::from_be_bytes(*b"more");

/// The word of a slot that nobody has published anything in.
pub const EMPTY: u32 = 0;

/// A slot's word, taken apart.
///
/// `Committed` and `Sealed` are final. Sizes are in units, `len` is in bytes; neither is checked
/// here, since only a caller knows how much room is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    Empty,
    Reserved { size: u64 },
    Committed { len: u32, utf8: bool, more: bool },
    Sealed { size: u64 },
}

impl Slot {
    #[inline]
    pub const fn from_word(word: u32) -> Slot {
        let value = word & VALUE_MASK;
        match word >> STATE_SHIFT {
            0 => Slot::Empty,
            1 => Slot::Reserved { size: value as u64 },
            2 => Slot::Committed {
                len: value,
                utf8: word & UTF8 != 0,
                more: word & MORE != 0,
            },
            _ => Slot::Sealed {
                size: (value ^ VALUE_MASK) as u64,
            },
        }
    }
}

#[inline]
pub const fn reserved_word(size: u64) -> u32 {
    RESERVED | size as u32
}

/// The word of a slot that is closed without an entry. Nothing but the word itself vouches for its
/// size, so recovery has to know one that lost a bit: the number of its ones is odd. And the size
/// is stored inverted, so that such a word does not look like an entry's, nor the other way round.
#[inline]
pub const fn sealed_word(size: u64) -> u32 {
    with_odd_ones(SEALED | inverted(size))
}

/// The same for a slot that recovery closed because its entry was damaged.
pub const fn damaged_word(size: u64) -> u32 {
    with_odd_ones(SEALED | MORE | inverted(size))
}

const fn inverted(size: u64) -> u32 {
    size as u32 ^ VALUE_MASK
}

const fn with_odd_ones(word: u32) -> u32 {
    if has_odd_ones(word) {
        word
    } else {
        word | UTF8
    }
}

/// Whether `word` may be one of a sealed slot, if its state says so.
pub const fn has_odd_ones(word: u32) -> bool {
    word.count_ones() % 2 == 1
}

#[inline]
pub const fn committed_word(len: usize, utf8: bool, more: bool) -> u32 {
    COMMITTED | if utf8 { UTF8 } else { 0 } | if more { MORE } else { 0 } | len as u32
}

/// Units of the slot of an entry of `len` bytes.
#[inline]
pub const fn slot_size(len: u64) -> u64 {
    SLOT_HEADER + (len + UNIT - 1) / UNIT
}

/// The wake word: the sequence that waiters sleep on (low half) and how many have registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake(pub u64);

impl Wake {
    /// Bytes from the field to the half that the futex sleeps on.
    pub const FUTEX_OFFSET: usize = if cfg!(target_endian = "big") { 4 } else { 0 };

    pub const fn sequence(self) -> u32 {
        self.0 as u32
    }

    pub const fn waiters(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub const fn new(sequence: u32, waiters: u32) -> Wake {
        Wake((waiters as u64) << 32 | sequence as u64)
    }
}

/// The hole word: the place of the lowest hole (36 bits) and the tick (28 bits) at which a reader
/// first stood there. Ticks wrap; a record that seems to lie ahead of now is worthless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole(pub u64);

impl Hole {
    pub const NONE: Hole = Hole(u64::MAX);
    const TICK_BITS: u32 = 28;
    const TICK_MASK: u64 = (1 << Self::TICK_BITS) - 1;
    /// Elapsed ticks beyond this mean a tick ahead of now.
    pub const HORIZON: u64 = Self::TICK_MASK / 2;
    /// A tick is 2^17 ns, 131 us; all of them span 9.7 hours.
    pub const TICK_SHIFT: u32 = 17;

    pub const fn new(at: u64, tick: u64) -> Hole {
        Hole(at << Self::TICK_BITS | tick & Self::TICK_MASK)
    }

    pub const fn at(self) -> u64 {
        self.0 >> Self::TICK_BITS
    }

    pub const fn elapsed(self, now: u64) -> u64 {
        now.wrapping_sub(self.0) & Self::TICK_MASK
    }
}

/// A word that checks itself: 37 bits of value (a position may equal the largest region's end) and
/// 27 bits of CRC-32C over the log's salt, the field, a context and the value.
#[derive(Debug)]
pub struct Checked;

impl Checked {
    const VALUE_BITS: u32 = 37;
    const VALUE_MASK: u64 = (1 << Self::VALUE_BITS) - 1;

    pub fn seal(salt: u64, field: Field, context: u64, value: u64) -> u64 {
        let value = value & Self::VALUE_MASK;
        let mut bytes = [0; 32];
        for (place, word) in bytes
            .chunks_exact_mut(8)
            .zip([salt, field as u64, context, value])
        {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        u64::from(crc32c::crc32c(&bytes)) << Self::VALUE_BITS | value
    }

    pub fn open(salt: u64, field: Field, context: u64, word: u64) -> Option<u64> {
        let value = word & Self::VALUE_MASK;
        (Self::seal(salt, field, context, value) == word).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_words_hold_the_largest_log_and_the_largest_reservation() {
        let last = Tail::new((1 << START_BITS) - MIN_SLOT, MIN_SLOT);
        assert_eq!(last.end() * UNIT, MAX_DATA_SIZE);
        let widest = Tail::new(0, MAX_RESERVATION);
        assert_eq!((widest.start(), widest.size()), (0, MAX_RESERVATION));
        assert_ne!(last, Tail::RESETTING);
    }

    #[test]
    fn slot_words_round_trip_at_their_limits() {
        let len = MAX_ENTRY as usize;
        for (utf8, more) in [(false, false), (true, false), (false, true), (true, true)] {
            let slot = Slot::from_word(committed_word(len, utf8, more));
            let len = len as u32;
            assert_eq!(slot, Slot::Committed { len, utf8, more });
        }
        for size in [1, MIN_SLOT, MAX_RESERVATION] {
            assert_eq!(
                Slot::from_word(reserved_word(size)),
                Slot::Reserved { size }
            );
            for word in [sealed_word(size), damaged_word(size)] {
                assert_eq!(Slot::from_word(word), Slot::Sealed { size });
                assert!(has_odd_ones(word));
            }
        }
        assert_eq!(Slot::from_word(EMPTY), Slot::Empty);
    }

    #[test]
    fn an_entry_takes_its_length_and_eight_bytes_rounded_up_to_four() {
        for (len, bytes) in [(1, 12), (4, 12), (5, 16), (12, 20), (200, 208)] {
            assert_eq!(slot_size(len) * UNIT, bytes);
        }
    }

    #[test]
    fn a_checked_word_opens_only_for_its_own_log_field_and_context() {
        let end = MAX_DATA_SIZE / UNIT;
        let word = Checked::seal(7, Field::Synced, 1, end);
        assert_eq!(Checked::open(7, Field::Synced, 1, word), Some(end));
        assert_eq!(Checked::open(8, Field::Synced, 1, word), None);
        assert_eq!(Checked::open(7, Field::Truncation, 1, word), None);
        assert_eq!(Checked::open(7, Field::Synced, 2, word), None);
        for bit in 0..64 {
            assert_eq!(Checked::open(7, Field::Synced, 1, word ^ 1 << bit), None);
        }
    }

    #[test]
    fn a_hole_record_tells_elapsed_ticks_across_the_wrap() {
        let hole = Hole::new(5, Hole::TICK_MASK - 1);
        assert_eq!(hole.at(), 5);
        assert_eq!(hole.elapsed(Hole::TICK_MASK + 4), 5);
        assert!(hole.elapsed(Hole::TICK_MASK - 2) > Hole::HORIZON);
    }
}
