//! Truncation: hides what lies before a boundary. It only ever moves forward, and frees nothing.

use super::walk::{Patience, Position};
use super::Core;
use crate::layout::Field;
use crate::memory::Memory;

impl<M: Memory> Core<M> {
    /// Where reading begins, in units. A damaged truncation hides nothing.
    pub fn truncation(&self) -> u64 {
        self.checked(Field::Truncation).unwrap_or(0)
    }

    /// Hides everything before the first boundary at or behind `target`; the tail if there is none.
    /// What is in flight before it is sealed at once: its writer appends again, behind it.
    pub fn truncate(&self, position: &mut Position, target: u64) {
        self.refresh(position);
        let hidden = self.truncation();
        let end = if target >= position.at {
            self.walk(position, target, Patience::AtOnce);
            position.at
        } else if target > hidden {
            // Walked already, by this handle, so nothing is open there; look for the boundary again.
            let mut behind = position.restarted_at(hidden);
            self.walk(&mut behind, target, Patience::AtOnce);
            behind.at
        } else {
            return;
        };
        self.raise(Field::Truncation, end);
    }
}
