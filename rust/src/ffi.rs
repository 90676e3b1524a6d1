//! The C interface: conversions and a panic boundary, no logic.
//!
//! # Conventions
//!
//! * Functions that can fail return a [`Status`] and say why in `*error`, which the caller frees with
//!   [`dls_error_free`]. `error` must be writable; it is written only on `DLS_STATUS_ERROR`.
//! * Results come back through out-parameters, which must be writable and are written only on `DLS_STATUS_OK`.
//! * Strings are bytes and a length; they are not kept, but for a path.
//! * Offsets and sizes are bytes.
//! * A `Log` is made by `dls_open`, `dls_open_readonly`, `dls_in_memory`, `dls_from_fd` or `dls_clone`
//!   and freed once by `dls_free`; a `Cursor` by `dls_cursor` or `dls_cursor_clone`, and
//!   `dls_cursor_free`. To free NULL is fine. Both may move between threads, but two threads must
//!   not use one at once: each gets a clone. A cursor does not need the log it was made from.
//! * Nothing here calls back, and no panic gets out: it becomes an error, or the stated fallback.

use std::ffi::OsStr;
use std::os::raw::c_int;
use std::os::unix::ffi::OsStrExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::ptr;
use std::slice;

use crate::cursor::Cursor;
use crate::error::{Error, Reason, Result};
use crate::log::{Log, Payload, Place, Stats, Verified, Waited};
use crate::protocol::{Entry, Patience};
use crate::region::{self, Making};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum Status {
    Ok,
    /// Nothing: no entry, no room, timed out, not set.
    None,
    /// See to your signals and call again.
    Again,
    Error,
}

/// Why a call failed.
#[derive(Debug)]
pub struct Failure {
    message: Vec<u8>,
    errno: c_int,
}

/// `patience_us` of the reading functions: 20 ms.
pub const DEFAULT_PATIENCE: u64 = u64::MAX;
/// `deadline` of `dls_wait`: for ever.
pub const NO_DEADLINE: u64 = crate::log::NO_DEADLINE;

/// What a new log shall be. A fraction of `size` or `mode` is cut off. `sparse` and `checksum`: 0, 1,
/// or -1 for the default.
#[derive(Debug)]
#[repr(C)]
pub struct MakingOptions {
    pub size: f64,
    pub mode: f64,
    pub sparse: i8,
    pub checksum: i8,
}

impl MakingOptions {
    fn making(&self) -> Result<Making> {
        let switch = |value: i8| (value >= 0).then_some(value != 0);
        Making::new(
            self.size,
            self.mode,
            switch(self.sparse),
            switch(self.checksum),
        )
    }
}

fn guard<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fallback)
}

/// Runs `body`; an error or a panic goes to `*error`.
///
/// # Safety
/// `error` is writable.
#[inline(always)]
unsafe fn attempt(error: *mut *mut Failure, body: impl FnOnce() -> Result<Status>) -> Status {
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(status)) => return status,
        Ok(Err(failure)) => failure,
        Err(_) => Reason::Bug.into(),
    };
    // SAFETY: the caller says that it is writable.
    unsafe { fail(error, &failure) }
}

/// # Safety
/// `error` is writable.
#[cold]
unsafe fn fail(error: *mut *mut Failure, failure: &Error) -> Status {
    let failure = Box::new(Failure {
        message: failure.message(),
        errno: failure.errno(),
    });
    // SAFETY: the caller says that it is writable.
    unsafe { *error = Box::into_raw(failure) }
    Status::Error
}

/// # Safety
/// `data` is readable for `len` bytes that do not change meanwhile, or `len` is 0.
unsafe fn bytes<'a>(data: *const u8, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller says so.
    unsafe { slice::from_raw_parts(data, len) }
}

/// # Safety
/// As for `bytes`.
unsafe fn path<'a>(data: *const u8, len: usize) -> &'a Path {
    // SAFETY: as the caller says.
    Path::new(OsStr::from_bytes(unsafe { bytes(data, len) }))
}

fn patience(microseconds: u64) -> Patience {
    match microseconds {
        DEFAULT_PATIENCE => Patience::DEFAULT,
        microseconds => Patience::Within(microseconds),
    }
}

