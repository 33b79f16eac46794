//! The work of the `notebooks` verbs: the state of the defaults, differences, and restoring.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::identity::Dropped;
use crate::volume::VolumeError;
use crate::volume::defaults::apply::{Limits, READ_REMEDY};
use crate::volume::defaults::compare::compare;
use crate::volume::defaults::installed_cells::InstalledCells;
use crate::volume::defaults::manifest::{Content, Entry, Manifest};
use crate::volume::defaults::manifest_file;
use crate::volume::defaults::news;
use crate::volume::defaults::only_run::Compared;
use crate::volume::defaults::open::{Defaults, Opened, open, open_both};
use crate::volume::defaults::plan::{Action, Decision, decide_all};
use crate::volume::defaults::rename::{At, move_to};
use crate::volume::defaults::source::{Offer, Offers};
use crate::volume::defaults::survey::stat_all;
use crate::volume::defaults::sync::bring_in_with;
use crate::volume::defaults::{atomic, store};
use crate::volume::pace::Pace;
use crate::volume::tree;
use crate::volume::tree::Tree;

/// The size limit of a file that is compared, in bytes.
const MAX_FILE_SIZE: u64 = 64 << 20;

/// The state of the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DefaultsStatus {
    /// The version of the newest image that brought defaults in; `None` if none had a version.
    pub installed: Option<String>,
    /// The next start's action for each default.
    pub files: Vec<Action>,
    /// The changed files of which the image has a newer version. True for those that can be merged.
    pub newer: BTreeMap<Vec<u8>, bool>,
    /// True if some of these are news for the person.
    pub news: bool,
    /// The degradations that the next start would report.
    pub degradations: Vec<Degradation>,
}

/// Returns the state of the defaults. Changes nothing and takes no lock.
///
/// # Errors
///
/// As [`bring_in`](crate::volume::bring_in).
pub fn defaults_status(_: &Dropped, defaults: &Defaults) -> Result<DefaultsStatus, VolumeError> {
    let mut opened = open(defaults, &|| false)?;
    let manifest = peek(&opened.volume, &opened.offers);
    status_of(defaults, &mut opened, manifest, Compared::All, &|| false)
}

/// Reads the manifest as it is now; an empty one if there is none that can be read.
pub(super) fn peek(volume: &Tree, offers: &Offers) -> Manifest {
    let ai_lab = tree::open_dir(volume.top(), store::NAME).ok();
    let manifest = ai_lab.and_then(|dir| manifest_file::peek(&dir, offers.manifest_limit()));
    manifest.unwrap_or_default()
}

/// Returns the state of the defaults. Reads only what a start would read, and the `compared`
/// notebooks.
pub(super) fn status_of(
    defaults: &Defaults,
    opened: &mut Opened,
    manifest: Manifest,
    compared: Compared,
    stop: &dyn Fn() -> bool,
) -> Result<DefaultsStatus, VolumeError> {
    let dir = tree::open_dir(opened.volume.top(), store::NAME).ok();
    let stats = stat_all(&mut opened.volume, &manifest, stop)?;
    let known = (manifest, InstalledCells::of(dir.as_ref(), false));
    let mut pace = Pace::new();
    let mut each = |_| pace.step(stop);
    let all = compare(defaults, opened, known, stats, compared, stop, &mut each)?;
    let mut status = DefaultsStatus {
        installed: all.manifest.image.clone(),
        ..DefaultsStatus::default()
    };
    let none = Entry::default();
    for (row, decision) in decide_all(&all.survey.rows, &all.manifest, all.policy) {
        let path = row.path.clone();
        let entry = all.manifest.entries.get(&path).unwrap_or(&none);
        let is_news = || news::kind(row, entry, decision, all.policy).is_some();
        status.news = status.news || all.has_news && is_news();
        if let Some(installed) = entry.installed
            && decision == Decision::Kept
            && Some(installed) != row.image
            && !all.policy.older
        {
            let is_mergeable = match installed {
                Content::File(digest) => all.cells.get(&path, digest).is_some(),
                _ => false,
            };
            status.newer.insert(path.clone(), is_mergeable);
        }
        status.files.push(Action { path, decision });
    }
    status.degradations = all.survey.degradations;
    let unread = all.survey.unread.degradations("read", READ_REMEDY);
    status.degradations.extend(unread);
    Ok(status)
}

