//! The system calls that the standard library does not offer, one function each, and no policy.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Once;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Repeats a call that a signal interrupted.
fn retry(mut call: impl FnMut() -> libc::c_int) -> io::Result<libc::c_int> {
    loop {
        match check(call()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// `fd` must have come from a call that just opened it. Not kept as one of the standard descriptors,
/// which a daemon may have closed: what is written to those by number would go into the log.
fn own(fd: libc::c_int) -> OwnedFd {
    // SAFETY: every caller passes the result of a successful open, so nobody else closes it.
    let low = unsafe { OwnedFd::from_raw_fd(fd) };
    if fd > libc::STDERR_FILENO {
        return low;
    }
    // SAFETY: no pointers.
    match check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1) }) {
        // SAFETY: just opened.
        Ok(high) => unsafe { OwnedFd::from_raw_fd(high) },
        Err(_) => low,
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: `time` is a timespec to be written; zeroed, it is a valid one should the call fail.
    let time = unsafe {
        libc::clock_gettime(clock, time.as_mut_ptr());
        time.assume_init()
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds since boot, sleep included: the same for all processes of one kernel.
pub fn boot_time() -> u64 {
    nanoseconds(libc::CLOCK_BOOTTIME)
}

/// Nanoseconds of the clock that relative timeouts are measured by.
pub fn monotonic_time() -> u64 {
    nanoseconds(libc::CLOCK_MONOTONIC)
}

/// Sleeps while `word` is `expected`, for `nanoseconds` at most. Returns early on a signal.
pub fn futex_wait(word: &AtomicU32, expected: u32, nanoseconds: u64) {
    let timeout = libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanoseconds % 1_000_000_000) as libc::c_long,
    };
    // SAFETY: `word` and `timeout` live through the call; without FUTEX_PRIVATE_FLAG the kernel
    // finds other processes' sleepers on the same page.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word as *const AtomicU32,
            libc::FUTEX_WAIT,
            expected,
            &timeout as *const libc::timespec,
        );
    }
}

pub fn futex_wake_all(word: &AtomicU32) {
    // SAFETY: `word` lives through the call.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word as *const AtomicU32,
            libc::FUTEX_WAKE,
            i32::MAX,
        );
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    Shared,
    Exclusive,
    None,
}

/// Whose a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Description,
    Process,
}

/// Sets the lock that the open file description of `file`, or this process, has on one byte of it,
/// without waiting. False if another's is in the way.
pub fn try_lock(owner: Owner, file: &File, byte: i64, lock: Lock) -> io::Result<bool> {
    let request = lock_request(byte, lock);
    let command = match owner {
        Owner::Description => libc::F_OFD_SETLK,
        Owner::Process => libc::F_SETLK,
    };
    // SAFETY: `request` is a valid flock.
    match retry(|| unsafe { libc::fcntl(file.as_raw_fd(), command, &request) }) {
        Ok(_) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => Ok(false),
            _ => Err(error),
        },
    }
}

fn lock_request(byte: i64, lock: Lock) -> libc::flock {
    // SAFETY: all zeros is a valid flock, and OFD locks want l_pid to be 0.
    let mut request: libc::flock = unsafe { MaybeUninit::zeroed().assume_init() };
    request.l_type = match lock {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
        Lock::None => libc::F_UNLCK,
    } as libc::c_short;
    request.l_whence = libc::SEEK_SET as libc::c_short;
    request.l_start = byte as libc::off_t;
    request.l_len = 1;
    request
}

/// Whether another description has any lock on the byte.
pub fn is_locked(file: &File, byte: i64) -> io::Result<bool> {
    let mut request = lock_request(byte, Lock::Exclusive);
    // SAFETY: `request` is a valid flock, which the kernel overwrites with what is in the way.
    retry(|| unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut request) })?;
    Ok(i32::from(request.l_type) != libc::F_UNLCK)
}

/// Opens the file of `fd` anew, as a description of this process's own.
pub fn reopen(fd: &impl AsRawFd) -> io::Result<File> {
    open(
        Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd())),
        libc::O_RDWR,
        0,
    )
}

/// Opens close-on-exec.
pub fn open(path: &Path, flags: libc::c_int, mode: u32) -> io::Result<File> {
    let path = c_path(path)?;
    // SAFETY: `path` is a C string.
    retry(|| unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode as libc::c_uint) })
        .map(|fd| own(fd).into())
}

