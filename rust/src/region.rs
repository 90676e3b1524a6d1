//! A log's file or memfd: making, finding, checking and mapping it, and who recovers it when.
//!
//! A path is either no log or a whole one: a new file gets its name last. What this module did not
//! make is left as it was, byte for byte.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::io::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Relaxed, Release};

use crate::error::{failed, Error, Reason, Result};
use crate::header::{self, judge, Identity, Judgement, Whereabouts, MAGIC, PAGE};
use crate::layout::{Checked, Field, Hole, HEADER_SIZE, MAX_DATA_SIZE, UNIT};
use crate::locks::{self, Turn, ATTACH, CHANGE, LIFE};
use crate::mapping::Mapping;
use crate::memory::Memory;
use crate::protocol::Core;
use crate::recover::{recover, Recovered};
use crate::sys::{self, Lock, Owner};

/// What a new log shall be. An existing one stays what it is.
#[derive(Clone, Copy, Debug)]
pub struct Making {
    /// Bytes of the data region, 1 to [`MAX_DATA_SIZE`].
    size: u64,
    /// The file's exact mode.
    mode: u32,
    /// `None`: files reserve their space, memory does not.
    sparse: Option<bool>,
    /// `None`: files have checksums, memory has not.
    checksums: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Anonymous,
    /// Made by name or attached by descriptor: the descriptor is the user's to pass on.
    Descriptor,
    Path,
}

/// An open log.
#[derive(Debug)]
pub struct Region {
    pub core: Core<Mapping>,
    /// A description of this handle's own; it holds the life lock.
    file: File,
    kind: Kind,
    /// As given, and as it was meant then: a daemon changes its directory.
    path: Option<(PathBuf, PathBuf)>,
    identity: Identity,
}

impl Making {
    /// Takes what a caller asked for, in any range; of a size a fraction is cut off.
    pub fn new(
        size: f64,
        mode: f64,
        sparse: Option<bool>,
        checksums: Option<bool>,
    ) -> Result<Making> {
        if size.is_nan() || size < 1.0 {
            return Err(Reason::SizeTooSmall { size }.into());
        }
        if size > MAX_DATA_SIZE as f64 {
            return Err(Reason::SizeTooLarge { size }.into());
        }
        if !(0.0..=f64::from(0o777)).contains(&mode) || mode.fract() != 0.0 {
            return Err(Reason::Mode { mode }.into());
        }
        Ok(Making {
            size: size as u64,
            mode: mode as u32,
            sparse,
            checksums,
        })
    }

    fn identity(&self, in_memory: bool) -> Result<Identity> {
        Ok(Identity {
            data_size: self.size,
            salt: sys::random().map_err(failed("get random bytes"))?,
            checksums: self.checksums.unwrap_or(!in_memory),
            sparse: self
                .sparse
                .unwrap_or_else(|| in_memory || sparse_by_environment()),
        })
    }
}

fn sparse_by_environment() -> bool {
    std::env::var_os("DATA_LOG_SHARED_SPARSE").map_or(false, |value| value == "1")
}

/// How often a path is looked at again because another process made or removed it meanwhile.
const ROUNDS: u32 = 100;

impl Region {
    /// Creates the log at `path`, or attaches to the one that is there.
    pub fn open(path: &Path, making: &Making) -> Result<Region> {
        Self::open_path(path, making).map_err(|error| error.at(path))
    }

    fn open_path(path: &Path, making: &Making) -> Result<Region> {
        let paths = Some(absolute(path)?);
        for _ in 0..ROUNDS {
            if let Some(file) = existing(path, libc::O_RDWR)? {
                return Self::attach(file, Kind::Path, paths, Some(making));
            }
            if let Some((file, identity)) = create(path, making)? {
                return Self::enter(file, Kind::Path, paths, identity);
            }
        }
        Err(failed("settle on a file")(io::Error::from_raw_os_error(
            libc::EBUSY,
        )))
    }

    /// Attaches to the log at `path` for reading only.
    pub fn open_read_only(path: &Path) -> Result<Region> {
        Self::open_path_read_only(path).map_err(|error| error.at(path))
    }

