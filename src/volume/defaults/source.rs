//! The defaults that the image offers.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::volume::defaults::atomic;
use crate::volume::defaults::atomic::Fault;
use crate::volume::defaults::manifest::{Content, Entry, Manifest};
use crate::volume::pace::Pace;
use crate::volume::tree;
use crate::volume::tree::{FileStat, Inode, Tree};
use crate::volume::{ErrnoCounts, shown};

/// One default of the image.
pub(super) enum Offer {
    File(FileStat),
    Link(CString, Content),
    /// Offered only if it is empty: other directories are created with their files.
    Directory,
}

impl Offer {
    /// Returns the number of bytes to write for it.
    pub fn size(&self) -> u64 {
        match self {
            Self::File(stat) => stat.size,
            Self::Link(..) | Self::Directory => 0,
        }
    }
}

/// All defaults that the image offers.
#[derive(Default)]
pub(super) struct Offers {
    /// The defaults by path.
    pub by_path: BTreeMap<Vec<u8>, Offer>,
    /// The entries that cannot be statted or listed.
    pub unread: ErrnoCounts,
    /// Their paths. The image's content there and below is not known.
    pub unreadable_paths: Vec<Vec<u8>>,
    /// One line for each entry that cannot be a default.
    pub reported: Vec<String>,
}

impl Offers {
    /// Returns the limit for the manifest of these defaults, in bytes: [`BASE_MANIFEST_LIMIT`], and
    /// for each default its stamps and twelve lines with its path, each byte of it escaped.
    pub fn manifest_limit(&self) -> u64 {
        let paths = self.by_path.keys();
        BASE_MANIFEST_LIMIT + paths.map(|path| 2048 + 24 * path.len() as u64).sum::<u64>()
    }

    /// Returns the size of the longest file that is read, in bytes. An earlier default may
    /// have been longer, but only the manifest says so, and the user can write the manifest.
    pub fn file_limit(&self) -> u64 {
        let longest = self.by_path.values().map(Offer::size).max();
        longest.unwrap_or(0).max(MIN_READ_LIMIT)
    }

    /// Returns the limit for all files that are read only because of the manifest, in bytes.
    pub fn total_read_limit(&self) -> u64 {
        let all = self.by_path.values().map(Offer::size);
        all.fold(MIN_READ_LIMIT, |sum, size| {
            sum.saturating_add(size.saturating_mul(4))
        })
    }
}

/// Directories of version control. Their files belong together: an old one that comes back takes a
/// person's commits away.
const REPOSITORIES: [&[u8]; 5] = [b".bzr", b".git", b".hg", b".jj", b".svn"];

/// The directory of Jupyter's own copies.
const CHECKPOINTS: &[u8] = b".ipynb_checkpoints";

/// Bytes that may be read in any case; a disk delivers them in less than a second.
const MIN_READ_LIMIT: u64 = 64 << 20;

/// Limit for a manifest where the image has no defaults, in bytes. It leaves room for twenty
/// thousand defaults of earlier images.
pub(super) const BASE_MANIFEST_LIMIT: u64 = 4 << 20;

