//! An append-only log in shared memory that survives the death of any process that uses it.
//!
//! Read [`layout`] for what lies where, then the essay in [`protocol`], then [`protocol::walk`].
//! The C interface in [`ffi`] is what the Perl module links to.
//!
//! | module | idea | does not |
//! |---|---|---|
//! | [`layout`] | places and packing of all shared words | touch memory |
//! | [`memory`] | what the protocol needs of the world | decide anything |
//! | [`protocol`] | append, walk, seal, wake, truncate, reset | use unsafe code or system calls |
//! | [`header`] | the header page as bytes | open files |
//! | [`recover`] | what of a log is whole | write to disk |
//! | [`mapping`] | the protocol's memory as a mapping | judge what it holds |
//! | [`region`] | files, memfds, locks: create, attach | know entries |
//! | [`log`] | a handle with its private state | call back |
//! | [`cursor`] | a reader with a position of its own | keep entries |
//! | `watch` | a thread that signals an eventfd | touch memory |
//! | [`ffi`] | the C interface | have logic |

#![deny(unsafe_op_in_unsafe_fn, missing_debug_implementations, unreachable_pub)]

pub mod cursor;
pub mod error;
pub mod ffi;
pub mod header;
pub mod layout;
pub mod locks;
pub mod log;
pub mod mapping;
pub mod memory;
pub mod protocol;
pub mod recover;
pub mod region;
pub mod sys;
mod watch;
