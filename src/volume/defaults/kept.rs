//! The copies of notebooks that a person ran, with their outputs, in `.ai-lab/kept/VERSION/`.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::volume::defaults::atomic::OursCheck;
use crate::volume::defaults::manifest::{Content, Digest, Entry, KeptCopy, MAX_COPIES, Stamp};
use crate::volume::defaults::rename::At;
use crate::volume::defaults::store::AiLabDir;
use crate::volume::tree;
use crate::volume::tree::Tree;

/// Name of the directory in `.ai-lab`.
pub(super) const NAME: &str = "kept";

/// The directories of one version at most: several copies of one notebook need several.
const MAX_DIRECTORIES: u32 = 100;

/// The copies, open.
pub(super) struct KeptCopies {
    tree: Tree,
    /// Bytes of copies that may still be read.
    budget: u64,
}

/// Returns the path of a copy in `.ai-lab`.
pub(super) fn path_of(directory: &str, path: &[u8]) -> Vec<u8> {
    let front = format!("{NAME}/{directory}/").into_bytes();
    [&front, path].concat()
}

/// Returns a directory name for the copies of a version, of which only plain characters stay.
fn directory_of(version: Option<&str>, installed: Digest) -> String {
    let plain = |sign: char| match sign {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '+' | '-' | '_' => sign,
        _ => '-',
    };
    let name: String = version.unwrap_or("").chars().take(64).map(plain).collect();
    match name.trim_start_matches('.') {
        "" => format!("{installed:?}")[..8].to_owned(),
        name => name.to_owned(),
    }
}

/// The place of a copy.
pub(super) struct KeptPlace {
    dir: OwnedFd,
    name: CString,
}

impl KeptPlace {
    pub fn at(&self) -> At<'_> {
        At::new(self.dir.as_fd(), &self.name)
    }
}

impl KeptCopies {
    /// Opens the copies in `.ai-lab`, which need not be there yet. At most `budget` bytes of them
    /// are read.
    pub fn open(ai_lab: &AiLabDir, budget: u64) -> Result<Self, Errno> {
        let tree = Tree::of(&ai_lab.dir)?;
        Ok(Self { tree, budget })
    }

    /// Checks that a file can be moved here from the directory `from`.
    ///
    /// # Errors
    /// EXDEV if it is on another mount.
    pub fn check_mount(&self, from: BorrowedFd<'_>) -> Result<(), Errno> {
        let (here, there) = (tree::stat_fd(self.tree.top())?, tree::stat_fd(from)?);
        here.same_mount(&there).then_some(()).ok_or(Errno::XDEV)
    }

    /// Returns the directory for a further copy of the notebook at `path`, and makes it.
    pub fn directory_for(
        &mut self,
        path: &[u8],
        version: Option<&str>,
        installed: Digest,
    ) -> Result<String, Errno> {
        let name = directory_of(version, installed);
        for number in 1..=MAX_DIRECTORIES {
            let name = match number {
                1 => name.clone(),
                _ => format!("{name}_{number}"),
            };
            let (dir, file) = self.tree.parent(&path_of(&name, path), true)?;
            if tree::stat_name(dir, &file).is_err_and(|error| error == Errno::NOENT) {
                return Ok(name);
            }
        }
        Err(Errno::EXIST)
    }

    /// Records the stamp of the newest copy, which is in its place.
    pub fn record_stamp(&mut self, path: &[u8], entry: &mut Entry) {
        if let Some(copy) = entry.kept.last_mut() {
            let stat = self.tree.stat(&path_of(&copy.directory, path)).ok();
            copy.stamp = stat.and_then(|stat| Stamp::after_rename(&stat));
        }
    }

    /// Returns the place for the newest copy of the notebook at `path`.
    pub fn place_for(&mut self, path: &[u8], entry: &Entry) -> Result<KeptPlace, Errno> {
        let copy = entry.kept.last().ok_or(Errno::NOENT)?;
        self.place(&path_of(&copy.directory, path))
    }

    /// Opens the directory of a copy with this path in `.ai-lab`.
    pub fn place(&mut self, path: &[u8]) -> Result<KeptPlace, Errno> {
        let (dir, name) = self.tree.parent(path, false)?;
        let dir = tree::open_dir(dir, c".")?;
        Ok(KeptPlace { dir, name })
    }

