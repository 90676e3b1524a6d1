//! Child processes that are stopped, stepped and killed at chosen instructions, by ptrace.
//!
//! The parent must have no threads, since the children are forked and run on.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use libc::{c_int, c_void, pid_t};

const PTRACE_GET_SYSCALL_INFO: libc::c_uint = 0x420e;
#[cfg(target_arch = "x86_64")]
const SYSCALL: (u32, u32) = (0x050f, 0xffff);
#[cfg(target_arch = "aarch64")]
const SYSCALL: (u32, u32) = (0xd400_0001, u32::MAX);

/// A traced child.
#[derive(Debug)]
pub struct Child {
    pid: pid_t,
    reaped: bool,
}

/// Instructions. Longer ways between two system calls are loops over private copies of a file.
pub const LONG_WAY: usize = 4000;

/// Where a child was stopped: after so many system calls, so many instructions on, and perhaps
/// already inside the next system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    pub calls: u32,
    pub instructions: usize,
    pub inside: bool,
}

/// How densely [`each_boundary`] goes through an operation.
#[derive(Clone, Copy, Debug)]
pub struct Density {
    /// Every so many instructions.
    pub stride: usize,
    /// The same between two system calls that lie further apart than [`LONG_WAY`].
    pub sparse: usize,
    /// Rounds of a repeated string instruction from one boundary to the next.
    pub rounds: usize,
    /// Also while a system call is at work.
    pub inside: bool,
}

fn check(result: libc::c_long, what: &str) {
    if result == -1 {
        panic!("{what}: {}", io::Error::last_os_error());
    }
}

fn stop_self() {
    // SAFETY: no pointers.
    unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
}