/// Creates the log at a path, or attaches to the one that is there.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_open(
    path_data: *const u8,
    path_len: usize,
    options: &MakingOptions,
    log: *mut *mut Log,
    error: *mut *mut Failure,
) -> Status {
    // SAFETY: the conventions.
    unsafe {
        attempt(error, || {
            let opened = Log::open(path(path_data, path_len), &options.making()?)?;
            *log = Box::into_raw(Box::new(opened));
            Ok(Status::Ok)
        })
    }
}

/// Attaches to the log at a path for reading only.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_open_readonly(
    path_data: *const u8,
    path_len: usize,
    log: *mut *mut Log,
    error: *mut *mut Failure,
) -> Status {
    // SAFETY: the conventions.
    unsafe {
        attempt(error, || {
            let opened = Log::open_read_only(path(path_data, path_len))?;
            *log = Box::into_raw(Box::new(opened));
            Ok(Status::Ok)
        })
    }
}

/// Makes a log in memory. With a `name`, the fd of `dls_memfd` may be passed on; NULL: without.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_in_memory(
    name: *const u8,
    name_len: usize,
    options: &MakingOptions,
    log: *mut *mut Log,
    error: *mut *mut Failure,
) -> Status {
    // SAFETY: the conventions.
    unsafe {
        attempt(error, || {
            let name = (!name.is_null()).then(|| bytes(name, name_len));
            let made = Log::in_memory(name, &options.making()?)?;
            *log = Box::into_raw(Box::new(made));
            Ok(Status::Ok)
        })
    }
}

/// Attaches to the log that `fd` is open on; `fd` stays the caller's.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_from_fd(
    fd: c_int,
    log: *mut *mut Log,
    error: *mut *mut Failure,
) -> Status {
    // SAFETY: the conventions.
    unsafe {
        attempt(error, || {
            *log = Box::into_raw(Box::new(Log::from_fd(fd)?));
            Ok(Status::Ok)
        })
    }
}

/// Another handle of the same log, for another thread. NULL if memory ran out.
#[no_mangle]
pub extern "C" fn dls_clone(log: &Log) -> *mut Log {
    guard(ptr::null_mut(), || Box::into_raw(Box::new(log.clone())))
}

/// Frees a handle; NULL is fine.
///
/// # Safety
/// `log` came from this library and is not used any more.
#[no_mangle]
pub unsafe extern "C" fn dls_free(log: *mut Log) {
    if !log.is_null() {
        // SAFETY: the caller says that it is a handle of ours, freed once.
        let log = unsafe { Box::from_raw(log) };
        guard((), || drop(log));
    }
}

/// The text of an error, valid until it is freed.
#[no_mangle]
pub extern "C" fn dls_error_message(error: &Failure) -> *const u8 {
    error.message.as_ptr()
}

#[no_mangle]
pub extern "C" fn dls_error_length(error: &Failure) -> usize {
    error.message.len()
}

/// `errno` where a system call failed, else 0.
#[no_mangle]
pub extern "C" fn dls_error_errno(error: &Failure) -> c_int {
    error.errno
}

/// Frees an error; NULL is fine.
///
/// # Safety
/// `error` came from this library and is not used any more.
#[no_mangle]
pub unsafe extern "C" fn dls_error_free(error: *mut Failure) {
    if !error.is_null() {
        // SAFETY: the caller says that it is an error of ours, freed once.
        drop(unsafe { Box::from_raw(error) });
    }
}

/// Appends an entry. `DLS_STATUS_NONE` if it does not fit.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_append(
    log: &Log,
    data: *const u8,
    len: usize,
    utf8: bool,
    offset: *mut u64,
    error: *mut *mut Failure,
) -> Status {
    // SAFETY: the conventions.
    unsafe {
        attempt(error, || {
            Ok(match log.append(bytes(data, len), utf8)? {
                Some(at) => {
                    *offset = at;
                    Status::Ok
                }
                None => Status::None,
            })
        })
    }
}

/// An entry to be appended.
#[derive(Debug)]
#[repr(C)]
pub struct Data {
    pub data: *const u8,
    pub len: usize,
    pub utf8: bool,
}

