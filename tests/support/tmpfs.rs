//! File systems of a test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::send;

/// A tmpfs, unmounted when it goes away.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one with these options (`size=64k,nr_inodes=9`).
    pub fn mount(at: &Path, options: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("mode=755,{options}");
        run("mount", &["-t", "tmpfs", "-o", &options, "ai-lab-test"], at);
        Self(at.to_owned())
    }

    /// Changes its options.
    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        run("mount", &["-o", &options], &self.0);
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// A disk of ext4 in a file, unmounted when it goes away.
pub struct Disk(PathBuf);

impl Disk {
    /// Makes one in the file `image` and mounts it at `at`.
    pub fn mount(image: &Path, at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let file = std::fs::File::create(image).unwrap();
        file.set_len(16 << 20).unwrap();
        run("mkfs.ext4", &["-q", "-F"], image);
        let image = image.to_str().unwrap();
        run("mount", &["-o", "loop", image], at);
        Self(at.to_owned())
    }

    /// Stops every write to it, until what is returned goes away. It must go away before
    /// anything waits for a process that writes there.
    pub fn freeze(&self) -> Frozen {
        run("fsfreeze", &["--freeze"], &self.0);
        Frozen(self.0.clone())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// A disk that takes no writes.
pub struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze")
            .arg("--unfreeze")
            .arg(&self.0)
            .status();
    }
}

/// Unmounts what is mounted at `at`, even if something there is open.
pub fn unmount(at: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(at).status();
}

/// Runs a program with these words and the path, which must succeed.
pub fn run(program: &str, words: &[&str], at: &Path) {
    let output = Command::new(program).args(words).arg(at).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {said}");
}

/// A directory seen through bindfs, a FUSE file system; unmounted when it goes away.
pub struct Bound(PathBuf);

impl Bound {
    /// Mounts `from` at `at` with these options of bindfs.
    pub fn mount(from: &Path, at: &Path, options: &[&str]) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let from = from.to_str().unwrap();
        let words: Vec<&str> = options.iter().copied().chain([from]).collect();
        run("bindfs", &words, at);
        Self(at.to_owned())
    }

    /// Stops the program behind it, until what is returned goes away.
    pub fn pause(&self) -> Paused {
        let at = self.0.to_str().unwrap();
        let found = Command::new("pgrep")
            .args(["--full", &format!("^bindfs .*{at}$")])
            .output();
        let pid = String::from_utf8(found.unwrap().stdout).unwrap();
        let paused = Paused(pid.trim().parse().unwrap());
        send(paused.0, libc::SIGSTOP);
        paused
    }
}

/// A file system that does not answer.
pub struct Paused(i32);

impl Drop for Paused {
    fn drop(&mut self) {
        send(self.0, libc::SIGCONT);
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}
