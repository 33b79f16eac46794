//! How a system call may end badly: the errors that its man page knows and that this
//! machine, a disk, a network or a limit could really be the reason of.

use std::collections::BTreeSet;
use std::path::Path;

use libc::{
    EACCES, EADDRNOTAVAIL, EAGAIN, ECONNREFUSED, ECONNRESET, EDQUOT, EINTR, EINVAL, EIO, EMFILE,
    ENFILE, ENOBUFS, ENOLCK, ENOMEM, ENOSPC, EOPNOTSUPP, EPERM, EROFS,
};

use crate::support::tracees::Fate;
use crate::support::tracer::Call;

/// Files that are there to be read.
const LOOK: &[i32] = &[EIO, ENOMEM, EACCES];
/// Names that change.
const CHANGE: &[i32] = &[ENOSPC, EROFS, EIO, EDQUOT, ENOMEM, EACCES];
/// Something new with a descriptor of its own.
const DESCRIPTOR: &[i32] = &[EMFILE, ENFILE, ENOMEM];
const OWNER: &[i32] = &[EPERM, EROFS, EIO];
const PROCESS: &[i32] = &[EAGAIN, ENOMEM];
const FLUSH: &[i32] = &[EIO, ENOSPC, EDQUOT];
const COPY: &[i32] = &[EIO, ENOSPC, EOPNOTSUPP];

macro_rules! calls {
    ($($name:ident $call:ident $errors:expr;)*) => {
        const CALLS: &[(i64, &str, &[i32])] = &[$((libc::$call, stringify!($name), $errors),)*];
    };
}