/// Gives the file of `fd`, which has no name yet, the name `path`.
pub fn link_fd(fd: &impl AsRawFd, path: &Path) -> io::Result<()> {
    let from = c_path(Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd())))?;
    let to = c_path(path)?;
    // SAFETY: both are C strings.
    check(unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    })
    .map(drop)
}

/// Reserves the bytes `from..to`, growing the file if need be, and changes none that is there. Not all
/// filesystems can do it.
pub fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    in_pieces(from, to, |at, len| {
        // SAFETY: no pointers.
        check(unsafe { libc::fallocate(file.as_raw_fd(), 0, at, len) }).map(drop)
    })
}

/// The same on any filesystem, for a file that nobody else writes: where it can't be asked for, the
/// library reads each block and writes a zero into it, unaware of what is stored there in between.
pub fn allocate_alone(file: &File, from: u64, to: u64) -> io::Result<()> {
    in_pieces(from, to, |at, len| {
        // SAFETY: no pointers.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), at, len) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    })
}

/// In pieces, since some filesystems undo a piece that a signal interrupted. They get smaller until one
/// is done between two signals, which may come from a timer.
fn in_pieces(
    from: u64,
    to: u64,
    mut reserve: impl FnMut(libc::off_t, libc::off_t) -> io::Result<()>,
) -> io::Result<()> {
    const SHORTEST: u64 = 1 << 16;
    let mut longest: u64 = 64 << 20;
    let mut at = from;
    while at < to {
        let len = longest.min(to - at);
        match reserve(at as libc::off_t, len as libc::off_t) {
            Ok(()) => at += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                longest = (longest / 2).max(SHORTEST);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Bytes of a page of memory.
pub fn page_size() -> u64 {
    // SAFETY: no pointers.
    match unsafe { libc::sysconf(libc::_SC_PAGESIZE) } {
        -1 => 1 << 16,
        size => size as u64,
    }
}

/// Has forked children find zeroes in the private anonymous pages at `start`.
///
/// # Safety
/// `len` bytes from `start`, a page boundary, are mapped, and zero is valid there.
pub unsafe fn wipe_on_fork(start: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: the caller says that the pages are mapped; their content does not change here.
    check(unsafe { libc::madvise(start.cast(), len, libc::MADV_WIPEONFORK) }).map(drop)
}

/// Puts the whole filesystem of the file on disk.
pub fn flush_filesystem(file: &File) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::syncfs(file.as_raw_fd()) }).map(drop)
}

/// Whether `MADV_REMOVE` does what it says. An emulator may take it for a hint: qemu's user mode says
/// that it has succeeded, and does nothing.
pub fn can_remove_pages() -> bool {
    let (none, any) = (ptr::null_mut(), libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, at no address of ours.
    let page = unsafe { libc::mmap(none, 1, libc::PROT_READ | libc::PROT_WRITE, any, -1, 0) };
    if page == libc::MAP_FAILED {
        return false;
    }
    let byte: *mut u8 = page.cast();
    // SAFETY: the page was just mapped, readable and writable, and nobody else knows it.
    unsafe {
        byte.write_volatile(1);
        let can = libc::madvise(page, 1, libc::MADV_REMOVE) == 0 && byte.read_volatile() == 0;
        libc::munmap(page, 1);
        can
    }
}

/// Fails where growing a file to `length` would raise SIGXFSZ.
pub fn check_file_size_limit(length: u64) -> io::Result<()> {
    let mut limit = MaybeUninit::<libc::rlimit>::zeroed();
    // SAFETY: `limit` is an rlimit to be written, and valid when zeroed.
    let limit = unsafe {
        check(libc::getrlimit(libc::RLIMIT_FSIZE, limit.as_mut_ptr()))?;
        limit.assume_init()
    };
    if length > limit.rlim_cur as u64 {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    Ok(())
}

/// The first place at or behind `from` that holds data, and where that data ends. `None`: all holes.
pub fn next_data(file: &File, from: u64) -> io::Result<Option<(u64, u64)>> {
    let seek = |at: u64, whence| {
        // SAFETY: no pointers.
        match unsafe { libc::lseek(file.as_raw_fd(), at as libc::off_t, whence) } {
            -1 => Err(io::Error::last_os_error()),
            place => Ok(place as u64),
        }
    };
    match seek(from, libc::SEEK_DATA) {
        Ok(start) => Ok(Some((start, seek(start, libc::SEEK_HOLE)?))),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A memfd that may be sealed; not executable where the kernel knows the difference.
pub fn memfd(name: &CString) -> io::Result<File> {
    const MFD_NOEXEC_SEAL: libc::c_uint = 8;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: `name` is a C string.
    let create = |flags| check(unsafe { libc::memfd_create(name.as_ptr(), flags) });
    create(flags | MFD_NOEXEC_SEAL)
        .or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => create(flags),
            _ => Err(error),
        })
        .map(|fd| own(fd).into())
}

/// Forbids, for ever, to change the size of a memfd and to add seals.
pub fn seal_size(file: &File) -> io::Result<()> {
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(drop)
}

/// Whether nobody can shrink the file; `None` if it is of a kind that has no seals.
pub fn sealed_against_shrinking(file: &File) -> Option<bool> {
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) })
        .ok()
        .map(|seals| seals & libc::F_SEAL_SHRINK != 0)
}

/// A duplicate of the caller's descriptor, close-on-exec, and whether it may be written.
pub fn duplicate(fd: RawFd) -> io::Result<(File, bool)> {
    // SAFETY: no pointers; a bad fd is an error.
    let copy = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) }).map(own)?;
    // SAFETY: no pointers.
    let flags = check(unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_GETFL) })?;
    Ok((copy.into(), flags & libc::O_ACCMODE == libc::O_RDWR))
}