/// A default in the volume and in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The version in the volume.
    pub yours: Version,
    /// The version in the image.
    pub image: Version,
}

/// The content of a regular file; `None` if there is none. The error is EFBIG if it is longer than
/// 64 MiB.
type Version = Result<Option<Vec<u8>>, Errno>;

/// Reads both versions of one default.
///
/// # Errors
///
/// The defaults or the volume cannot be opened.
pub fn versions(_: &Dropped, defaults: &Defaults, path: &[u8]) -> Result<Versions, VolumeError> {
    let (mut source, mut volume) = open_both(defaults)?;
    Ok(Versions {
        yours: read(&mut volume, path),
        image: read(&mut source, path),
    })
}

fn read(tree: &mut Tree, path: &[u8]) -> Version {
    let parent = tree.parent(path, false);
    match parent.and_then(|(dir, name)| atomic::read(dir, &name, MAX_FILE_SIZE)) {
        Ok((bytes, _)) => Ok(Some(bytes)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The result of restoring one default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    /// The image's version is in place; nothing of a person's was there before.
    Installed,
    /// The image's version is in place; the former entry now has this path.
    Renamed(Vec<u8>),
    /// The image's version was in place already.
    Current,
    /// The image has no such default.
    Unknown,
    /// The image's version is unreadable, or the rename failed.
    Refused(Errno),
    /// The image's version could not be brought in, for a reason that is among the degradations.
    NotBroughtIn,
    /// The default could not be put in place, and the former entry still has this path.
    NotPutBack(Vec<u8>),
}

/// The result for each default that was asked for.
pub type RestoreResults = Vec<(Vec<u8>, Restored)>;

/// Restores these defaults, and every default below one that is a directory. The user's
/// version is first renamed to `NAME.yours.EXT`, and renamed back if the default cannot be put
/// in place; one that was not changed is removed. Also returns the degradations.
///
/// # Errors
///
/// As [`bring_in`](crate::volume::bring_in).
pub fn restore(
    _: &Dropped,
    defaults: &Defaults,
    wanted: &[Vec<u8>],
) -> Result<(RestoreResults, Vec<Degradation>), VolumeError> {
    let Opened {
        mut source,
        mut volume,
        offers,
    } = open(defaults, &|| false)?;
    let manifest = peek(&volume, &offers);
    let (offers, closed) = (offers.by_path, offers.unreadable_paths);
    let mut results = Vec::new();
    for path in wanted {
        let mut known = offers
            .keys()
            .filter(|known| tree::is_in(known, path))
            .peekable();
        if known.peek().is_none() {
            let hidden = closed.iter().any(|closed| tree::is_in(path, closed));
            let result = match hidden {
                true => Restored::Refused(Errno::ACCESS),
                false => Restored::Unknown,
            };
            results.push((path.clone(), result));
        }
        for path in known {
            let same = is_current(&mut source, &mut volume, path, &offers[path]);
            let result = if same {
                Restored::Current
            } else {
                match put_aside(&mut volume, path) {
                    Ok(Some(name)) => Restored::Renamed(name),
                    Ok(None) => Restored::Installed,
                    Err(error) => Restored::Refused(error),
                }
            };
            results.push((path.clone(), result));
        }
    }
    let absent = |result: &Restored| matches!(result, Restored::Installed | Restored::Renamed(_));
    let todo: BTreeSet<Vec<u8>> = results
        .iter()
        .filter(|(_, result)| absent(result))
        .map(|(path, _)| path.clone())
        .collect();
    let anyway = Defaults {
        deleted: crate::settings::DeletedNotebooks::Restore,
        ..defaults.clone()
    };
    let brought = bring_in_with(
        &anyway,
        Limits::USUAL,
        &|path| todo.contains(path),
        &|| false,
        &mut |_| {},
    );
    for (path, result) in results.iter_mut().filter(|(_, result)| absent(result)) {
        if is_current(&mut source, &mut volume, path, &offers[path]) {
            let entry = manifest.entries.get(path);
            if let Restored::Renamed(aside) = result
                && discard_untouched(&mut volume, aside, entry)
            {
                *result = Restored::Installed;
            }
            continue;
        }
        *result = match std::mem::replace(result, Restored::NotBroughtIn) {
            Restored::Renamed(aside) if put_back(&mut volume, path, &aside).is_err() => {
                Restored::NotPutBack(aside)
            }
            _ => Restored::NotBroughtIn,
        };
    }
    Ok((results, brought?.degradations))
}

fn is_current(source: &mut Tree, volume: &mut Tree, path: &[u8], offer: &Offer) -> bool {
    let size = |tree: &mut Tree| tree.stat(path).map(|stat| stat.size);
    match offer {
        Offer::Link(_, content) => content_at(volume, path) == Some(*content),
        Offer::File(_) if size(volume) != size(source) => false,
        Offer::File(_) | Offer::Directory => {
            let there = content_at(volume, path);
            there.is_some() && there == content_at(source, path)
        }
    }
}

/// Returns the content at `path`; `None` if it cannot be read, or no default can be of its kind.
pub(super) fn content_at(tree: &mut Tree, path: &[u8]) -> Option<Content> {
    let (dir, name) = tree.parent(path, false).ok()?;
    atomic::content(dir, &name, &|| false).ok()?
}

/// Removes the file at `path` if it is a default as it was installed. Returns whether it is.
pub(super) fn discard_untouched(volume: &mut Tree, path: &[u8], entry: Option<&Entry>) -> bool {
    let installed = entry.and_then(|entry| entry.installed);
    let installed = installed.filter(|content| *content != Content::Directory);
    let is_untouched = installed.is_some() && content_at(volume, path) == installed;
    if is_untouched && let Ok((dir, name)) = volume.parent(path, false) {
        atomic::discard(dir, &name);
    }
    is_untouched
}

/// Renames the entry at `path`. Returns its new path, or `None` if nothing is there.
pub(super) fn put_aside(volume: &mut Tree, path: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let (dir, name) = match volume.parent(path, false) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    match tree::stat_name(dir, &name) {
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let aside = rename_aside(dir, &name)?;
    Ok(Some(tree::beside(path, &aside)))
}

/// Renames to `NAME.yours.EXT`, or with the first free number: `NAME.yours-2.EXT`.
fn rename_aside(dir: BorrowedFd<'_>, name: &CStr) -> Result<CString, Errno> {
    for number in 1..1000 {
        let mark = match number {
            1 => ".yours".to_owned(),
            _ => format!(".yours-{number}"),
        };
        let new = tree::with_mark(name.to_bytes(), mark.as_bytes());
        let new = CString::new(new).map_err(|_| Errno::INVAL)?;
        match rename(dir, name, &new) {
            Ok(()) => return Ok(new),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::EXIST)
}

/// Renames back what [`put_aside`] renamed.
pub(super) fn put_back(volume: &mut Tree, path: &[u8], aside: &[u8]) -> Result<(), Errno> {
    let (dir, name) = volume.parent(path, false)?;
    let (_, aside) = tree::split(aside);
    let aside = CString::new(aside).map_err(|_| Errno::INVAL)?;
    rename(dir, &aside, &name)
}

/// Renames without replacing anything.
fn rename(dir: BorrowedFd<'_>, from: &CStr, to: &CStr) -> Result<(), Errno> {
    move_to(At::new(dir, from), At::new(dir, to), &|| {})
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