impl Child {
    /// Forks a child that prepares, stops, runs, and stops again for ever.
    pub fn start<T>(prepare: impl FnOnce() -> T, run: impl FnOnce(&T)) -> Child {
        let pid = fork(|| {
            // SAFETY: no pointers are followed.
            unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, ptr::null_mut::<c_void>(), 0) };
            let prepared = prepare();
            stop_self();
            run(&prepared);
            stop_self();
            mem::forget(prepared);
        });
        let child = Child { pid, reaped: false };
        assert_eq!(
            child.wait(),
            libc::SIGSTOP,
            "the child does not get to its operation"
        );
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        // SAFETY: no pointers are followed.
        let set = unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options) };
        check(set, "PTRACE_SETOPTIONS");
        child
    }

    /// The signal that stopped the child.
    fn wait(&self) -> c_int {
        let status = wait_for(self.pid);
        assert!(
            libc::WIFSTOPPED(status),
            "the child ended: status {status:#x}"
        );
        libc::WSTOPSIG(status)
    }

    fn go_on(&self, request: libc::c_uint) {
        // SAFETY: no pointers are followed.
        let went = unsafe { libc::ptrace(request, self.pid, 0, 0) };
        check(went, "ptrace");
    }

    /// False once the operation has ended.
    fn resume(&self, request: libc::c_uint) -> bool {
        self.go_on(request);
        match self.wait() {
            libc::SIGSTOP => false,
            signal if signal & 0x7f == libc::SIGTRAP => true,
            signal => panic!("the child got signal {signal}"),
        }
    }

    /// One instruction on; false once the operation has ended.
    pub fn step(&mut self) -> bool {
        self.resume(libc::PTRACE_SINGLESTEP)
    }

    /// False if the child went another way.
    fn reach(&mut self, target: &Target) -> bool {
        self.run_to(target.breakpoint, target.hits)
            && (0..target.steps).all(|_| self.step())
            && self.place() == target.place
    }

    #[cfg(target_arch = "x86_64")]
    fn run_to(&mut self, place: u64, hits: usize) -> bool {
        let set = |register: usize, value: u64| {
            let at = mem::offset_of!(libc::user, u_debugreg) + 8 * register;
            // SAFETY: writes a register of the child, not our memory.
            let set = unsafe { libc::ptrace(libc::PTRACE_POKEUSER, self.pid, at, value) };
            check(set, "PTRACE_POKEUSER");
        };
        if hits == 0 {
            return true;
        }
        set(0, place);
        set(7, 1);
        let reached = (0..hits).all(|_| self.resume(libc::PTRACE_CONT));
        set(7, 0);
        reached
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn run_to(&mut self, _: u64, hits: usize) -> bool {
        hits == 0
    }

    /// Behind the `n`th system call from here; false if the operation ends before.
    fn skip_calls(&mut self, n: u32) -> bool {
        (0..2 * n).all(|_| self.resume(libc::PTRACE_SYSCALL))
    }

    /// The address of the next instruction.
    fn place(&self) -> u64 {
        let mut info = [0u64; 11];
        // SAFETY: writes at most the size given.
        let got = unsafe {
            libc::ptrace(
                PTRACE_GET_SYSCALL_INFO,
                self.pid,
                mem::size_of_val(&info),
                info.as_mut_ptr(),
            )
        };
        check(got, "PTRACE_GET_SYSCALL_INFO");
        info[1]
    }

    /// Whether the next instruction is a system call.
    fn at_call(&self) -> bool {
        // SAFETY: reads the child's memory, not ours.
        let word = unsafe { libc::ptrace(libc::PTRACE_PEEKTEXT, self.pid, self.place(), 0) };
        word as u32 & SYSCALL.1 == SYSCALL.0
    }

    /// Lets the child run to the end of its operation.
    pub fn finish(&mut self) {
        assert!(!self.resume(libc::PTRACE_CONT));
    }

    pub fn kill(&mut self) {
        if !mem::replace(&mut self.reaped, true) {
            kill(self.pid);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills and reaps a child of this process.
pub fn kill(pid: pid_t) {
    // SAFETY: no pointers; `pid` is a child that has not been reaped, so the number is not reused.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    while libc::WIFSTOPPED(wait_for(pid)) {}
}

/// Waits for a child to end or stop; its status.
pub fn wait_for(pid: pid_t) -> c_int {
    let mut status = 0;
    loop {
        // SAFETY: `status` may be written.
        if unsafe { libc::waitpid(pid, &mut status, libc::__WALL) } == pid {
            return status;
        }
        let error = io::Error::last_os_error();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted, "waitpid: {error}");
    }
}

/// Forks a child that runs `body` and exits, with 101 on a panic. It dies with its parent.
pub fn fork(body: impl FnOnce()) -> pid_t {
    // SAFETY: the process has no other threads, by this module's contract.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        0 => {
            // SAFETY: no pointers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { libc::_exit(if done.is_ok() { 0 } else { 101 }) }
        }
        pid => pid,
    }
}

/// Calls `trial` with a fresh world and child for each boundary of the child's operation. Gives how
/// many could not be reached, since a loop that depends on the clock went another way.
pub fn each_boundary<W>(
    density: Density,
    start: impl Fn() -> (W, Child),
    mut trial: impl FnMut(W, Child, Boundary),
) -> u64 {
    stay_on_one_processor();
    let mut missed = 0;
    for calls in 0.. {
        let (world, mut pilot) = start();
        if !pilot.skip_calls(calls) {
            break;
        }
        let (targets, ended) = survey(&mut pilot, density);
        drop((pilot, world));
        let inside = targets.last().filter(|_| density.inside && !ended);
        let tried = targets.iter().map(|target| (target, false));
        for (target, inside) in tried.chain(inside.map(|target| (target, true))) {
            let (world, mut child) = start();
            if !child.skip_calls(calls) || !child.reach(target) {
                missed += 1;
                continue;
            }
            if inside {
                child.go_on(libc::PTRACE_SINGLESTEP);
                std::thread::sleep(Duration::from_micros(200));
            }
            let boundary = Boundary {
                calls,
                instructions: target.instructions,
                inside,
            };
            trial(world, child, boundary);
        }
        if ended {
            break;
        }
    }
    missed
}

/// A place before the next system call, and the fastest way there: single steps are slow, above all
/// on virtual machines.
#[derive(Clone, Copy, Debug)]
struct Target {
    instructions: usize,
    place: u64,
    /// A breakpoint, and how often it is to be hit first.
    breakpoint: u64,
    hits: usize,
    steps: usize,
}

