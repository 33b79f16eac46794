//! The seal: the checksums of the defaults, taken when the image is built, so that a start
//! need not read them.
//!
//! `DEFAULTS/.ai-lab/manifest.sha256` has the format of the volume's manifest. A layer of an
//! image keeps a file's size and the seconds of its mtime, but neither its inode nor its
//! ctime, so the `seen` line of a file has zeros there:
//!
//! ```text
//! # seen - / 120 1760000000.0 0.0 0
//! ```
//!
//! A process that can write a file can also set its mtime. So a seal counts only if root alone
//! can write the directory, its `.ai-lab` and the seal, and a file only if root alone can
//! write it. A file may also be written twice within a second. So the seal's own mtime is the
//! time when the sealing began, and only a file with an older mtime counts.

use std::path::Path;

use crate::degradation::Degradation;
use crate::volume::defaults::atomic::Digested;
use crate::volume::defaults::manifest::{Content, Entry, Manifest, Stamp, Unreadable};
use crate::volume::defaults::source;
use crate::volume::defaults::source::Offer;
use crate::volume::defaults::{atomic, manifest_file, store};
use crate::volume::tree;
use crate::volume::tree::{FileStat, Tree};
use crate::volume::{VolumeError, shown};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// The size limit of a seal, in bytes. The seal of 100,000 files has about 30 MB.
const MAX_SEAL_SIZE: u64 = 256 << 20;

/// A seal that can be trusted.
pub(super) struct Seal {
    manifest: Manifest,
    /// When the sealing began, in seconds since 1970.
    began: i64,
}

/// The result of sealing.
#[derive(Debug, Default)]
pub struct Sealed {
    /// The number of defaults that a start need not read.
    pub sealed: u64,
    /// One line for each default that a start reads or leaves out, with the reason.
    pub reported: Vec<String>,
    /// The defaults that could not be read now.
    pub degradations: Vec<Degradation>,
}

impl Stamp {
    /// Returns the stamp of a file in a seal.
    fn as_sealed(stat: &FileStat) -> Self {
        Self {
            size: stat.size,
            modified: (stat.modified.0, 0),
            changed: (0, 0),
            ino: 0,
        }
    }
}

/// Reports whether root alone can write it.
fn only_root_writes(stat: &FileStat) -> bool {
    stat.uid == 0 && stat.mode & 0o022 == 0
}

/// Reports whether root alone can write the file, and its mtime is before the sealing began.
fn is_sealable(stat: &FileStat, began: i64) -> bool {
    only_root_writes(stat) && stat.modified.0 < began
}

impl Seal {
    /// Returns the seal of the defaults in `source`, if it can be trusted. Reports one that
    /// cannot. Returns `None` if this process, and so the server, runs as root.
    pub fn find(source: BorrowedFd<'_>, degradations: &mut Vec<Degradation>) -> Option<Self> {
        let why = match read(source) {
            Ok(seal) => return seal.filter(|_| !rustix::process::geteuid().is_root()),
            Err(why) => why,
        };
        degradations.push(Degradation::new(
            format!("the seal of the notebook defaults is not used: {why}; they are read instead"),
            "run `ai-lab-entrypoint notebooks seal DIR` as root when the image is built",
        ));
        None
    }

    /// Returns the content of the file at `path`, if it has not changed since the sealing.
    pub fn knows(&self, path: &[u8], stat: &FileStat) -> Option<Content> {
        let entry = self.manifest.entries.get(path)?;
        let fits = entry.in_image == Some(Stamp::as_sealed(stat)) && is_sealable(stat, self.began);
        if !fits {
            tracing::debug!("{} is not as it was sealed, and is read", shown(path));
        }
        entry.installed.filter(|_| fits)
    }
}

/// Reads the seal. Returns `Ok(None)` if there is none.
fn read(source: BorrowedFd<'_>) -> Result<Option<Seal>, String> {
    let dir = match tree::open_dir(source, store::NAME) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let (text, stat) = match manifest_file::text(&dir, MAX_SEAL_SIZE, &|| false) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(None),
        Err(Errno::INVAL) => return Err("it is not a regular file".into()),
        Err(error) => return Err(error.to_string()),
    };
    let above = [tree::stat_fd(source), tree::stat_fd(&dir)];
    let Some(stat) = stat
        .filter(only_root_writes)
        .filter(|_| above.iter().all(is_trusted))
    else {
        return Err("others than root could have written it".into());
    };
    match Manifest::parse(&text) {
        Ok(manifest) => Ok(Some(Seal {
            manifest,
            began: stat.modified.0,
        })),
        Err(Unreadable::Stopped) => Err("stopped".into()),
        Err(Unreadable::Newer) => Err("a newer version of this program wrote it".into()),
        Err(Unreadable::Damaged(line)) => Err(format!("it is damaged (line {line})")),
    }
}

fn is_trusted(stat: &Result<FileStat, Errno>) -> bool {
    stat.as_ref().is_ok_and(only_root_writes)
}

/// Seals the defaults in `directory`.
///
/// # Errors
///
/// The directory cannot be read, its `.ai-lab` cannot be written, or others than root can
/// write them, so that no start would use the seal.
pub fn seal(directory: &Path) -> Result<Sealed, VolumeError> {
    let failed = |source: Errno| VolumeError::Seal {
        directory: directory.to_owned(),
        source: source.into(),
    };
    let began = tree::now();
    let mut tree = Tree::new(tree::open_top(directory).map_err(failed)?);
    let top = tree::stat_fd(tree.top()).map_err(failed)?;
    if !only_root_writes(&top) {
        return Err(VolumeError::WritableByOthers(directory.to_owned()));
    }
    let mut done = Sealed::default();
    let offers = source::image(&tree, None, &|| false);
    let offers = offers.map_err(|fault| failed(fault.errno()))?;
    let mut unread = offers.unread;
    done.reported = offers.reported;
    let mut manifest = Manifest::default();
    for (path, offer) in offers.by_path {
        if !matches!(offer, Offer::File(_)) {
            continue;
        }
        let (dir, name) = tree.parent(&path, false).map_err(failed)?;
        match atomic::digest(dir, &name, &|| false) {
            Ok(Digested {
                digest,
                file_stat: stat,
                ..
            }) => {
                let counted = stat.filter(|stat| is_sealable(stat, began.0));
                let entry = Entry {
                    installed: Some(Content::File(digest)),
                    in_image: counted.as_ref().map(Stamp::as_sealed),
                    ..Entry::default()
                };
                match counted {
                    Some(_) => done.sealed += 1,
                    None => done.reported.push(format!(
                        "{} is read at each start: others than root can write it, or it was \
                         changed in this very second",
                        shown(&path)
                    )),
                }
                manifest.entries.insert(path, entry);
            }
            Err(fault) => unread.add(fault.errno(), || shown(&path)),
        }
    }
    write(&mut tree, &manifest, began).map_err(|error| match error {
        Errno::PERM => VolumeError::WritableByOthers(directory.join(".ai-lab")),
        error => failed(error),
    })?;
    let remedy = "check the files and their modes";
    done.degradations = unread.degradations("read", remedy).collect();
    Ok(done)
}

/// Writes the seal. EPERM means that others than root can write `.ai-lab`.
fn write(tree: &mut Tree, manifest: &Manifest, began: tree::Time) -> Result<(), Errno> {
    let dir = tree.dir(store::NAME.to_bytes(), true)?;
    if !is_trusted(&tree::stat_fd(dir)) {
        return Err(Errno::PERM);
    }
    manifest_file::write_text(dir, &manifest.render())?;
    manifest_file::stamp(dir, began)
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