    fn open_path_read_only(path: &Path) -> Result<Region> {
        let paths = absolute(path)?;
        let file = match existing(path, libc::O_RDONLY)? {
            Some(file) => file,
            None => return Err(failed("open")(io::Error::from_raw_os_error(libc::ENOENT))),
        };
        let identity = match judge_file(&file)? {
            Judgement::Log(identity) => identity,
            Judgement::Unborn(_) => return Err(Reason::Unfinished.into()),
        };
        let mapping = Mapping::read_only(&file, identity.data_size).map_err(failed("map"))?;
        let region = Self::of(mapping, file, Kind::Path, Some(paths), identity)?;
        region.begin_reading()?;
        Ok(region)
    }

    /// A reader can't recover: where that is due, it only asks whether somebody has the log open.
    fn begin_reading(&self) -> Result<()> {
        let here = whereabouts(&self.file)?;
        locks::lock(&self.file, ATTACH, Lock::Shared)?;
        let is_here = here.is_known() && self.recorded_whereabouts() == here;
        if !is_here && !locks::is_locked(&self.file, LIFE)? {
            return Err(Reason::NeedsRecovery.into());
        }
        locks::lock(&self.file, LIFE, Lock::Shared)?;
        locks::unlock(&self.file, ATTACH)
    }

    /// A log in memory. With a name, its descriptor may be passed on.
    pub fn in_memory(name: Option<&[u8]>, making: &Making) -> Result<Region> {
        let kind = name.map_or(Kind::Anonymous, |_| Kind::Descriptor);
        let name = CString::new(name.unwrap_or(b"Data::Log::Shared"))
            .map_err(|_| Error::from(Reason::NulInName))?;
        let file = sys::memfd(&name).map_err(failed("create a memfd"))?;
        let identity = making.identity(true)?;
        write_log(&file, &identity, false)?;
        sys::seal_size(&file).map_err(failed("seal the memfd"))?;
        Self::enter(file, kind, None, identity)
    }

    /// Attaches to the log that `fd` is open on; `fd` stays the caller's.
    pub fn from_fd(fd: RawFd) -> Result<Region> {
        let (file, writable) =
            sys::duplicate(fd).map_err(|source| Reason::Descriptor { fd, source })?;
        if !file
            .metadata()
            .map_err(failed("look at the file"))?
            .is_file()
        {
            return Err(Reason::NotRegular.into());
        }
        if !writable {
            return Err(Reason::ReadOnly { errno: libc::EBADF }.into());
        }
        if sys::sealed_against_shrinking(&file) == Some(false) && is_memfd(&file)? {
            return Err(Reason::Unsealed.into());
        }
        // The caller's description may outlive this handle, or be another process's as well.
        let file = match sys::reopen(&file) {
            Ok(own) => own,
            // A memfd is never recovered, so its life lock may be anybody's.
            Err(_) if is_memfd(&file)? => file,
            Err(error) => return Err(failed("reopen the log through /proc")(error)),
        };
        Self::attach(file, Kind::Descriptor, None, None)
    }

    fn attach(
        file: File,
        kind: Kind,
        path: Option<(PathBuf, PathBuf)>,
        making: Option<&Making>,
    ) -> Result<Region> {
        let identity = match (judge_file(&file)?, making) {
            (Judgement::Log(identity), _) => identity,
            (Judgement::Unborn(_), Some(making)) => heal(&file, making)?,
            (Judgement::Unborn(_), None) => return Err(Reason::Unfinished.into()),
        };
        Self::enter(file, kind, path, identity)
    }

    /// Maps a whole log and takes the life lock, after recovery if that is due.
    fn enter(
        file: File,
        kind: Kind,
        path: Option<(PathBuf, PathBuf)>,
        identity: Identity,
    ) -> Result<Region> {
        let in_memory = is_memfd(&file)?;
        let backing = if identity.sparse && !in_memory {
            Some(
                file.try_clone()
                    .map_err(failed("duplicate the descriptor"))?,
            )
        } else {
            None
        };
        let mapping = Mapping::new(&file, identity.data_size, identity.sparse, backing)
            .map_err(failed("map"))?;
        let metadata = file.metadata().map_err(failed("look at the file"))?;
        if !identity.sparse && !in_memory && metadata.blocks() * 512 < identity.file_length() {
            // A copy may have lost space that the original had. Memory is not copied, and what another
            // process says of a memfd may be more than there is.
            mapping
                .reserve(&file, 0, identity.file_length())
                .map_err(failed("reserve space"))?;
        }
        let region = Self::of(mapping, file, kind, path, identity)?;
        region.begin_life()?;
        Ok(region)
    }