/// Appends `count` entries as one reservation, all or none. `DLS_STATUS_NONE` if they do not fit, or
/// there are none. `offsets` has room for `count`, or is NULL.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_append_multi(
    log: &Log,
    data: *const Data,
    count: usize,
    offsets: *mut u64,
    error: *mut *mut Failure,
) -> Status {
    // SAFETY: the conventions.
    unsafe {
        attempt(error, || {
            let data = if count == 0 {
                &[]
            } else {
                slice::from_raw_parts(data, count)
            };
            let entries = data.iter().map(|entry| Entry {
                data: bytes(entry.data, entry.len),
                utf8: entry.utf8,
            });
            let mut at = match log.append_batch(entries.clone())? {
                Some(first) => first,
                None => return Ok(Status::None),
            };
            if !offsets.is_null() {
                for (i, entry) in entries.enumerate() {
                    *offsets.add(i) = at;
                    at += entry.bytes_taken();
                }
            }
            Ok(Status::Ok)
        })
    }
}

/// Finds the first entry at or behind an offset. `DLS_STATUS_NONE` if there is nothing to read there yet.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_read(
    log: &Log,
    offset: u64,
    patience_us: u64,
    payload: *mut Payload,
) -> Status {
    // SAFETY: the conventions.
    guard(Status::None, || unsafe {
        found(log.read(offset, patience(patience_us)), payload)
    })
}

/// As `dls_read`, but an offset that is hidden by truncation means the oldest readable entry.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_next(
    log: &Log,
    offset: u64,
    patience_us: u64,
    payload: *mut Payload,
) -> Status {
    // SAFETY: the conventions.
    guard(Status::None, || unsafe {
        found(log.next(offset, patience(patience_us)), payload)
    })
}

/// # Safety
/// `payload` is writable.
#[inline(always)]
unsafe fn found(entry: Option<Payload>, payload: *mut Payload) -> Status {
    match entry {
        Some(entry) => {
            // SAFETY: the caller says that it is writable.
            unsafe { *payload = entry }
            Status::Ok
        }
        None => Status::None,
    }
}

/// Entries that a replay from the beginning reaches.
#[no_mangle]
pub extern "C" fn dls_entry_count(log: &Log) -> u64 {
    guard(0, || log.entry_count())
}

/// Offset behind the last reservation.
#[no_mangle]
pub extern "C" fn dls_tail_offset(log: &Log) -> u64 {
    guard(0, || log.tail_offset())
}

#[no_mangle]
pub extern "C" fn dls_data_size(log: &Log) -> u64 {
    guard(0, || log.data_size())
}

#[no_mangle]
pub extern "C" fn dls_available(log: &Log) -> u64 {
    guard(0, || log.available())
}

/// Offset of the oldest entry that may be read.
#[no_mangle]
pub extern "C" fn dls_truncation(log: &Log) -> u64 {
    guard(0, || log.truncation())
}

/// Hides what lies before an offset; `*truncation` is what is in force then. `DLS_STATUS_AGAIN` after
/// waiting for a writer there.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_truncate(
    log: &Log,
    offset: u64,
    truncation: *mut u64,
    error: *mut *mut Failure,
) -> Status {
    // SAFETY: the conventions.
    unsafe {
        attempt(error, || {
            Ok(match log.truncate(offset)? {
                Some(in_force) => {
                    *truncation = in_force;
                    Status::Ok
                }
                None => Status::Again,
            })
        })
    }
}

/// The deadline that lies `seconds` ahead; negative and infinite ones never come.
#[no_mangle]
pub extern "C" fn dls_deadline(seconds: f64) -> u64 {
    guard(NO_DEADLINE, || crate::log::deadline(seconds))
}

/// Waits for the count to differ from `expected`: `DLS_STATUS_OK`, `DLS_STATUS_NONE` when the deadline is over,
/// `DLS_STATUS_AGAIN` after a fraction of a second. `first` marks the first call of a wait.
#[no_mangle]
pub extern "C" fn dls_wait(log: &Log, expected: u64, deadline: u64, first: bool) -> Status {
    guard(Status::None, || waited(log.wait(expected, deadline, first)))
}

