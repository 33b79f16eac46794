//! Looking before doing: what the image offers, and what the volume has there.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::manifest::{Content, Entry, Manifest, Stamp};
use super::place::{self, Fault};
use super::plan::Found;
use super::seal::Seal;
use super::tree::{self, Inode, Look, Tree};
use super::{Tally, VolumeError, shown};
use crate::degradation::Degradation;

/// One default of the image.
pub(super) enum Offer {
    File(Look),
    Link(CString, Content),
    /// Recorded only if empty: others come with their files.
    Directory,
}

/// The image's defaults by path. What cannot be a default is told in `reported`.
pub(super) fn image(
    source: &mut Tree,
    volume: Inode,
    unread: &mut Tally,
    reported: &mut Vec<String>,
) -> Result<BTreeMap<Vec<u8>, Offer>, Errno> {
    let mut offers = BTreeMap::new();
    let mut todo = vec![Vec::new()];
    let mut buffer = vec![MaybeUninit::uninit(); 64 * 1024];
    while let Some(prefix) = todo.pop() {
        let at_top = prefix.is_empty();
        let listed = source.dir(&prefix, false).and_then(|dir| {
            let mut empty = true;
            let list = tree::open_dir(dir, c".")?;
            tree::entries(&list, &mut buffer, |name, _| {
                empty = false;
                if at_top && name == super::home::NAME {
                    return true;
                }
                let mut path = prefix.clone();
                if !at_top {
                    path.push(b'/');
                }
                path.extend_from_slice(name.to_bytes());
                match offer(dir, name, &path) {
                    Ok(Some(Offer::Directory)) => todo.push(path),
                    Ok(Some(offer)) => _ = offers.insert(path, offer),
                    Ok(None) => reported.push(format!(
                        "{} is not brought in: no file, or a link that leads outside",
                        shown(&path)
                    )),
                    Err(error) => unread.add(error, || shown(&path)),
                }
                true
            })?;
            Ok(empty)
        });
        match listed {
            Ok(true) if !at_top => _ = offers.insert(prefix, Offer::Directory),
            Ok(_) => {}
            Err(error) if at_top => return Err(error),
            Err(error) => unread.add(error, || shown(&prefix)),
        }
        // Defaults that contain the volume would multiply at each start.
        while let Some(next) = todo.last() {
            let same = source
                .parent(next, false)
                .and_then(|(dir, name)| tree::look(dir, &name));
            if !same.is_ok_and(|look| look.inode == volume) {
                break;
            }
            todo.pop();
        }
    }
    Ok(offers)
}

fn offer(dir: BorrowedFd<'_>, name: &std::ffi::CStr, path: &[u8]) -> Result<Option<Offer>, Errno> {
    let look = tree::look(dir, name)?;
    Ok(match look.kind {
        FileType::RegularFile => Some(Offer::File(look)),
        FileType::Directory => Some(Offer::Directory),
        FileType::Symlink => {
            let (content, text) = place::link(dir, name)?;
            stays_inside(path, text.to_bytes()).then_some(Offer::Link(text, content))
        }
        _ => None,
    })
}

/// Whether a link at `path` with this `text` cannot lead out of the tree.
///
/// Going up is counted only at the front: behind a name, which may be a link
/// itself, `..` can lead anywhere.
pub(super) fn stays_inside(path: &[u8], text: &[u8]) -> bool {
    let depth = path.iter().filter(|byte| **byte == b'/').count();
    let mut steps = text
        .split(|byte| *byte == b'/')
        .filter(|step| *step != b".");
    let up = steps.by_ref().take_while(|step| *step == b"..").count();
    let rest_is_down = text
        .split(|byte| *byte == b'/')
        .filter(|step| *step != b".")
        .skip(up)
        .all(|step| step != b"..");
    !text.is_empty() && !text.starts_with(b"/") && up <= depth && rest_is_down
}

/// Everything the plan needs to know, and the stamps that spare reading it again.
#[derive(Default)]
pub(super) struct Survey {
    pub image: BTreeMap<Vec<u8>, Content>,
    pub volume: BTreeMap<Vec<u8>, Found>,
    /// Stamps of files in the volume and the image, for the manifest.
    pub stamps: BTreeMap<Vec<u8>, (Option<Stamp>, Option<Stamp>)>,
    /// What is wrong with the image's side.
    pub degradations: Vec<Degradation>,
}