/// Whether `fd` is open.
pub fn check_open(fd: RawFd) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) }).map(drop)
}

static FORKS: AtomicU64 = AtomicU64::new(1);

/// A number other than 0 that no ancestor of this process had, as its id may have been in another
/// namespace.
pub fn incarnation() -> u64 {
    extern "C" fn forked() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    static COUNTING: Once = Once::new();
    COUNTING.call_once(|| {
        // SAFETY: `forked` may run in any child, since it does nothing but add.
        unsafe { libc::pthread_atfork(None, None, Some(forked)) };
    });
    FORKS.load(Ordering::Relaxed)
}

/// Runs `body` with all signals blocked in this thread, as they are in threads that it starts.
pub fn without_signals<T>(body: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the sets are written before they are read, by calls that can't fail.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let result = body();
    // SAFETY: `before` was written above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    result
}

pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(own)
}

/// Adds one to an eventfd. A counter that is full has signalled already.
pub fn eventfd_signal(fd: RawFd) -> io::Result<()> {
    let one = 1u64;
    loop {
        // SAFETY: eight readable bytes.
        let written = unsafe { libc::write(fd, (&one as *const u64).cast(), 8) };
        if written == 8 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => return Ok(()),
            _ => return Err(error),
        }
    }
}

/// Takes the count of an eventfd; 0 when nothing is pending, also on one that would block.
pub fn eventfd_take(fd: RawFd) -> io::Result<u64> {
    let mut ready = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd.
    if retry(|| unsafe { libc::poll(&mut ready, 1, 0) })? == 0 {
        return Ok(0);
    }
    let mut count = 0u64;
    loop {
        // SAFETY: eight writable bytes.
        let read = unsafe { libc::read(fd, (&mut count as *mut u64).cast(), 8) };
        if read == 8 {
            return Ok(count);
        }
        if read >= 0 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => return Ok(0),
            _ => return Err(error),
        }
    }
}

/// Random bytes that need not be secret.
pub fn random() -> io::Result<u64> {
    let mut value = 0u64;
    let pointer = ptr::addr_of_mut!(value).cast();
    // SAFETY: eight writable bytes.
    match unsafe { libc::getrandom(pointer, 8, 0) } {
        8 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The kernel's boot id; 0 where it can't be read.
pub fn boot_id() -> u128 {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or(0)
}

pub fn effective_user() -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_signals_interrupt_is_done_in_smaller_pieces() {
        let (from, to) = (4096, (200 << 20) + 5);
        let mut done = from;
        let reserve = |at, len| {
            if len > 1 << 20 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            assert_eq!(at as u64, done);
            done += len as u64;
            Ok(())
        };
        in_pieces(from, to, reserve).unwrap();
        assert_eq!(done, to);
    }
}