fn waited(waited: Waited) -> Status {
    match waited {
        Waited::Changed => Status::Ok,
        Waited::TimedOut => Status::None,
        Waited::Again => Status::Again,
    }
}

/// Empties the log.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_reset(log: &Log, error: *mut *mut Failure) -> Status {
    // SAFETY: the conventions.
    unsafe { attempt(error, || log.reset().map(|()| Status::Ok)) }
}

/// Puts everything before offset `end` on disk: `DLS_STATUS_AGAIN` while a writer there may still commit.
/// A log in memory has nothing to put anywhere.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_sync(log: &Log, end: u64, error: *mut *mut Failure) -> Status {
    // SAFETY: the conventions.
    unsafe {
        attempt(error, || {
            if !log.is_durable() {
                return Ok(Status::Ok);
            }
            if !log.settle(end)? {
                return Ok(Status::Again);
            }
            // If the log was reset meanwhile, `end` may be no boundary any more.
            log.sync(log.settled()).map(|()| Status::Ok)
        })
    }
}

/// Verifies from `*from`, 0 at first, on to the next place that holds no intact entry, and adds what
/// was met to `*found`. `DLS_STATUS_NONE` at the end of the log. Both must be writable and
/// initialized.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_verify_on(
    log: &Log,
    from: *mut u64,
    found: *mut Verified,
    place: *mut Place,
) -> Status {
    guard(Status::None, || {
        // SAFETY: the conventions; both are initialized, and nobody else has them.
        let next = unsafe { log.verify_on(&mut *from, &mut *found) };
        match next {
            Some(next) => {
                // SAFETY: the conventions.
                unsafe { place.write(next) };
                Status::Ok
            }
            None => Status::None,
        }
    })
}

#[no_mangle]
pub extern "C" fn dls_stats(log: &Log) -> Stats {
    guard(Stats::default(), || log.stats())
}

/// Removes the log's file. `DLS_STATUS_OK` also if it is gone already.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_unlink(log: &Log, error: *mut *mut Failure) -> Status {
    // SAFETY: the conventions.
    unsafe { attempt(error, || log.unlink().map(|()| Status::Ok)) }
}

/// Removes the file at a path. `DLS_STATUS_OK` also if it is gone already.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_unlink_path(
    path_data: *const u8,
    path_len: usize,
    error: *mut *mut Failure,
) -> Status {
    // SAFETY: the conventions.
    unsafe {
        attempt(error, || {
            let path = path(path_data, path_len);
            region::unlink(path).map_err(|error| error.at(path))?;
            Ok(Status::Ok)
        })
    }
}

/// The path as it was given, valid as long as the handle; NULL if the log has none.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_path(log: &Log, len: *mut usize) -> *const u8 {
    match log.path() {
        Some(path) => {
            let bytes = path.as_os_str().as_bytes();
            // SAFETY: the conventions.
            unsafe { *len = bytes.len() }
            bytes.as_ptr()
        }
        None => ptr::null(),
    }
}

/// The fd that may be passed on, or -1.
#[no_mangle]
pub extern "C" fn dls_memfd(log: &Log) -> c_int {
    log.memfd().unwrap_or(-1)
}

/// The eventfd, or -1.
#[no_mangle]
pub extern "C" fn dls_fileno(log: &Log) -> c_int {
    guard(-1, || log.fileno().unwrap_or(-1))
}

/// The eventfd, made if there is none.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_eventfd(
    log: &Log,
    fd: *mut c_int,
    error: *mut *mut Failure,
) -> Status {
    // SAFETY: the conventions.
    unsafe {
        attempt(error, || {
            *fd = log.eventfd()?;
            Ok(Status::Ok)
        })
    }
}

/// Uses the caller's eventfd.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_eventfd_set(log: &Log, fd: c_int, error: *mut *mut Failure) -> Status {
    // SAFETY: the conventions.
    unsafe { attempt(error, || log.set_eventfd(fd).map(|()| Status::Ok)) }
}

