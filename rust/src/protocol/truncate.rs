//! Truncation: hides what lies before a boundary. It only ever moves forward, and frees nothing.

use super::walk::{Patience, Position, Stop};
use super::Core;
use crate::layout::Field;
use crate::memory::Memory;

impl<M: Memory> Core<M> {
    /// Where reading begins, in units. A damaged truncation hides nothing.
    pub fn truncation(&self) -> u64 {
        self.checked(Field::Truncation).unwrap_or(0)
    }

    /// Hides everything before the first boundary at or behind `target`; the tail if there is none.
    /// What is in flight before it is sealed at once, and its writer appends again, behind it. One that
    /// has done so before is given time, lest frequent truncation keep it from ever getting through;
    /// then nothing is hidden yet, and the walk says how long to wait.
    pub fn truncate(&self, position: &mut Position, target: u64) -> Stop {
        self.refresh(position);
        let hidden = self.truncation();
        // What this handle has walked over has no holes; only its boundary is looked for again.
        let mut behind = position.restarted_at(hidden);
        let walk = if target >= position.at {
            position
        } else if target > hidden {
            &mut behind
        } else {
            return Stop::End;
        };
        let stop = self.walk(walk, target, Patience::Within(0));
        if !matches!(stop, Stop::Hole { .. }) {
            self.raise(Field::Truncation, walk.at);
        }
        stop
    }
}