/// Steps to the next system call. Gives the boundaries on the way, and whether the operation ended.
fn survey(child: &mut Child, density: Density) -> (Vec<Target>, bool) {
    let mut targets = Vec::new();
    let mut occurrences: HashMap<u64, usize> = HashMap::new();
    let mut way = Target {
        instructions: 0,
        place: 0,
        breakpoint: 0,
        hits: 0,
        steps: 0,
    };
    let (mut rounds, mut ended) = (0, false);
    for instructions in 0.. {
        let place = child.place();
        let repeats = place == way.place;
        rounds = if repeats { rounds + 1 } else { 0 };
        if !repeats {
            let hits = occurrences.entry(place).or_default();
            *hits += 1;
            if cfg!(target_arch = "x86_64") && *hits < way.hits + way.steps {
                (way.breakpoint, way.hits, way.steps) = (place, *hits, 0);
            }
        }
        (way.instructions, way.place) = (instructions, place);
        let at_call = child.at_call();
        if rounds % density.rounds == 0 || at_call {
            targets.push(way);
        }
        if at_call {
            break;
        }
        if !child.step() {
            ended = true;
            break;
        }
        way.steps += 1;
    }
    let every = if way.instructions > LONG_WAY {
        density.sparse
    } else {
        density.stride
    };
    targets.retain(|target| {
        target.instructions % every == 0 || target.instructions == way.instructions
    });
    (targets, ended)
}

/// Parent and child take turns, and changing places on one processor is much faster.
fn stay_on_one_processor() {
    // SAFETY: an all-zero set is a valid one; the calls read and write it only.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu().max(0) as usize, &mut set);
        libc::sched_setaffinity(0, mem::size_of_val(&set), &set);
    }
}

/// A few words that this process and its children share.
#[derive(Debug)]
pub struct Board(*mut AtomicU64);

const WORDS: usize = 512;

impl Board {
    pub fn new() -> Board {
        // SAFETY: a new mapping, checked below.
        let page = unsafe {
            libc::mmap(
                ptr::null_mut(),
                WORDS * 8,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(
            page,
            libc::MAP_FAILED,
            "mmap: {}",
            io::Error::last_os_error()
        );
        Board(page.cast())
    }

    pub fn word(&self, i: usize) -> &AtomicU64 {
        assert!(i < WORDS);
        // SAFETY: inside the page, which is mapped as long as `self` lives.
        unsafe { &*self.0.add(i) }
    }

    pub fn get(&self, i: usize) -> u64 {
        self.word(i).load(SeqCst)
    }

    pub fn set(&self, i: usize, value: u64) {
        self.word(i).store(value, SeqCst);
    }
}

impl Default for Board {
    fn default() -> Board {
        Board::new()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, which nobody refers to any more.
        unsafe { libc::munmap(self.0.cast(), WORDS * 8) };
    }
}

thread_local! {
    static SUBJECT: Cell<[u8; 128]> = const { Cell::new([0; 128]) };
}

/// Ends the process with 3 if the next call does not come within `seconds`. 0 calls it off.
pub fn watchdog(seconds: u32, subject: &str) {
    extern "C" fn bite(_: c_int) {
        let subject = SUBJECT.with(Cell::get);
        let say = b"stuck: ";
        // SAFETY: only async-signal-safe calls, on buffers of the sizes given.
        unsafe {
            libc::write(2, say.as_ptr().cast(), say.len());
            libc::write(2, subject.as_ptr().cast(), subject.len());
            libc::_exit(3);
        }
    }
    let mut bytes = [b' '; 128];
    let n = subject.len().min(127);
    bytes[..n].copy_from_slice(&subject.as_bytes()[..n]);
    bytes[127] = b'\n';
    SUBJECT.with(|cell| cell.set(bytes));
    // SAFETY: the handler makes only async-signal-safe calls.
    unsafe {
        libc::signal(libc::SIGALRM, bite as extern "C" fn(c_int) as usize);
        libc::alarm(seconds);
    }
}
