//! What the protocol needs of the world: shared words, payload bytes, a clock and a place to sleep.
//!
//! The protocol is generic over [`Memory`], so that one source runs on the mapping, on plain memory
//! in tests, and under a model checker. Nothing here decides anything.
//!
//! An implementation answers every call within its own, private bounds. A position outside them is
//! a bug of the caller and panics; the protocol checks each position that it read from shared memory.

use std::sync::atomic::Ordering;

use crate::layout::Field;

/// The memory of one log and the machine around it. Positions are in units of the data region.
pub trait Memory {
    fn load(&self, field: Field, order: Ordering) -> u64;
    fn store(&self, field: Field, value: u64, order: Ordering);
    fn exchange(&self, field: Field, seen: u64, new: u64, order: Ordering) -> Result<u64, u64>;
    /// Adds to a statistic; relaxed.
    fn add(&self, field: Field, value: u64);

    fn load_word(&self, at: u64, order: Ordering) -> u32;
    fn store_word(&self, at: u64, word: u32, order: Ordering);
    fn exchange_word(&self, at: u64, seen: u32, new: u32, order: Ordering) -> Result<u32, u32>;

    /// The aux of the slot at `at`; relaxed, it is published by the slot's word.
    fn load_aux(&self, at: u64) -> u32;
    fn store_aux(&self, at: u64, aux: u32);

    /// Copies `data` behind the header of the slot at `at`.
    fn write_payload(&self, at: u64, data: &[u8]);
    /// Continues CRC-32C `crc` over `head` and the first `len` bytes of the payload of the slot at `at`.
    fn payload_crc(&self, at: u64, len: usize, head: [u8; 12], crc: u32) -> u32;
    /// Zeroes the units `from..to`.
    fn zero(&self, from: u64, to: u64);

    /// Zeroes everything, without taking space where there is none yet.
    fn zero_all(&self);

    /// Makes sure that the units `from..to` can be written without a signal, or gives `errno`.
    fn back(&self, from: u64, to: u64) -> Result<(), i32>;

    /// The time in [ticks](crate::layout::Hole), of a clock that all processes share.
    fn ticks(&self) -> u64;
    /// Sleeps while the wake word's sequence is `sequence`, at most `nanoseconds`, perhaps less.
    fn sleep(&self, sequence: u32, nanoseconds: u64);
    /// Wakes all that sleep on the wake word.
    fn wake_all(&self);

    /// Gives another process that writes the same words some microseconds.
    #[inline(always)]
    fn back_off(&self) {}

    /// Whether this process may write at all. If not, it neither seals nor registers.
    #[inline(always)]
    fn is_writable(&self) -> bool {
        true
    }

    /// Keeps a SeqCst store before a SeqCst load of another word. The orderings say so already; a
    /// model checker that takes SeqCst for AcqRel needs a fence.
    #[inline(always)]
    fn store_load_barrier(&self) {}
}