    fn of(
        mapping: Mapping,
        file: File,
        kind: Kind,
        path: Option<(PathBuf, PathBuf)>,
        identity: Identity,
    ) -> Result<Region> {
        let units = mapping.units();
        let core = Core::new(mapping, units, identity.salt, identity.checksums);
        if core.checked(Field::Generation).is_none() {
            return Err(Reason::Generation.into());
        }
        Ok(Region {
            core,
            file,
            kind,
            path,
            identity,
        })
    }

    /// Recovery runs if the log was last attached in another boot or as another file, and nobody
    /// has it open. To take the life lock first and compare later would let two attachers both
    /// skip recovery.
    fn begin_life(&self) -> Result<()> {
        let here = whereabouts(&self.file)?;
        let is_here = || here.is_known() && self.recorded_whereabouts() == here;
        let live = || locks::lock(&self.file, LIFE, Lock::Shared);
        if !self.is_durable() {
            // Memory does not outlive a boot, nor is it copied.
            return live();
        }
        locks::lock(&self.file, ATTACH, Lock::Shared)?;
        let mut result = Ok(());
        if !is_here() {
            // Not turned into the exclusive lock: two that try would wait for one another.
            locks::unlock(&self.file, ATTACH)?;
            locks::lock(&self.file, ATTACH, Lock::Exclusive)?;
            if !is_here() && locks::try_lock(&self.file, LIFE, Lock::Exclusive)? {
                result = self.recover(&here);
            }
        }
        let result = result.and_then(|()| live());
        locks::unlock(&self.file, ATTACH)?;
        result
    }

    /// The caller has the log for itself. Killed anywhere, this starts over: the whereabouts are
    /// removed first, lest those whose whereabouts they are find half a recovery, and stored last.
    fn recover(&self, here: &Whereabouts) -> Result<()> {
        // Before anything is written, since to write beyond the limit is a signal.
        check_size_limit(&self.identity)?;
        let core = &self.core;
        let store = |field, value| core.memory.store(field, value, Release);
        for field in Whereabouts::FIELDS {
            store(field, 0);
        }
        let recovered = self
            .put_recovered_on_disk()
            .map_err(|error| {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                store(Field::SyncFailed, errno as u64);
                error
            })
            .map_err(failed("write what was recovered"))?;
        let end = recovered.tail.end();
        if core.unzeroed().map_or(false, |units| units > 0) {
            core.count_as_before();
        }
        let truncation = core.truncation().min(end);
        store(Field::Tail, recovered.tail.0);
        store(
            Field::Truncation,
            core.seal_field(Field::Truncation, truncation),
        );
        store(Field::Synced, core.seal_field(Field::Synced, end));
        store(
            Field::Reset,
            Checked::seal(core.salt(), Field::Reset, core.generation(), 0),
        );
        store(Field::Wake, 0);
        store(Field::Hole, Hole::NONE.0);
        store(Field::SyncFailed, 0);
        store(Field::Damaged, recovered.damaged);
        core.memory.add(Field::Recoveries, 1);
        for (field, word) in Whereabouts::FIELDS.iter().zip(here.words()) {
            store(*field, word);
        }
        self.flush_header().map_err(failed("write the header"))
    }

    fn put_recovered_on_disk(&self) -> io::Result<Recovered> {
        // What an unfinished reset has decided comes before what it zeroes.
        self.flush_header()?;
        let recovered = recover(&self.core, self.units_with_space()?);
        let end = HEADER_SIZE + recovered.tail.end() * UNIT;
        // After a failed flush the kernel takes pages for clean that are not on disk, until they are
        // written again.
        let doubtful = self.core.memory.load(Field::SyncFailed, Relaxed) != 0;
        if doubtful {
            self.each_piece(HEADER_SIZE, end, |at, piece| {
                self.file.write_all_at(piece, at).map(|()| true)
            })?;
        }
        // Zeroes what holds data. A hole is not touched: reading one may be a signal on a full
        // filesystem, and writing one takes space.
        let zeros = [0; PIECE];
        self.each_piece(end, self.identity.file_length(), |at, piece| {
            let zeros = &zeros[..piece.len()];
            if doubtful || piece != zeros {
                self.file.write_all_at(zeros, at)?;
            }
            Ok(true)
        })?;
        self.file.sync_all()?;
        Ok(recovered)
    }

