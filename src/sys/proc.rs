//! Reads `/proc`: the processes of this namespace, and what the kernel says about each of them.

use std::fmt::Display;
use std::fs;
use std::path::Path;

use rustix::process::Pid;

use crate::sys::kernel_file;

/// Reads a file of a process: a pid, `self` or `thread-self`. `None`: it is gone, or may not be
/// read.
pub fn read(process: impl Display, file: &str) -> Option<Vec<u8>> {
    kernel_file::read(format!("/proc/{process}/{file}")).ok()
}

/// Reads a file of a process as text. The kernel cuts the name of a process after fifteen bytes,
/// also inside a character.
pub fn text(process: impl Display, file: &str) -> Option<String> {
    read(process, file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The text of `/proc/PID/status`.
#[derive(Debug)]
pub struct Status(String);

impl Status {
    /// Reads the status of a process.
    pub fn of(process: impl Display) -> Option<Self> {
        Self::in_directory(Path::new(&format!("/proc/{process}")))
    }

    /// Reads the status in the directory of a process.
    pub fn in_directory(directory: &Path) -> Option<Self> {
        let bytes = kernel_file::read(directory.join("status")).ok()?;
        Some(Self::parse(&bytes))
    }

    /// Returns the status with this text.
    pub fn parse(text: impl AsRef<[u8]>) -> Self {
        Self(String::from_utf8_lossy(text.as_ref()).into_owned())
    }

    /// Returns the value of a field, which is named with its colon.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.strip_prefix(name).map(str::trim))
    }
}

/// Returns the pid of every process in this namespace.
pub fn all_pids() -> impl Iterator<Item = Pid> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    numbers.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

/// The fields of `/proc/PID/stat` that are needed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The parent's process id; 0: none in this namespace.
    pub parent: i32,
    /// The process group id.
    pub group: i32,
    /// The session id; 0: the session belongs to another namespace.
    pub session: i32,
    /// The start time in clock ticks since boot. Together with the pid it identifies a process.
    pub start: u64,
    /// True if it has ended and its parent has not reaped it yet.
    pub ended: bool,
}

/// Reads `/proc/PID/stat`.
pub fn stat(pid: Pid) -> Option<Stat> {
    parse(&text(pid, "stat")?)
}

/// Returns the parent processes in this namespace, the nearest first.
pub fn parents(pid: Pid) -> impl Iterator<Item = Pid> {
    let parent = |pid: &Pid| Pid::from_raw(stat(*pid)?.parent);
    std::iter::successors(parent(&pid), parent)
}

fn parse(text: &str) -> Option<Stat> {
    // The second field is the command's name in parentheses, and may hold any character.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    Some(Stat {
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        session: fields.next()?.parse().ok()?,
        start: fields.nth(15)?.parse().ok()?,
        ended,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustix::process::getpid;

    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_no_trap() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        let expected = Stat {
            parent: 3,
            group: 7,
            session: 7,
            start: 12345,
            ended: false,
        };
        assert_eq!(parse(text), Some(expected));
        let ended = parse(&text.replace(" S ", " Z "));
        assert!(ended.is_some_and(|stat| stat.ended));
        assert_eq!(parse("7 (x"), None);
    }

    #[test]
    fn we_know_our_own_parent() {
        let parent = rustix::process::getppid().map(Pid::as_raw_pid);
        assert_eq!(stat(getpid()).map(|stat| stat.parent), parent);
    }

    #[test]
    fn a_name_that_is_cut_inside_a_character_hides_no_process() {
        let directory = tempfile::tempdir().unwrap();
        // The kernel keeps fifteen bytes of a name.
        let program = directory.path().join("fourteen-bytesä");
        fs::copy("/bin/cat", &program).unwrap();
        let mut child = std::process::Command::new(program)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let found = (stat(pid), all_pids().any(|other| other == pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(matches!(found, (Some(_), true)), "{found:?}");
    }
}