// What is not named here cannot fail, or not in a way that anybody could act upon.
calls! {
    access SYS_access LOOK;
    brk SYS_brk &[];
    capset SYS_capset &[EPERM];
    chdir SYS_chdir LOOK;
    clone SYS_clone PROCESS;
    clone3 SYS_clone3 PROCESS;
    close SYS_close &[EIO, EINTR];
    connect SYS_connect &[ECONNREFUSED, EADDRNOTAVAIL, ENOBUFS];
    copy_file_range SYS_copy_file_range COPY;
    dup2 SYS_dup2 DESCRIPTOR;
    dup3 SYS_dup3 DESCRIPTOR;
    epoll_create1 SYS_epoll_create1 DESCRIPTOR;
    epoll_ctl SYS_epoll_ctl &[ENOMEM, ENOSPC];
    epoll_pwait SYS_epoll_pwait &[EINTR];
    epoll_wait SYS_epoll_wait &[EINTR];
    eventfd2 SYS_eventfd2 DESCRIPTOR;
    execve SYS_execve &[EIO, ENOMEM, EACCES];
    faccessat SYS_faccessat LOOK;
    faccessat2 SYS_faccessat2 LOOK;
    fchdir SYS_fchdir LOOK;
    // EPERM is what a file system without modes says, which is no fault.
    fchmod SYS_fchmod &[EROFS, EIO];
    fchmodat SYS_fchmodat &[EROFS, EIO];
    fchown SYS_fchown OWNER;
    fchownat SYS_fchownat OWNER;
    fdatasync SYS_fdatasync FLUSH;
    flock SYS_flock &[ENOLCK, EINTR];
    fork SYS_fork PROCESS;
    fstat SYS_fstat &[EIO, ENOMEM];
    fstatfs SYS_fstatfs &[EIO, ENOMEM];
    fsync SYS_fsync FLUSH;
    ftruncate SYS_ftruncate CHANGE;
    futex SYS_futex &[EINTR];
    getdents64 SYS_getdents64 LOOK;
    getgroups SYS_getgroups &[EINVAL];
    ioctl SYS_ioctl &[EIO];
    lgetxattr SYS_lgetxattr &[EIO, EOPNOTSUPP];
    linkat SYS_linkat CHANGE;
    lstat SYS_lstat LOOK;
    mkdir SYS_mkdir CHANGE;
    mkdirat SYS_mkdirat CHANGE;
    mmap SYS_mmap &[ENOMEM];
    mprotect SYS_mprotect &[ENOMEM];
    mremap SYS_mremap &[ENOMEM];
    newfstatat SYS_newfstatat LOOK;
    pipe2 SYS_pipe2 DESCRIPTOR;
    poll SYS_poll &[EINTR, ENOMEM];
    ppoll SYS_ppoll &[EINTR, ENOMEM];
    prctl SYS_prctl &[EPERM, EINVAL];
    pread64 SYS_pread64 &[EIO, EINTR];
    prlimit64 SYS_prlimit64 &[EPERM];
    readlink SYS_readlink LOOK;
    readlinkat SYS_readlinkat LOOK;
    recvfrom SYS_recvfrom &[ECONNRESET, ENOMEM];
    rename SYS_rename CHANGE;
    renameat SYS_renameat CHANGE;
    renameat2 SYS_renameat2 CHANGE;
    rmdir SYS_rmdir CHANGE;
    sendfile SYS_sendfile COPY;
    sendmsg SYS_sendmsg &[ENOBUFS, ECONNRESET];
    sendto SYS_sendto &[ENOBUFS, ECONNRESET];
    setgid SYS_setgid &[EPERM];
    setgroups SYS_setgroups &[EPERM, ENOMEM];
    setresgid SYS_setresgid &[EPERM];
    setresuid SYS_setresuid &[EPERM, EAGAIN];
    setuid SYS_setuid &[EPERM, EAGAIN];
    signalfd4 SYS_signalfd4 DESCRIPTOR;
    sigaltstack SYS_sigaltstack &[ENOMEM];
    socket SYS_socket DESCRIPTOR;
    socketpair SYS_socketpair DESCRIPTOR;
    stat SYS_stat LOOK;
    statfs SYS_statfs &[EIO, ENOMEM];
    statx SYS_statx LOOK;
    symlinkat SYS_symlinkat CHANGE;
    syncfs SYS_syncfs FLUSH;
    timerfd_create SYS_timerfd_create DESCRIPTOR;
    unlink SYS_unlink CHANGE;
    unlinkat SYS_unlinkat CHANGE;
    utimensat SYS_utimensat OWNER;
    wait4 SYS_wait4 &[EINTR];
    waitid SYS_waitid &[EINTR];
    write SYS_write &[ENOSPC, EIO, EDQUOT, EINTR];
    writev SYS_writev &[ENOSPC, EIO, EDQUOT, EINTR];
}

/// The call and what it is about.
pub fn name(call: &Call) -> String {
    let known = CALLS.iter().find(|(number, ..)| *number == call.number);
    let name = match (known, call.number) {
        (_, libc::SYS_openat) => "openat",
        (_, libc::SYS_read) => "read",
        (_, libc::SYS_fcntl) => "fcntl",
        (Some((_, name, _)), _) => name,
        (None, _) => "a system call",
    };
    let path_is_second = name.ends_with("at") && name != "fstat" || name == "statx";
    let about = match path_is_second {
        true => call.text(call.args[1], 4096),
        false => {
            let place = format!("/proc/{}/fd/{}", call.pid, call.args[0]);
            let place = std::fs::read_link(place).unwrap_or_default();
            place.display().to_string()
        }
    };
    format!("{name}({about})")
}

pub fn text(fate: Fate) -> String {
    match fate {
        Fate::Made => "as it is".into(),
        Fate::Fails(error) | Fate::Spoiled(error) => {
            format!("{:?}", nix::errno::Errno::from_raw(error))
        }
        Fate::Short(_) => "short".into(),
        Fate::Later(_) => "later".into(),
    }
}