    /// Forgets the copies that are no longer there, or that a person has changed since. A copy
    /// whose stamp does not tell is read, as far as the budget allows.
    ///
    /// # Errors
    /// ECANCELED if `stop` returned true.
    pub fn forget_changed(
        &mut self,
        path: &[u8],
        entry: &mut Entry,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Errno> {
        entry.kept.retain(|copy| self.is_as_kept(path, copy, stop));
        if stop() { Err(Errno::CANCELED) } else { Ok(()) }
    }

    fn is_as_kept(&mut self, path: &[u8], copy: &KeptCopy, stop: &dyn Fn() -> bool) -> bool {
        let path = path_of(&copy.directory, path);
        let Ok(stat) = self.tree.stat(&path) else {
            return false;
        };
        if copy.stamp.is_some_and(|stamp| stamp.fits(&stat)) {
            return true;
        }
        let Some(left) = self.budget.checked_sub(stat.size) else {
            return false;
        };
        self.budget = left;
        let check = OursCheck {
            ours: &|found| found == Content::File(copy.digest),
            size: &|_| true,
            stop,
        };
        let place = self.tree.parent(&path, false);
        place.is_ok_and(|(dir, name)| check.is_ours(dir, &name) == Ok(true))
    }

    /// Deletes the oldest copies above [`MAX_COPIES`]; returns their directories.
    pub fn drop_oldest(
        &mut self,
        path: &[u8],
        entry: &mut Entry,
        stop: &dyn Fn() -> bool,
    ) -> Vec<String> {
        let above = entry.kept.len().saturating_sub(MAX_COPIES);
        let mut dropped: Vec<KeptCopy> = entry.kept.drain(..above).collect();
        dropped.retain(|copy| self.is_as_kept(path, copy, stop) && self.delete(path, copy).is_ok());
        dropped.into_iter().map(|copy| copy.directory).collect()
    }

    /// Deletes a copy and the directories above it that are empty then.
    fn delete(&mut self, path: &[u8], copy: &KeptCopy) -> Result<(), Errno> {
        let mut place = path_of(&copy.directory, path);
        let (dir, name) = self.tree.parent(&place, false)?;
        rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
        while tree::split(&place).0 != NAME.as_bytes() {
            place.truncate(tree::split(&place).0.len());
            let (dir, name) = self.tree.parent(&place, false)?;
            if rustix::fs::unlinkat(dir.as_fd(), name, AtFlags::REMOVEDIR).is_err() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_copy_is_known_without_being_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = KeptCopies {
            tree: Tree::new(tree::open_top(dir.path()).unwrap()),
            budget: 0,
        };
        let mut entry = Entry::default();
        for version in ["1", "2", "3", "4"] {
            let at = dir.path().join("kept").join(version);
            std::fs::create_dir_all(&at).unwrap();
            std::fs::write(at.join("a"), "outputs").unwrap();
            let old = std::time::SystemTime::UNIX_EPOCH;
            let file = std::fs::File::open(at.join("a")).unwrap();
            file.set_modified(old).unwrap();
            entry.kept.push(KeptCopy {
                directory: version.into(),
                digest: Digest::of(b"outputs"),
                stamp: None,
            });
            kept.record_stamp(b"a", &mut entry);
        }
        kept.forget_changed(b"a", &mut entry, &|| false).unwrap();
        assert_eq!(kept.drop_oldest(b"a", &mut entry, &|| false), ["1"]);
        assert_eq!(entry.kept.len(), MAX_COPIES);
        assert!(!dir.path().join("kept/1").exists());
        // One that a person changed since is theirs.
        std::fs::write(dir.path().join("kept/2/a"), "changed").unwrap();
        kept.forget_changed(b"a", &mut entry, &|| false).unwrap();
        assert_eq!(entry.kept.len(), MAX_COPIES - 1);
    }

    #[test]
    fn a_version_names_a_directory_and_nothing_else() {
        let digest = Digest::of(b"x");
        for (version, expected) in [
            (Some("1.4.0"), "1.4.0"),
            (Some("v1.4.0-rc.1+b"), "v1.4.0-rc.1+b"),
            (Some("../../etc"), "-..-etc"),
            (Some(".."), "2d711642"),
            (Some(""), "2d711642"),
            (None, "2d711642"),
            (Some("a\nb\0ü"), "a-b--"),
        ] {
            assert_eq!(directory_of(version, digest), expected, "{version:?}");
        }
        assert_eq!(directory_of(Some(&"9".repeat(300)), digest).len(), 64);
    }
}