/// Returns every path of the image or the manifest, in order.
pub(super) fn paths<'a>(
    offers: &'a BTreeMap<Vec<u8>, Offer>,
    manifest: &'a Manifest,
) -> impl Iterator<Item = (&'a [u8], Option<&'a Offer>, Option<&'a Entry>)> {
    let mut offers = offers.iter().peekable();
    let mut entries = manifest.entries.iter().peekable();
    std::iter::from_fn(move || {
        let order = match (offers.peek(), entries.peek()) {
            (Some((offered, _)), Some((recorded, _))) => offered.cmp(recorded),
            (_, None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let offer = offers.next_if(|_| order.is_le());
        let entry = entries.next_if(|_| order.is_ge());
        let path = offer
            .map(|(path, _)| path)
            .or(entry.map(|(path, _)| path))?;
        Some((
            path.as_slice(),
            offer.map(|(_, offer)| offer),
            entry.map(|(_, entry)| entry),
        ))
    })
}

/// Lists the defaults in `source`, except a volume with this top that lies in it.
pub(super) fn image(
    source: &Tree,
    volume: Option<Inode>,
    stop: &dyn Fn() -> bool,
) -> Result<Offers, Fault> {
    let mut source = source.reopen().map_err(Fault::Source)?;
    let mut pace = Pace::new();
    let mut stopped = Ok(());
    let (mut unread, mut reported) = (ErrnoCounts::default(), Vec::new());
    let mut closed = Vec::new();
    let mut offers = Vec::new();
    let mut todo = vec![Vec::new()];
    let mut buffer = vec![MaybeUninit::uninit(); 64 * 1024];
    while let Some(prefix) = todo.pop() {
        let at_top = prefix.is_empty();
        let listed = source.dir(&prefix, false).and_then(|dir| {
            let mut empty = true;
            let list = tree::open_dir(dir, c".")?;
            tree::entries(&list, &mut buffer, |name, _| {
                stopped = pace.step(stop);
                empty = false;
                if at_top && name == crate::volume::defaults::store::NAME
                    || name.to_bytes() == CHECKPOINTS
                {
                    return true;
                }
                let path = tree::join(&prefix, name);
                if let Some(why) = cannot_be_default(name, &path) {
                    reported.push(format!("{} is not brought in: {why}", shown(&path)));
                    return stopped.is_ok();
                }
                match offer(dir, name, &path) {
                    Ok(Some(Offer::Directory)) => todo.push(path),
                    Ok(Some(offer)) => offers.push((path, offer)),
                    Ok(None) => reported.push(format!(
                        "{} is not brought in: no file, or a link that leads outside",
                        shown(&path)
                    )),
                    Err(error) => {
                        unread.add(error, || shown(&path));
                        closed.push(path);
                    }
                }
                stopped.is_ok()
            })?;
            Ok(empty)
        });
        if stopped.is_err() {
            return Err(Fault::Stopped);
        }
        match listed {
            Ok(true) if !at_top => offers.push((prefix, Offer::Directory)),
            Ok(_) => {}
            Err(error) if at_top => return Err(Fault::Source(error)),
            Err(error) => {
                unread.add(error, || shown(&prefix));
                closed.push(prefix);
            }
        }
        // Otherwise, defaults that contain the volume would multiply at each start.
        while let Some(next) = todo.last() {
            if !source
                .stat(next)
                .is_ok_and(|stat| Some(stat.inode) == volume)
            {
                break;
            }
            todo.pop();
        }
    }
    // Directories have their entries in any order.
    reported.sort_unstable();
    Ok(Offers {
        // Sorting all at once is faster than one by one.
        by_path: offers.into_iter().collect(),
        unread,
        unreadable_paths: closed,
        reported,
    })
}

/// Returns why an entry with this name cannot be a default.
fn cannot_be_default(name: &CStr, path: &[u8]) -> Option<&'static str> {
    if REPOSITORIES.contains(&name.to_bytes()) {
        return Some("a repository changes only as a whole");
    }
    (path.len() >= tree::MAX_PATH).then_some("its path is too long")
}

/// Reports whether a path that an earlier version brought in is in one of these directories.
pub(super) fn was_default(path: &[u8]) -> bool {
    let mut names = path.split(|byte| *byte == b'/');
    names.any(|name| name == CHECKPOINTS || REPOSITORIES.contains(&name))
}

fn offer(dir: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<Option<Offer>, Errno> {
    let stat = tree::stat_name(dir, name)?;
    Ok(match stat.kind {
        FileType::RegularFile => Some(Offer::File(stat)),
        FileType::Directory => Some(Offer::Directory),
        FileType::Symlink => {
            let (content, text) = atomic::link(dir, name)?;
            stays_inside(path, text.to_bytes()).then_some(Offer::Link(text, content))
        }
        _ => None,
    })
}

/// Reports whether a link at `path` with this `text` cannot lead out of the tree.
///
/// Only `..` at the front is allowed, as often as `path` is deep. After a name, which may be a
/// link itself, `..` can lead anywhere.
pub(super) fn stays_inside(path: &[u8], text: &[u8]) -> bool {
    let depth = path.iter().filter(|byte| **byte == b'/').count();
    let steps = text.split(|byte| *byte == b'/');
    let steps: Vec<&[u8]> = steps.filter(|step| *step != b".").collect();
    let up = steps.iter().take_while(|step| **step == b"..").count();
    let rest_is_down = steps[up..].iter().all(|step| *step != b"..");
    !text.is_empty() && !text.starts_with(b"/") && up <= depth && rest_is_down
}