/// The ways in which this call may end badly.
pub fn fitting(call: &Call) -> Vec<Fate> {
    let fails = |errors: &[i32]| errors.iter().copied().map(Fate::Fails).collect::<Vec<_>>();
    let size = call.args[2];
    match call.number {
        libc::SYS_openat => {
            let flags = i32::try_from(call.args[2] & 0x7fff_ffff).unwrap();
            let mut errors = vec![EIO, EMFILE, ENFILE, ENOMEM, EINTR];
            if flags & libc::O_CREAT != 0 {
                errors.extend([ENOSPC, EDQUOT]);
            }
            if flags & (libc::O_CREAT | libc::O_WRONLY | libc::O_RDWR) != 0 {
                errors.push(EROFS);
            } else {
                errors.push(EACCES);
            }
            fails(&errors)
        }
        // Of what tells events, only this size is possible, and no error.
        libc::SYS_read if is_event(call) => fails(&[EINTR]),
        libc::SYS_write if is_event(call) => Vec::new(),
        libc::SYS_read | libc::SYS_pread64 if size > 1 => {
            let mut all = fails(&[EIO, EINTR]);
            all.extend([Fate::Short(1), Fate::Short(size / 2)]);
            all
        }
        libc::SYS_write if size > 1 => {
            let mut all = fails(&[ENOSPC, EIO, EDQUOT, EINTR]);
            all.extend([Fate::Short(1), Fate::Short(size / 2)]);
            all
        }
        // Who waits may be woken for nothing; who wakes others cannot fail.
        libc::SYS_futex if !is_wait(call) => Vec::new(),
        // All capabilities are alike.
        libc::SYS_prctl if is_about_a_capability(call) && call.args[1] > 1 => Vec::new(),
        // The standard library's own, to a child that it forks; it cannot be reset.
        libc::SYS_recvfrom | libc::SYS_sendto if is_local(call) => Vec::new(),
        // A directory has nothing to write before it is closed.
        libc::SYS_close if is_directory(call) => Vec::new(),
        // It is closed all the same (close(2)).
        libc::SYS_close => vec![Fate::Spoiled(EIO), Fate::Spoiled(EINTR)],
        libc::SYS_fcntl if i32::try_from(call.args[1]) == Ok(libc::F_DUPFD_CLOEXEC) => {
            fails(&[EMFILE])
        }
        number => {
            let known = CALLS.iter().find(|(known, ..)| *known == number);
            known.map_or_else(Vec::new, |(_, _, errors)| fails(errors))
        }
    }
}

/// Every error that some call ends with.
pub fn all_errors() -> BTreeSet<i32> {
    let all = CALLS.iter().flat_map(|(_, _, errors)| *errors);
    all.copied().collect()
}

fn is_directory(call: &Call) -> bool {
    Path::new(&format!("/proc/{}/fd/{}", call.pid, call.args[0])).is_dir()
}

/// Whether it is about a socket of this machine alone.
fn is_local(call: &Call) -> bool {
    let Call { pid, args, .. } = call;
    let socket = std::fs::read_link(format!("/proc/{pid}/fd/{}", args[0])).unwrap_or_default();
    let all = std::fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    let socket = socket.to_string_lossy();
    let number = socket.trim_start_matches("socket:[").trim_end_matches(']');
    all.lines()
        .any(|line| line.split(' ').any(|word| word == number))
}

fn is_wait(call: &Call) -> bool {
    let operation = i32::try_from(call.args[1] & 0x7f).unwrap();
    [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET].contains(&operation)
}

fn is_about_a_capability(call: &Call) -> bool {
    let option = i32::try_from(call.args[0]);
    [
        libc::PR_CAPBSET_READ,
        libc::PR_CAPBSET_DROP,
        libc::PR_CAP_AMBIENT,
    ]
    .map(Ok)
    .contains(&option)
}

/// Whether it is about an eventfd or a signalfd.
pub fn is_event(call: &Call) -> bool {
    let place = format!("/proc/{}/fd/{}", call.pid, call.args[0]);
    std::fs::read_link(place).is_ok_and(|to| to.to_string_lossy().starts_with("anon_inode:"))
}
