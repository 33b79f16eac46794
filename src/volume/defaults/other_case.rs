//! Defaults whose paths differ only in case, where the file system takes both for one.

use std::collections::{BTreeSet, HashMap};
use std::mem::MaybeUninit;

use crate::volume::VolumeError;
use crate::volume::defaults::manifest::Manifest;
use crate::volume::defaults::source::{Offers, paths};
use crate::volume::pace::Pace;
use crate::volume::tree;
use crate::volume::tree::Tree;

/// A default that the image has under a path of another case now.
pub(super) struct Renamed {
    pub old: Vec<u8>,
    pub new: Vec<u8>,
}

/// Renames the records of defaults that the image has under a path of another case now. The files
/// keep their names: people have them open.
///
/// # Errors
/// `stop` returned true.
pub(super) fn follow_renames(
    manifest: &mut Manifest,
    offers: &Offers,
    volume: &mut Tree,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<Renamed>, VolumeError> {
    let is_hidden = |path: &[u8]| {
        let mut hidden = offers.unreadable_paths.iter();
        hidden.any(|hidden| tree::is_in(path, hidden))
    };
    let gone = paths(&offers.by_path, manifest).filter(|(_, offer, _)| offer.is_none());
    let gone = gone.filter(|(path, ..)| !is_hidden(path));
    let gone: HashMap<String, &[u8]> = gone.map(|(path, ..)| (fold(path), path)).collect();
    // Usually there is none, and nothing more to do.
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    let new = offers.by_path.keys();
    let new = new.filter(|path| !manifest.entries.contains_key(*path));
    let pairs = new.filter_map(|path| Some((gone.get(&fold(path))?.to_vec(), path.clone())));
    let mut renamed = Vec::new();
    for (old, path) in pairs.collect::<Vec<_>>() {
        if volume.stat(&path).is_ok()
            && !is_listed(volume, &path, stop)?
            && let Some(entry) = manifest.entries.remove(&old)
        {
            manifest.entries.insert(path.clone(), entry);
            renamed.push(Renamed { old, new: path });
        }
    }
    Ok(renamed)
}

/// Reports whether each name of `path` is listed exactly so in its directory, or cannot be listed.
/// The inode does not tell: FUSE gives each name another one.
pub(super) fn is_listed(
    volume: &mut Tree,
    path: &[u8],
    stop: &dyn Fn() -> bool,
) -> Result<bool, VolumeError> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut pace = Pace::new();
    let mut below = path;
    while !below.is_empty() {
        let (dir, name) = tree::split(below);
        let (mut found, mut stopped) = (false, Ok(()));
        let listed = volume.list(dir).and_then(|list| {
            tree::entries(list, &mut buffer, |other, _| {
                found = other.to_bytes() == name;
                stopped = pace.step(stop);
                !found && stopped.is_ok()
            })
        });
        stopped?;
        if listed.is_ok() && !found {
            return Ok(false);
        }
        below = dir;
    }
    Ok(true)
}

/// Returns the paths that differ only in case, by what they have in common.
pub(super) fn alike<'a>(
    paths: impl Iterator<Item = &'a Vec<u8>>,
) -> HashMap<String, BTreeSet<Vec<u8>>> {
    let mut alike: HashMap<_, BTreeSet<_>> = HashMap::new();
    for path in paths {
        alike.entry(fold(path)).or_default().insert(path.clone());
    }
    alike.retain(|_, paths| paths.len() > 1);
    alike
}

/// Returns the path as a file system sees it that does not tell upper from lower case.
pub(super) fn fold(path: &[u8]) -> String {
    String::from_utf8_lossy(path).to_lowercase()
}
