//! What the trials share.

pub mod options;
pub mod scene;
pub mod step;
