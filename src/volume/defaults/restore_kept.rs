//! The work of `notebooks restore --kept`: brings back the copies of notebooks that were only run.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::identity::Dropped;
use crate::volume::VolumeError;
use crate::volume::defaults::kept;
use crate::volume::defaults::manifest::Entry;
use crate::volume::defaults::open::{Defaults, Opened, open};
use crate::volume::defaults::rename::{At, move_to};
use crate::volume::defaults::restore::{discard_untouched, peek, put_aside, put_back};
use crate::volume::defaults::store;
use crate::volume::tree;
use crate::volume::tree::{Time, Tree};

/// The most entries of `.ai-lab/kept` that are listed.
const MAX_LISTED: usize = 100_000;

/// The result of bringing back the copy of one notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BroughtBack {
    /// The copy is in place.
    Done {
        /// The version of the image that had installed the notebook.
        version: String,
        /// The new path of the person's file that was in its place.
        aside: Option<Vec<u8>>,
    },
    /// No copy of it is kept.
    Nothing,
    /// The copy is still where it is kept.
    Refused(Errno),
    /// The copy is still where it is kept, and the file that was in its place has this path.
    NotPutBack(Vec<u8>),
}

/// A copy in `.ai-lab/kept`: when it was last saved, and its directory. The newest is the greatest.
type Copy = (Time, Vec<u8>);

/// Brings back the copy that was saved last of each of these notebooks, and of every notebook
/// below one that is a directory. If none is named, brings back what updates replaced: a file that
/// was merged comes back only by its name. A person's file in its place is renamed to
/// `NAME.yours.EXT`.
///
/// # Errors
///
/// As [`bring_in`](crate::volume::bring_in).
pub fn restore_kept(
    _: &Dropped,
    defaults: &Defaults,
    wanted: &[Vec<u8>],
) -> Result<Vec<(Vec<u8>, BroughtBack)>, VolumeError> {
    let Opened {
        mut volume, offers, ..
    } = open(defaults, &|| false)?;
    let ai_lab = tree::open_dir(volume.top(), store::NAME);
    let nothing = |path: &Vec<u8>| (path.clone(), BroughtBack::Nothing);
    let Ok(ai_lab) = ai_lab else {
        return Ok(wanted.iter().map(nothing).collect());
    };
    let manifest = peek(&volume, &offers);
    let mut kept = Tree::new(ai_lab);
    let is_wanted = |path: &[u8], directory: &[u8]| match (wanted, manifest.entries.get(path)) {
        ([], None) => true,
        // An older version wrote the record, without the copies.
        ([], Some(entry)) if entry.kept.is_empty() => entry.earlier.is_none(),
        ([], Some(entry)) => {
            let mut replaced = entry.kept.iter();
            replaced.any(|copy| copy.directory.as_bytes() == directory)
        }
        _ => wanted.iter().any(|wanted| tree::is_in(path, wanted)),
    };
    let copies = newest(&mut kept, &is_wanted);
    let is_kept = |wanted: &&Vec<u8>| copies.keys().any(|path| tree::is_in(path, wanted));
    let absent = wanted.iter().filter(|wanted| !is_kept(wanted)).map(nothing);
    let mut results: Vec<_> = absent.collect();
    for (path, (_, version)) in &copies {
        let entry = manifest.entries.get(path);
        let result = bring_back((&mut kept, version), &mut volume, path, entry);
        results.push((path.clone(), result));
    }
    Ok(results)
}

/// Returns the newest copy of each notebook, by its path in the volume. `is_wanted` gets that path
/// and the copy's directory.
fn newest(kept: &mut Tree, is_wanted: &dyn Fn(&[u8], &[u8]) -> bool) -> BTreeMap<Vec<u8>, Copy> {
    let mut copies = BTreeMap::new();
    let mut todo = vec![kept::NAME.as_bytes().to_vec()];
    let mut buffer = vec![MaybeUninit::uninit(); 64 * 1024];
    let mut listed = 0;
    while let Some(above) = todo.pop() {
        let Ok(list) = kept.list(&above) else {
            continue;
        };
        // A directory that cannot be listed is left out.
        let _ = tree::entries(&list, &mut buffer, |name, _| {
            listed += 1;
            let path = tree::join(&above, name);
            match tree::stat_name(&list, name) {
                Ok(stat) if stat.kind == FileType::Directory => todo.push(path),
                // A killed start may have reserved the name.
                Ok(stat) if stat.kind == FileType::RegularFile && stat.size > 0 => {
                    if let Some((version, path)) = split(&path)
                        && is_wanted(path, version)
                    {
                        let copy = (stat.modified, version.to_vec());
                        let newest = copies.entry(path.to_vec()).or_insert(copy.clone());
                        *newest = copy.max(newest.clone());
                    }
                }
                _ => {}
            }
            listed < MAX_LISTED
        });
    }
    copies
}

/// Splits the path of a copy in `.ai-lab` into its directory and the path in the volume.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = path.splitn(3, |byte| *byte == b'/').skip(1);
    Some((parts.next()?, parts.next()?))
}

fn bring_back(
    (kept, version): (&mut Tree, &[u8]),
    volume: &mut Tree,
    path: &[u8],
    entry: Option<&Entry>,
) -> BroughtBack {
    let version = String::from_utf8_lossy(version).into_owned();
    let aside = match put_aside(volume, path) {
        Ok(aside) => aside,
        Err(error) => return BroughtBack::Refused(error),
    };
    let moved = volume.parent(path, true).and_then(|(to, name)| {
        let (from, old) = kept.parent(&kept::path_of(&version, path), false)?;
        move_to(At::new(from, &old), At::new(to, &name), &|| ())
    });
    match (moved, aside) {
        (Ok(()), aside) => {
            let aside = aside.filter(|aside| !discard_untouched(volume, aside, entry));
            BroughtBack::Done { version, aside }
        }
        (Err(_), Some(aside)) if put_back(volume, path, &aside).is_err() => {
            BroughtBack::NotPutBack(aside)
        }
        (Err(error), _) => BroughtBack::Refused(error),
    }
}

#[cfg(test)]
#[path = "restore_kept_tests.rs"]
mod tests;