/// Looks at every path of the image or the manifest; reads files only where their
/// stamps say nothing. `each` is called for every path and can stop it.
pub(super) fn survey(
    offers: &BTreeMap<Vec<u8>, Offer>,
    manifest: &Manifest,
    (source, volume): (&mut Tree, &mut Tree),
    unread: &mut Tally,
    stop: &dyn Fn() -> bool,
    mut each: impl FnMut() -> Result<(), VolumeError>,
) -> Result<Survey, VolumeError> {
    let mut survey = Survey::default();
    let none = Entry::default();
    // Looked for when it is needed first.
    let mut seal = None;
    let gone = manifest
        .entries
        .keys()
        .filter(|path| !offers.contains_key(*path));
    for path in offers.keys().chain(gone) {
        each()?;
        let offer = offers.get(path);
        let entry = manifest.entries.get(path).unwrap_or(&none);
        let found = told(find(volume, path, offer, entry, stop), unread, path)?;
        let (found, in_volume) = found.unwrap_or((Found::InTheWay, None));
        let (content, in_image) = match offer {
            None => (None, None),
            Some(Offer::Directory) => (Some(Content::Directory), None),
            Some(Offer::Link(_, content)) => (Some(*content), None),
            Some(Offer::File(_)) if matches!(found, Found::Absent | Found::InTheWay) => {
                (Some(Content::Unread), None)
            }
            Some(Offer::File(look)) => match (entry.installed, entry.in_image) {
                (Some(known), Some(stamp)) if stamp.fits(look) => (Some(known), Some(stamp)),
                _ => {
                    let find = || Seal::find(source.top(), &mut survey.degradations);
                    let seal = seal.get_or_insert_with(find).as_ref();
                    let read = match seal.and_then(|seal| seal.knows(path, look)) {
                        Some(content) => Ok((content, None)),
                        None => source
                            .parent(path, false)
                            .map_err(Fault::Source)
                            .and_then(|(dir, name)| known_by_reading(dir, &name, stop)),
                    };
                    match told(read, unread, path)? {
                        Some((content, stamp)) => (Some(content), stamp),
                        // Unreadable in the image: as if it were not there.
                        None => (None, None),
                    }
                }
            },
        };
        if let Some(content) = content {
            survey.image.insert(path.clone(), content);
        }
        survey.volume.insert(path.clone(), found);
        survey.stamps.insert(path.clone(), (in_volume, in_image));
    }
    Ok(survey)
}

/// A fault that concerns one path is counted, and the path left out.
fn told<T>(
    result: Result<T, Fault>,
    unread: &mut Tally,
    path: &[u8],
) -> Result<Option<T>, VolumeError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Fault::Stopped) => Err(VolumeError::Stopped),
        Err(Fault::Source(error) | Fault::Volume(error)) => {
            unread.add(error, || shown(path));
            Ok(None)
        }
    }
}

/// What the volume has at `path`.
fn find(
    volume: &mut Tree,
    path: &[u8],
    offer: Option<&Offer>,
    entry: &Entry,
    stop: &dyn Fn() -> bool,
) -> Result<(Found, Option<Stamp>), Fault> {
    let (dir, name) = match volume.parent(path, false) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok((Found::Absent, None)),
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok((Found::InTheWay, None)),
        Err(error) => return Err(Fault::Volume(error)),
    };
    let look = match tree::look(dir, &name) {
        Ok(look) => look,
        Err(Errno::NOENT) => return Ok((Found::Absent, None)),
        Err(error) => return Err(Fault::Volume(error)),
    };
    let found = match look.kind {
        FileType::Directory => Found::Is(Content::Directory),
        FileType::Symlink => Found::Is(place::link(dir, &name).map_err(Fault::Volume)?.0),
        FileType::RegularFile => match (entry.installed, entry.in_volume) {
            (Some(known), Some(stamp)) if stamp.fits(&look) => {
                return Ok((Found::Is(known), Some(stamp)));
            }
            // Its size alone tells that a person changed it.
            (_, Some(stamp))
                if stamp.size != look.size
                    && entry.pending.is_none()
                    && !matches!(offer, Some(Offer::File(new)) if new.size == look.size) =>
            {
                return Ok((Found::Changed, entry.in_volume));
            }
            _ => {
                let (content, stamp) = known_by_reading(dir, &name, stop)?;
                return Ok((Found::Is(content), stamp));
            }
        },
        _ => Found::InTheWay,
    };
    Ok((found, None))
}

fn known_by_reading(
    dir: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    stop: &dyn Fn() -> bool,
) -> Result<(Content, Option<Stamp>), Fault> {
    let now = tree::now();
    let (digest, look) = place::digest(dir, name, stop)?;
    let stamp = look.and_then(|look| Stamp::settled(&look, now));
    Ok((Content::File(digest), stamp))
}
