//! Hands stdin, stdout and stderr to the user, so that `/dev/stdout` can be opened after the drop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FileType, Gid, Uid, fchown, fstat};

use crate::identity::Root;
use crate::sys::effects::Effects;

/// Gives stdin, stdout and stderr to the user if they are pipes or the container's own terminal.
///
/// Regular files, devices such as `/dev/null` and terminals of another devpts have other owners and
/// are left alone. So are sockets, which cannot be opened by name. Ignores errors: a stream that
/// keeps its owner can still be written to. Returns the names of the streams.
pub fn hand_over_stdio(_: &Root, uid: u32, gid: u32, effects: Effects<'_>) -> Vec<&'static str> {
    let devpts = std::fs::metadata("/dev/pts").map(|pts| pts.dev()).ok();
    let streams = [
        ("stdin", io::stdin().as_fd()),
        ("stdout", io::stdout().as_fd()),
        ("stderr", io::stderr().as_fd()),
    ]
    .map(|(name, fd)| chown_stream(fd, uid, gid, devpts, effects).then_some(name));
    streams.into_iter().flatten().collect()
}

fn chown_stream(
    fd: BorrowedFd<'_>,
    uid: u32,
    gid: u32,
    devpts: Option<u64>,
    effects: Effects<'_>,
) -> bool {
    let Ok(stat) = fstat(fd) else { return false };
    let gid = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => Some(Gid::from_raw(gid)),
        // The terminal keeps its group tty, for write(1).
        FileType::CharacterDevice if Some(stat.st_dev) == devpts => None,
        _ => return false,
    };
    let change = || Ok(fchown(fd, Some(Uid::from_raw(uid)), gid)?);
    effects.make(change).is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::OpenOptionsExt;
    use std::process::{Command, Stdio};

    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

    fn owner(file: &File) -> (u32, u32) {
        let data = file.metadata().unwrap();
        (data.uid(), data.gid())
    }

    fn after(fd: OwnedFd) -> (u32, u32) {
        let devpts = std::fs::metadata("/dev/pts").unwrap().dev();
        chown_stream(fd.as_fd(), 4242, 4243, Some(devpts), Effects::Make);
        owner(&File::from(fd))
    }

    /// Runs itself again in a child process whose three streams are pipes.
    #[test]
    fn all_three_streams_are_handed_over() {
        const NAME: &str = "identity::stdio::tests::all_three_streams_are_handed_over";
        const CHILD: &str = "AI_LAB_TEST_STDIO";
        if std::env::var_os(CHILD).is_some() {
            hand_over_stdio(&Root(()), 4242, 4243, Effects::Make);
            return;
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let streams: [OwnedFd; 3] = [
            child.stdin.take().unwrap().into(),
            child.stdout.take().unwrap().into(),
            child.stderr.take().unwrap().into(),
        ];
        assert!(child.wait().unwrap().success());
        for stream in streams {
            assert_eq!(owner(&File::from(stream)), (4242, 4243));
        }
    }

    #[test]
    fn a_pipe_is_handed_over() {
        let (read, _write) = rustix::pipe::pipe().unwrap();
        assert_eq!(after(read), (4242, 4243));
    }

    #[test]
    fn a_terminal_of_the_container_is_handed_over_and_keeps_its_group() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal = File::options()
            .read(true)
            .custom_flags(libc::O_NOCTTY)
            .open(name.to_str().unwrap())
            .unwrap();
        let (uid, gid) = owner(&terminal);
        chown_stream(terminal.as_fd(), 4242, 4243, Some(0), Effects::Make);
        assert_eq!(owner(&terminal), (uid, gid), "another devpts");
        assert_eq!(after(terminal.into()), (4242, gid));
    }

    #[test]
    fn files_and_other_devices_are_left_alone() {
        let file = tempfile::tempfile().unwrap();
        let before = owner(&file);
        assert_eq!(after(file.into()), before);
        let null = File::open("/dev/null").unwrap();
        assert_eq!(after(null.into()), (0, 0));
    }
}