/// Signals the eventfd from now on when entries come, from whichever process.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_watch(log: &Log, fd: *mut c_int, error: *mut *mut Failure) -> Status {
    // SAFETY: the conventions.
    unsafe {
        attempt(error, || {
            *fd = log.watch()?;
            Ok(Status::Ok)
        })
    }
}

/// Ends what `dls_watch` began.
#[no_mangle]
pub extern "C" fn dls_unwatch(log: &Log) {
    guard((), || log.unwatch());
}

/// Signals the eventfd. `DLS_STATUS_NONE` if there is none.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_notify(log: &Log, error: *mut *mut Failure) -> Status {
    // SAFETY: the conventions.
    unsafe {
        attempt(error, || {
            Ok(if log.notify()? {
                Status::Ok
            } else {
                Status::None
            })
        })
    }
}

/// Takes the eventfd's count. `DLS_STATUS_NONE` if nothing was pending, or there is no eventfd.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_eventfd_consume(
    log: &Log,
    count: *mut u64,
    error: *mut *mut Failure,
) -> Status {
    // SAFETY: the conventions.
    unsafe {
        attempt(error, || {
            Ok(match log.consume()? {
                Some(taken) => {
                    *count = taken;
                    Status::Ok
                }
                None => Status::None,
            })
        })
    }
}

/// `from` of `dls_cursor`: the oldest readable entry. `dls_cursor_offset`: nothing was returned yet.
pub const NOWHERE: u64 = u64::MAX;

/// A cursor on the log; NULL if memory ran out.
#[no_mangle]
pub extern "C" fn dls_cursor(log: &Log, from: u64) -> *mut Cursor {
    guard(ptr::null_mut(), || {
        let from = Some(from).filter(|&from| from != NOWHERE);
        Box::into_raw(Box::new(Cursor::new(log, from)))
    })
}

/// Another cursor at the same place, for another thread. NULL if memory ran out.
#[no_mangle]
pub extern "C" fn dls_cursor_clone(cursor: &Cursor) -> *mut Cursor {
    guard(ptr::null_mut(), || Box::into_raw(Box::new(cursor.clone())))
}

/// Frees a cursor; NULL is fine.
///
/// # Safety
/// `cursor` came from this library and is not used any more.
#[no_mangle]
pub unsafe extern "C" fn dls_cursor_free(cursor: *mut Cursor) {
    if !cursor.is_null() {
        // SAFETY: the caller says that it is a cursor of ours, freed once.
        let cursor = unsafe { Box::from_raw(cursor) };
        guard((), || drop(cursor));
    }
}

/// The next entry. `DLS_STATUS_NONE` if there is nothing to read yet.
///
/// # Safety
/// See the conventions.
#[no_mangle]
pub unsafe extern "C" fn dls_cursor_next(cursor: &Cursor, payload: *mut Payload) -> Status {
    // SAFETY: the conventions.
    guard(Status::None, || unsafe { found(cursor.next(), payload) })
}

/// Waits for a next entry, as `dls_wait`.
#[no_mangle]
pub extern "C" fn dls_cursor_wait(cursor: &Cursor, deadline: u64, first: bool) -> Status {
    guard(Status::None, || waited(cursor.wait(deadline, first)))
}

/// Offset of the entry returned last, or `DLS_NOWHERE`.
#[no_mangle]
pub extern "C" fn dls_cursor_offset(cursor: &Cursor) -> u64 {
    cursor.offset().unwrap_or(NOWHERE)
}

/// Where the next entry is looked for.
#[no_mangle]
pub extern "C" fn dls_cursor_position(cursor: &Cursor) -> u64 {
    guard(0, || cursor.position())
}

/// Goes to a position, which should be one that `dls_cursor_position` gave.
#[no_mangle]
pub extern "C" fn dls_cursor_seek(cursor: &Cursor, position: u64) {
    guard((), || cursor.seek(position));
}

/// Bytes from the position to the tail.
#[no_mangle]
pub extern "C" fn dls_cursor_lag(cursor: &Cursor) -> u64 {
    guard(0, || cursor.lag())
}

/// Bytes skipped because they were truncated or sealed.
#[no_mangle]
pub extern "C" fn dls_cursor_missed(cursor: &Cursor) -> u64 {
    cursor.missed()
}
