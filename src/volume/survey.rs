//! Looking before doing: what the image offers, and what the volume has there.

use std::cmp::Ordering;
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
use super::{REPORT_EVERY, Tally, VolumeError, shown};
use crate::degradation::Degradation;

/// One default of the image.
pub(super) enum Offer {
    File(Look),
    Link(CString, Content),
    /// Recorded only if empty: others come with their files.
    Directory,
}

impl Offer {
    /// How many bytes have to be written for it.
    pub fn size(&self) -> u64 {
        match self {
            Self::File(look) => look.size,
            Self::Link(..) | Self::Directory => 0,
        }
    }
}

/// What the image offers.
#[derive(Default)]
pub(super) struct Offers {
    /// The defaults by path.
    pub by_path: BTreeMap<Vec<u8>, Offer>,
    /// What cannot be looked at.
    pub unread: Tally,
    /// Where that is: nobody knows what is there, or below.
    pub closed: Vec<Vec<u8>>,
    /// What cannot be a default.
    pub reported: Vec<String>,
}

/// What the image offers in `source`. A volume that lies there is not part of it.
pub(super) fn image(source: &Tree, volume: Inode) -> Result<Offers, Errno> {
    let mut source = source.again()?;
    let (mut unread, mut reported) = (Tally::default(), Vec::new());
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
                empty = false;
                if at_top && name == super::home::NAME {
                    return true;
                }
                let mut path = Vec::with_capacity(prefix.len() + 1 + name.count_bytes());
                path.extend_from_slice(&prefix);
                if !at_top {
                    path.push(b'/');
                }
                path.extend_from_slice(name.to_bytes());
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
                true
            })?;
            Ok(empty)
        });
        match listed {
            Ok(true) if !at_top => offers.push((prefix, Offer::Directory)),
            Ok(_) => {}
            Err(error) if at_top => return Err(error),
            Err(error) => {
                unread.add(error, || shown(&prefix));
                closed.push(prefix);
            }
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
    Ok(Offers {
        // Sorted at once, which is faster than one by one.
        by_path: offers.into_iter().collect(),
        unread,
        closed,
        reported,
    })
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

/// One path of the image or the manifest, as it is on both sides.
#[derive(Debug)]
pub(super) struct Row {
    pub path: Vec<u8>,
    /// What the image has there.
    pub image: Option<Content>,
    /// Whether that could not be read: then nothing is to be done, nor said of it.
    pub unknown: bool,
    pub volume: Found,
    /// The stamp of the file in the volume, for the manifest.
    pub in_volume: Option<Stamp>,
    /// That of the one in the image.
    pub in_image: Option<Stamp>,
}

/// Everything the plan needs to know, and the stamps that spare reading it again.
#[derive(Default)]
pub(super) struct Survey {
    /// In the order of their paths.
    pub rows: Vec<Row>,
    /// What is wrong with the image's side.
    pub degradations: Vec<Degradation>,
}

impl Survey {
    /// Whether the volume has this at `path`.
    pub fn finds(&self, path: &[u8], content: Content) -> bool {
        let row = self
            .rows
            .binary_search_by(|row| row.path.as_slice().cmp(path));
        row.is_ok_and(|at| self.rows[at].volume == Found::Is(content))
    }
}

/// Every path of the image or the manifest, in order.
fn paths<'a>(
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

/// How something in the volume looks; an error also where nothing is.
pub(super) type Glance = Result<Look, Errno>;

/// Looks at every path of the manifest, in order.
///
/// # Errors
/// `stop`.
pub(super) fn glances(
    volume: &mut Tree,
    manifest: &Manifest,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<Glance>, VolumeError> {
    let mut glances = Vec::with_capacity(manifest.entries.len());
    for path in manifest.entries.keys() {
        if (glances.len() as u64 + 1).is_multiple_of(REPORT_EVERY) && stop() {
            return Err(VolumeError::Stopped);
        }
        glances.push(glance(volume, path));
    }
    Ok(glances)
}

fn glance(volume: &mut Tree, path: &[u8]) -> Glance {
    let (dir, name) = volume.parent(path, false)?;
    tree::look(dir, &name)
}

/// Surveys every path of the image or the manifest, of which the `glances` are; reads
/// files only where their stamps say nothing. What is `closed` in the image is unknown.
/// `each` is called for every path and can stop it.
pub(super) fn survey(
    (offers, closed): (&BTreeMap<Vec<u8>, Offer>, &[Vec<u8>]),
    (manifest, glances): (&Manifest, Vec<Glance>),
    (source, volume): (&mut Tree, &mut Tree),
    unread: &mut Tally,
    stop: &dyn Fn() -> bool,
    mut each: impl FnMut() -> Result<(), VolumeError>,
) -> Result<Survey, VolumeError> {
    let mut survey = Survey::default();
    let none = Entry::default();
    // Looked for when it is needed first.
    let mut seal = None;
    let mut glances = glances.into_iter();
    for (path, offer, entry) in paths(offers, manifest) {
        each()?;
        let seen = entry.and_then(|_| glances.next());
        let seen = seen.unwrap_or_else(|| glance(volume, path));
        let entry = entry.unwrap_or(&none);
        let found = match find(volume, path, seen, (offer, entry), stop) {
            // Gone since it was seen.
            Err(fault) if fault.errno() == Errno::NOENT => Ok((Found::Absent, None)),
            found => found,
        };
        let found = told(found, unread, path)?;
        let (found, in_volume) = found.unwrap_or((Found::InTheWay, None));
        let mut unknown = false;
        let (image, in_image) = match offer {
            None => {
                unknown = closed.iter().any(|closed| is_in(path, closed));
                (None, None)
            }
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
                        None => {
                            unknown = true;
                            (None, None)
                        }
                    }
                }
            },
        };
        survey.rows.push(Row {
            path: path.to_vec(),
            image,
            unknown,
            volume: found,
            in_volume,
            in_image,
        });
    }
    Ok(survey)
}

/// Whether `path` is this one or below it.
pub(super) fn is_in(path: &[u8], directory: &[u8]) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
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

/// What the volume has at `path`, where it was `seen`.
fn find(
    volume: &mut Tree,
    path: &[u8],
    seen: Glance,
    (offer, entry): (Option<&Offer>, &Entry),
    stop: &dyn Fn() -> bool,
) -> Result<(Found, Option<Stamp>), Fault> {
    let look = match seen {
        Ok(look) => look,
        Err(Errno::NOENT) => return Ok((Found::Absent, None)),
        // Above it is something else than a directory.
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok((Found::InTheWay, None)),
        Err(error) => return Err(Fault::Volume(error)),
    };
    let found = match look.kind {
        FileType::Directory => Found::Is(Content::Directory),
        FileType::Symlink => {
            let (dir, name) = volume.parent(path, false).map_err(Fault::Volume)?;
            Found::Is(place::link(dir, &name).map_err(Fault::Volume)?.0)
        }
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
                let (dir, name) = volume.parent(path, false).map_err(Fault::Volume)?;
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