    /// How far the region has space. In a sparse log what lies before is given all of its own, since
    /// to read a hole may be a signal on a full filesystem.
    fn units_with_space(&self) -> io::Result<u64> {
        if !self.identity.sparse {
            return Ok(self.core.units());
        }
        let mut end = HEADER_SIZE;
        while let Some((_, stop)) = sys::next_data(&self.file, end)? {
            end = stop.min(self.identity.file_length());
            if end < stop || end == self.identity.file_length() {
                break;
            }
        }
        sys::allocate_alone(&self.file, 0, end)?;
        Ok((end - HEADER_SIZE) / UNIT)
    }

    fn each_piece(
        &self,
        from: u64,
        to: u64,
        visit: impl FnMut(u64, &[u8]) -> io::Result<bool>,
    ) -> io::Result<()> {
        each_piece(&self.file, from, to, visit).map(drop)
    }

    fn recorded_whereabouts(&self) -> Whereabouts {
        Whereabouts::from_words(
            Whereabouts::FIELDS.map(|field| self.core.memory.load(field, Relaxed)),
        )
    }

    /// Runs `change` under the change lock. Without `wait`, gives `None` if the lock is taken.
    pub fn exclusively<T>(
        &self,
        wait: bool,
        change: impl FnOnce() -> Result<T>,
    ) -> Result<Option<T>> {
        // Closing the description releases the lock.
        let own = sys::reopen(&self.file);
        let (file, owner) = match &own {
            Ok(own) => (own, Owner::Description),
            // The process has given up the right to open it, or /proc is not there. A description
            // may be shared with forked processes, so the lock is the process's then.
            Err(_) => (&self.file, Owner::Process),
        };
        // The thread that watches may meet a reset of this very process.
        let _turn = match (owner, wait) {
            (Owner::Description, _) => None,
            (Owner::Process, true) => Some(Turn::wait(CHANGE)?),
            (Owner::Process, false) => match Turn::take() {
                None => return Ok(None),
                turn => turn,
            },
        };
        if wait {
            locks::lock_as(owner, file, CHANGE, Lock::Exclusive)?;
        } else if !locks::try_lock_as(owner, file, CHANGE, Lock::Exclusive)? {
            return Ok(None);
        }
        let result = change();
        locks::unlock_as(owner, file, CHANGE)?;
        result.map(Some)
    }

    pub fn flush_header(&self) -> io::Result<()> {
        self.core.memory.flush(0, HEADER_SIZE)
    }

    /// Puts the units `from..to` on disk.
    pub fn flush_units(&self, from: u64, to: u64) -> io::Result<()> {
        let bytes = |units| HEADER_SIZE + units * UNIT;
        self.core.memory.flush(bytes(from), bytes(to))
    }

    /// Puts the directory entry on disk.
    pub fn flush_directory(&self) -> io::Result<()> {
        let own = self.file.metadata()?;
        if own.nlink() == 0 {
            return Ok(());
        }
        // Renamed, in a chroot, or attached by descriptor, it is not where it was opened.
        let opened = self.path.as_ref().map(|(_, absolute)| absolute.clone());
        let now = fs::read_link(format!("/proc/self/fd/{}", self.file.as_raw_fd())).ok();
        let is_own = |path: &PathBuf| {
            let found = fs::symlink_metadata(path);
            found.map_or(false, |found| {
                (found.dev(), found.ino()) == (own.dev(), own.ino())
            })
        };
        let path = [opened, now].into_iter().flatten().find(is_own);
        match path.as_deref().and_then(Path::parent).map(File::open) {
            Some(Ok(directory)) => directory.sync_all(),
            // Not ours to read, or too many files are open.
            _ => sys::flush_filesystem(&self.file),
        }
    }

    pub fn unlink(&self) -> Result<()> {
        match &self.path {
            Some((given, absolute)) => unlink(absolute).map_err(|error| error.at(given)),
            None => Err(Reason::NoPath.into()),
        }
    }

    pub fn path(&self) -> Option<&Path> {
        self.path.as_ref().map(|(given, _)| given.as_path())
    }

