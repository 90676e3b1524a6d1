//! Errors, and the one place for the words of those that concern a log.
//!
//! The text is `[path: ]reason`; the caller puts the operation in front. What is wrong with Perl's
//! arguments is said by the glue, which alone sees them.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be done. Boxed, so that what rarely fails costs no room on success.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    path: Option<PathBuf>,
    reason: Reason,
}

#[derive(Debug)]
pub enum Reason {
    /// The system refused `doing`.
    System {
        doing: &'static str,
        source: io::Error,
    },
    NotRegular,
    Symlink,
    ForeignOwner {
        owner: u32,
    },
    TooSmall {
        length: u64,
    },
    Unfinished,
    Magic,
    Foreign {
        name: &'static str,
    },
    ByteOrder,
    WordSize {
        bits: u32,
    },
    Version {
        found: u32,
    },
    Features {
        bits: u64,
    },
    Checksum,
    Sizes {
        header: u64,
        file: u64,
    },
    DataSize {
        found: u64,
    },
    Generation,
    ReadOnly {
        errno: i32,
    },
    NeedsRecovery,
    NoSpace {
        source: io::Error,
    },
    NulInName,
    Unsealed,
    LockTimeout {
        lock: &'static str,
    },
    DataEmpty,
    DataTooLarge {
        length: u64,
    },
    SizeTooSmall {
        size: f64,
    },
    SizeTooLarge {
        size: f64,
    },
    Mode {
        mode: f64,
    },
    Descriptor {
        fd: i32,
        source: io::Error,
    },
    TailDamaged,
    NotSettled,
    SyncFailedBefore {
        source: io::Error,
    },
    NoPath,
    Bug,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::layout::{HEADER_SIZE, MAX_DATA_SIZE, MAX_ENTRY};
        match self {
            Reason::System { doing, source } => write!(f, "can't {doing}: {}", plain(source)),
            Reason::NotRegular => write!(f, "not a regular file"),
            Reason::Symlink => write!(f, "is a symlink, which is not followed"),
            Reason::ForeignOwner { owner } => write!(
                f,
                "empty or half-made, and its owner is another user (uid {owner})"
            ),
            Reason::TooSmall { length } => write!(
                f,
                "too small for a log: {length} bytes, the header alone has {HEADER_SIZE}"
            ),
            Reason::Unfinished => write!(
                f,
                "not a log (no magic): empty, or zeros of another size than this call would make"
            ),
            Reason::Magic => write!(f, "not a log (bad magic)"),
            Reason::Foreign { name } => write!(
                f,
                "a log of another implementation's format {name}, of which log-shared upgrade makes a new one"
            ),
            Reason::ByteOrder => write!(f, "written in another byte order"),
            Reason::WordSize { bits } => write!(f, "written with another word size ({bits} bits)"),
            Reason::Version { found } => write!(
                f,
                "format version {found}, this module reads version {}",
                crate::header::VERSION
            ),
            Reason::Features { bits } => write!(
                f,
                "uses features of a later version of this module ({bits:#x})"
            ),
            Reason::Checksum => write!(f, "header is damaged (bad checksum)"),
            Reason::Sizes { header, file } => write!(
                f,
                "size mismatch: header says {header} bytes, file has {file}"
            ),
            Reason::DataSize { found } => write!(f, "header has an impossible data size {found}"),
            Reason::Generation => write!(f, "header is damaged (generation)"),
            Reason::ReadOnly { .. } => write!(f, "read-only"),
            Reason::NeedsRecovery => write!(
                f,
                "needs recovery, for which it must be opened for writing first"
            ),
            Reason::NoSpace { source } => write!(f, "no space: {}", plain(source)),
            Reason::NulInName => write!(f, "name contains a NUL byte"),
            Reason::Unsealed => write!(f, "memfd is not sealed against shrinking"),
            Reason::LockTimeout { lock } => {
                write!(f, "the {lock} lock is held by another process for too long")
            }
            Reason::DataEmpty => write!(f, "data is empty"),
            Reason::DataTooLarge { length } => {
                write!(
                    f,
                    "data of {length} bytes is too large (at most {MAX_ENTRY})"
                )
            }
            Reason::SizeTooSmall { size } => write!(f, "size {size} is less than 1"),
            Reason::SizeTooLarge { size } => {
                write!(f, "size {size} is too large (at most {MAX_DATA_SIZE})")
            }
            Reason::Mode { mode } => write!(f, "mode {mode} is not a number from 0 to 0777 (511)"),
            Reason::Descriptor { fd, source } => {
                write!(f, "can't use file descriptor {fd}: {}", plain(source))
            }
            Reason::NotSettled => write!(f, "what others are writing is not settled after a minute"),
            Reason::TailDamaged => write!(f, "log is damaged (its tail lies outside)"),
            Reason::SyncFailedBefore { source } => write!(
                f,
                "an earlier sync of this log failed, what it covered may be lost: {}",
                plain(source)
            ),
            Reason::NoPath => write!(f, "log has no path"),
            Reason::Bug => write!(f, "internal error, please report it"),
        }
    }
}

/// The system's words without Rust's "(os error 2)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

impl Error {
    pub fn at(mut self, path: &Path) -> Error {
        self.0.path = Some(path.to_path_buf());
        self
    }

    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// `errno`, or 0 where no system call failed.
    pub fn errno(&self) -> i32 {
        match &self.0.reason {
            Reason::System { source, .. }
            | Reason::Descriptor { source, .. }
            | Reason::NoSpace { source }
            | Reason::SyncFailedBefore { source } => source.raw_os_error().unwrap_or(0),
            Reason::Symlink => libc::ELOOP,
            Reason::ReadOnly { errno } => *errno,
            _ => 0,
        }
    }

    /// `[path: ]reason`; the path's bytes as they are.
    pub fn message(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Some(path) = &self.0.path {
            text.extend_from_slice(path.as_os_str().as_bytes());
            text.extend_from_slice(b": ");
        }
        text.extend_from_slice(self.0.reason.to_string().as_bytes());
        text
    }
}

impl From<Reason> for Error {
    fn from(reason: Reason) -> Error {
        Error(Box::new(Inner { path: None, reason }))
    }
}

/// Turns the last system call's failure into an error that says what was being done.
pub fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| match source.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => Reason::NoSpace { source }.into(),
        Some(errno @ libc::EROFS) => Reason::ReadOnly { errno }.into(),
        _ => Reason::System { doing, source }.into(),
    }
}
