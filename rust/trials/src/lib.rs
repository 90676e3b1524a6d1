//! What the trials share.
