//! Old files that wait in `.ai-lab/moved` until the newer one is in their place, on file systems
//! that cannot exchange two files.
//!
//! `.ai-lab/moved/SERIAL/PATH` was moved from PATH, by the start with that serial number. So
//! the next start knows what a killed one left there, and two starts never use the same name.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use crate::volume::defaults::atomic;
use crate::volume::defaults::rename::{At, lacks_flag, rename_over, rename_with};
use crate::volume::tree;
use crate::volume::tree::Tree;

/// Name of the directory in `.ai-lab`.
const MOVED: &CStr = c"moved";

/// The most earlier starts whose files are looked for. Only files that could not be moved back
/// stay, which takes a kill and a person who wrote at the same path.
const MAX_SERIALS: usize = 16;

/// The most entries of the directory that are listed: anyone may have made others there.
const MAX_LISTED: usize = 1000;

/// This start's directory in `.ai-lab/moved`, made when it is first needed.
#[derive(Default)]
pub(super) struct Aside {
    /// True if making it was tried: a part of it may be there.
    needed: bool,
    moved: Option<Moved>,
}

/// One start's directory.
pub(super) struct Moved {
    pub serial: CString,
    pub tree: Tree,
}

impl Aside {
    /// Moves `from`, the entry at `path` of the volume, into this start's directory in `ai_lab`,
    /// which is `.ai-lab`. Returns the directory in which it has the same name, and its path in
    /// the volume.
    pub fn take(
        &mut self,
        ai_lab: BorrowedFd<'_>,
        path: &[u8],
        from: At<'_>,
    ) -> Result<(BorrowedFd<'_>, Vec<u8>), Errno> {
        self.needed = true;
        let moved = match &mut self.moved {
            Some(moved) => moved,
            none => none.insert(Moved::make(ai_lab)?),
        };
        let moved_path = moved_path(&moved.serial, path);
        let dir = moved.tree.dir(tree::split(path).0, true)?;
        let to = At { dir, ..from };
        // A link and an unlink would remove what is saved at `from` between them. Nobody else
        // makes names in this directory, so an ordinary rename replaces nothing.
        match rename_with(from, to, RenameFlags::NOREPLACE) {
            Err(error) if lacks_flag(error) => rename_over(from, to)?,
            done => done?,
        }
        Ok((dir, moved_path))
    }

    /// Removes this start's directory. `dirs` are the directories of the paths that were moved.
    /// Returns false if something is left.
    pub fn clear(self, ai_lab: BorrowedFd<'_>, dirs: &BTreeSet<Vec<u8>>) -> bool {
        if let Some(moved) = self.moved {
            moved.clear(ai_lab, dirs.iter().map(Vec::as_slice));
        }
        !self.needed || remove_if_empty(ai_lab)
    }
}

impl Moved {
    fn make(ai_lab: BorrowedFd<'_>) -> Result<Self, Errno> {
        let serial = atomic::temporary(b"");
        let mut all = Tree::of(ai_lab)?;
        let tree = Tree::of(all.dir(&[MOVED.to_bytes(), b"/", serial.to_bytes()].concat(), true)?)?;
        Ok(Self { serial, tree })
    }

    /// Opens what earlier starts left in `ai_lab`.
    pub fn earlier(ai_lab: BorrowedFd<'_>) -> Vec<Self> {
        let Ok(all) = tree::open_dir(ai_lab, MOVED) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut listed = 0;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        // An error ends the list; the next start reads on.
        let _ = tree::entries(&all, &mut buffer, |serial, _| {
            listed += 1;
            if atomic::is_temporary(serial.to_bytes(), b"")
                && let Ok(dir) = tree::open_dir(&all, serial)
            {
                let (serial, tree) = (serial.to_owned(), Tree::new(dir));
                found.push(Self { serial, tree });
            }
            found.len() < MAX_SERIALS && listed < MAX_LISTED
        });
        found
    }

    /// Removes the directories that are empty.
    pub fn clear<'a>(
        mut self,
        ai_lab: BorrowedFd<'_>,
        dirs: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) {
        for mut dir in dirs.rev() {
            // A start that was killed may have made only the first directories of a path.
            while !dir.is_empty() {
                if let Ok((above, name)) = self.tree.parent(dir, false) {
                    let _ = rustix::fs::unlinkat(above, &name, AtFlags::REMOVEDIR);
                }
                dir = tree::split(dir).0;
            }
        }
        if let Ok(all) = tree::open_dir(ai_lab, MOVED) {
            let _ = rustix::fs::unlinkat(all, &self.serial, AtFlags::REMOVEDIR);
        }
    }
}

/// Removes `.ai-lab/moved`, unless a start's directory is in it. Returns true if it is gone.
pub(super) fn remove_if_empty(ai_lab: BorrowedFd<'_>) -> bool {
    let removed = rustix::fs::unlinkat(ai_lab, MOVED, AtFlags::REMOVEDIR);
    matches!(removed, Ok(()) | Err(Errno::NOENT))
}

/// Returns the path in the volume of the file that the start with this serial number moved from
/// `path`.
pub(super) fn moved_path(serial: &CStr, path: &[u8]) -> Vec<u8> {
    [b".ai-lab/moved/", serial.to_bytes(), b"/", path].concat()
}
