//! Parent processes that still run as root: a wrapper such as sudo, or Docker's own init.

use std::path::Path;

use rustix::process::getpid;

use crate::sys::proc;
use crate::sys::proc::Status;

/// Returns the name of the nearest parent process that runs as root; `None` for PID 1.
///
/// After the drop no process of the container should run as root. This process cannot end its
/// parent, so the parent is reported.
pub fn root_parent() -> Option<String> {
    root_parent_in(Path::new("/proc"), std::process::id())
}

/// Returns the nearest parent process whose environment this user can read and has one of the
/// variables `names`: the process's name, and the variable.
pub fn parent_with(names: &[&'static str]) -> Option<(String, &'static str)> {
    proc::parents(getpid()).find_map(|parent| {
        let environment = proc::read(parent, "environ")?;
        let set = environment.split(|byte| *byte == 0);
        let is = |name: &&&str| {
            set.clone().any(|set| {
                let value = set.strip_prefix(name.as_bytes());
                value.is_some_and(|value| value.len() > 1 && value[0] == b'=')
            })
        };
        let name = names.iter().find(is)?;
        let process = proc::text(parent, "comm")?;
        Some((process.trim_end().to_owned(), *name))
    })
}

fn root_parent_in(proc: &Path, pid: u32) -> Option<String> {
    let mut pid = pid;
    let mut ours = true;
    // Parent 0 is outside our PID namespace.
    while pid != 0 {
        let status = Status::in_directory(&proc.join(pid.to_string()))?;
        // The real, effective, saved or file system uid: each of them gives root's power.
        let root = status
            .field("Uid:")?
            .split_whitespace()
            .any(|uid| uid == "0");
        if root && !ours {
            return status.field("Name:").map(str::to_owned);
        }
        ours = false;
        pid = status.field("PPid:")?.parse().ok()?;
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_nearest_root_above_us_is_named() {
        let proc = tempfile::tempdir().unwrap();
        let process = |pid: u32, name: &str, parent: u32, uids: &str| {
            let dir = proc.path().join(pid.to_string());
            fs::create_dir(&dir).unwrap();
            let text = format!("Name:\t{name}\nPPid:\t{parent}\nUid:\t{uids}\n");
            fs::write(dir.join("status"), text).unwrap();
        };
        process(1, "docker-init", 0, "0\t0\t0\t0");
        process(5, "sudo", 1, "1000\t0\t0\t0");
        process(6, "bash", 1, "1000\t1000\t1000\t1000");
        process(7, "us", 5, "0\t0\t0\t0");
        process(8, "us", 6, "1000\t1000\t1000\t1000");
        let above = |pid| root_parent_in(proc.path(), pid);
        assert_eq!(above(1), None);
        assert_eq!(above(7).as_deref(), Some("sudo"));
        assert_eq!(above(8).as_deref(), Some("docker-init"));
        assert_eq!(above(99), None);
    }
}