    pub fn is_durable(&self) -> bool {
        self.kind == Kind::Path
            || (self.kind == Kind::Descriptor && !is_memfd(&self.file).unwrap_or(false))
    }

    /// The descriptor that the user may pass on.
    pub fn memfd(&self) -> Option<RawFd> {
        (self.kind == Kind::Descriptor).then(|| self.file.as_raw_fd())
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn in_path(&self, error: Error) -> Error {
        match self.path() {
            Some(path) => error.at(path),
            None => error,
        }
    }
}

/// Removes a file; one that is gone already is as good.
pub fn unlink(path: &Path) -> Result<()> {
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(Reason::NulInName.into());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("unlink")(error)),
        _ => Ok(()),
    }
}

/// A path as it was given, and what it means now.
fn absolute(path: &Path) -> Result<(PathBuf, PathBuf)> {
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(Reason::NulInName.into());
    }
    let current = std::env::current_dir().unwrap_or_default();
    Ok((path.to_path_buf(), current.join(path)))
}

/// Opens what is at `path` if it may be a log; `None` if nothing is there.
fn existing(path: &Path, access: libc::c_int) -> Result<Option<File>> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if gone(&error) => return Ok(None),
        Err(error) => return Err(failed("look at the path")(error)),
    };
    if kind.is_symlink() {
        return Err(Reason::Symlink.into());
    }
    // Before opening, since that may block on a fifo or do something to a device.
    if !kind.is_file() {
        return Err(Reason::NotRegular.into());
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match sys::open(path, access | flags, 0) {
        Ok(file) => file,
        Err(error) if gone(&error) => return Ok(None),
        Err(error) => {
            return Err(match error.raw_os_error() {
                Some(libc::ELOOP) => Reason::Symlink.into(),
                Some(errno)
                    if access == libc::O_RDWR
                        && sys::open(path, libc::O_RDONLY | flags, 0).is_ok() =>
                {
                    Reason::ReadOnly { errno }.into()
                }
                _ => failed("open")(error),
            })
        }
    };
    if !file
        .metadata()
        .map_err(failed("look at the file"))?
        .is_file()
    {
        return Err(Reason::NotRegular.into());
    }
    Ok(Some(file))
}

/// Makes a whole log without a name and gives it its name; `None` if the name was taken meanwhile.
fn create(path: &Path, making: &Making) -> Result<Option<(File, Identity)>> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let identity = making.identity(false)?;
    let make = |file: &File| -> Result<()> {
        file.set_permissions(fs::Permissions::from_mode(making.mode))
            .map_err(failed("set the mode"))?;
        write_log(file, &identity, true)
    };
    let named = |result: io::Result<()>| match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    };
    if let Ok(file) = sys::open(directory, libc::O_TMPFILE | libc::O_RDWR, 0o600) {
        make(&file)?;
        match named(sys::link_fd(&file, path)) {
            Ok(named) => return Ok(named.then_some((file, identity))),
            // No /proc to name it by.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("create")(error)),
        }
    }
    // Some filesystems have no unnamed files.
    let random = sys::random().map_err(failed("get random bytes"))?;
    let temporary = directory.join(format!(".log-shared-{random:016x}"));
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    let file = sys::open(&temporary, flags, 0o600).map_err(failed("create"))?;
    let result =
        make(&file).and_then(|()| named(fs::hard_link(&temporary, path)).map_err(failed("create")));
    let _ = fs::remove_file(&temporary);
    result.map(|named| named.then_some((file, identity)))
}

/// Makes an empty file of ours, or what a killed creator of ours left, into a log.
fn heal(file: &File, making: &Making) -> Result<Identity> {
    locks::lock(file, CHANGE, Lock::Exclusive)?;
    let half = match judge_file(file)? {
        // Somebody else was faster.
        Judgement::Log(identity) => {
            locks::unlock(file, CHANGE)?;
            return Ok(identity);
        }
        Judgement::Unborn(half) => half,
    };
    let metadata = file.metadata().map_err(failed("look at the file"))?;
    let mut head = vec![0; PAGE.min(metadata.len() as usize)];
    file.read_exact_at(&mut head, 0)
        .map_err(failed("read the header"))?;
    let owner = metadata.uid();
    if owner != sys::effective_user() {
        return Err(Reason::ForeignOwner { owner }.into());
    }
    let length = metadata.len();
    let identity = match half {
        Some(identity) if length <= identity.file_length() => identity,
        None if length == 0 || length == HEADER_SIZE + making.size => making.identity(false)?,
        _ => return Err(Reason::Unfinished.into()),
    };
    if !is_zero(file, HEADER_SIZE, length).map_err(failed("read"))? {
        return Err(Reason::Magic.into());
    }
    // Before anything is written, since to write beyond the limit is a signal.
    check_size_limit(&identity)?;
    if let Err(error) = write_log(file, &identity, true) {
        // As it was. Killed in between, it has a header page that the next one goes on from.
        let _ = file.set_len(length);
        let _ = file.write_all_at(&head, 0);
        return Err(error);
    }
    locks::unlock(file, CHANGE)?;
    Ok(identity)
}

fn check_size_limit(identity: &Identity) -> Result<()> {
    sys::check_file_size_limit(identity.file_length()).map_err(failed("make a file of this size"))
}

/// Bytes that a disk writes whole.
const SECTOR: usize = 512;

/// Makes an empty log of the file. The magic comes last, so what a killed process leaves has none.
fn write_log(file: &File, identity: &Identity, durable: bool) -> Result<()> {
    let length = identity.file_length();
    let page = identity.page(&whereabouts(file)?);
    let sync = || if durable { file.sync_all() } else { Ok(()) };
    check_size_limit(identity)?;
    // All that tells a half-made log lies in the first sector, which is written whole or not at all.
    let mut first = [0; PAGE];
    first[..SECTOR].copy_from_slice(&page[..SECTOR]);
    file.write_all_at(&first, 0)
        .map_err(failed("write the header"))?;
    if identity.sparse {
        file.set_len(length)
            .map_err(failed("set the file's size"))?;
    } else {
        sys::allocate_alone(file, 0, length).map_err(failed("reserve space"))?;
    }
    sync()
        .and_then(|()| file.write_all_at(&page[SECTOR..], SECTOR as u64))
        .and_then(|()| file.write_all_at(&MAGIC, 0))
        .and_then(|()| sync())
        .map_err(failed("write the header"))
}

fn judge_file(file: &File) -> Result<Judgement> {
    let length = file.metadata().map_err(failed("look at the file"))?.len();
    let mut head = vec![0; length.min(header::PAGE as u64) as usize];
    file.read_exact_at(&mut head, 0)
        .map_err(failed("read the header"))?;
    judge(&head, length).map_err(Error::from)
}

const PIECE: usize = 1 << 16;

/// Shows the bytes `from..to` of the file to `visit`, leaving out holes, until it has seen enough.
/// Whether it never had.
fn each_piece(
    file: &File,
    from: u64,
    to: u64,
    mut visit: impl FnMut(u64, &[u8]) -> io::Result<bool>,
) -> io::Result<bool> {
    let mut buffer = vec![0; PIECE];
    let mut at = from;
    while at < to {
        let stop = match sys::next_data(file, at)? {
            Some((start, stop)) if start < to => {
                at = start.max(at);
                stop.min(to)
            }
            _ => break,
        };
        while at < stop {
            let piece = &mut buffer[..PIECE.min((stop - at) as usize)];
            file.read_exact_at(piece, at)?;
            if !visit(at, piece)? {
                return Ok(false);
            }
            at += piece.len() as u64;
        }
    }
    Ok(true)
}

fn is_zero(file: &File, from: u64, to: u64) -> io::Result<bool> {
    each_piece(file, from, to, |_, piece| {
        Ok(piece.iter().all(|&byte| byte == 0))
    })
}

fn whereabouts(file: &File) -> Result<Whereabouts> {
    let metadata = file.metadata().map_err(failed("look at the file"))?;
    Ok(Whereabouts::of(&metadata, sys::boot_id()))
}

fn is_memfd(file: &File) -> Result<bool> {
    if sys::sealed_against_shrinking(file).is_none() {
        return Ok(false);
    }
    // Files on a tmpfs answer for seals as well.
    match fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) {
        Ok(name) => Ok(name.as_os_str().as_bytes().starts_with(b"/memfd:")),
        Err(_) => Ok(file.metadata().map_err(failed("look at the file"))?.nlink() == 0),
    }
}
