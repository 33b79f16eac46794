//! The mounts of this container: which one a directory is on, and which are below it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::io::Errno;

use crate::degradation::Degradation;

/// One line of mountinfo (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    id: u64,
    /// What of the file system is mounted.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let root = unescaped(fields.nth(2)?);
        let point = unescaped(fields.next()?);
        Some(Self { id, root, point })
    }

    /// Reports whether this is a volume that the engine keeps, named or anonymous: Docker and
    /// Podman mount `…/volumes/NAME/_data`, nerdctl `…/volumes/NAMESPACE/NAME/_data`.
    pub fn is_volume_of_an_engine(&self) -> bool {
        self.volume_name().is_some()
    }

    fn volume_name(&self) -> Option<&OsStr> {
        let names: Vec<_> = self.root.iter().collect();
        let data = names.iter().position(|name| *name == "_data")?;
        let volumes = |levels: usize| {
            let at = data.checked_sub(levels);
            at.is_some_and(|at| names[at] == "volumes")
        };
        (volumes(2) || volumes(3)).then(|| names[data - 1])
    }

    /// Reports whether this is a volume without a name, which the engine made because the image
    /// wants one there: it goes with the container.
    fn is_anonymous(&self) -> bool {
        let name = self.volume_name().map(OsStr::as_encoded_bytes);
        name.is_some_and(|name| name.len() == 64 && name.iter().all(u8::is_ascii_hexdigit))
    }
}

/// Returns all mounts.
pub(super) fn all() -> Vec<Mount> {
    let table = std::fs::read("/proc/thread-self/mountinfo").unwrap_or_default();
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(Mount::parse).collect()
}

/// Returns the mount that an open file is on.
pub(super) fn of(file: impl AsFd) -> Option<Mount> {
    let path = format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd());
    let info = std::fs::read_to_string(path).ok()?;
    let mut lines = info.lines();
    let id = lines.find_map(|line| line.strip_prefix("mnt_id:"))?;
    let id: u64 = id.trim().parse().ok()?;
    all().into_iter().find(|mount| mount.id == id)
}

/// Returns where something else is mounted below a directory, as paths from there.
pub(super) fn below(directory: &Path) -> BTreeSet<PathBuf> {
    let real = directory.canonicalize();
    let top = real.as_deref().unwrap_or(directory);
    let points = all().into_iter().map(|mount| mount.point);
    let below = points.filter_map(|point| point.strip_prefix(top).map(Path::to_owned).ok());
    below.filter(|path| path != Path::new("")).collect()
}

/// Reports a notebooks directory that goes with the container although something else is mounted
/// where people keep their things: an engine gives an image's own mount point a volume without a
/// name, and who mounted HOME, or the path of another image, expects what is in it to stay.
pub fn passing_notebooks(notebooks: &Path, home: &Path) -> Option<Degradation> {
    let real = notebooks.canonicalize().ok()?;
    let volume = of(File::open(&real).ok()?)?;
    let mounts = all().into_iter().map(|mount| mount.point);
    let mut elsewhere = mounts.filter(|point| {
        let inside = |parent: &Path| point.strip_prefix(parent).map(Path::as_os_str);
        let of_people = point == home || inside(Path::new("/home")).is_ok();
        // What is in a hidden directory is some program's, and a file is no volume.
        let hidden = point
            .iter()
            .any(|name| name.as_encoded_bytes().starts_with(b"."));
        of_people && !hidden && inside(&real).is_err() && point.is_dir()
    });
    let elsewhere = elsewhere.next().filter(|_| volume.is_anonymous())?;
    let cause = format!(
        "{} is mounted, but the notebooks are in {}, a volume without a name, which goes with the \
         container",
        elsewhere.display(),
        notebooks.display()
    );
    let remedy = "mount a volume there, or name a directory of the mounted one with --notebooks, such \
                  as /home/jupyter/work";
    Some(Degradation::new(cause, remedy))
}

/// Returns what is wrong with the mounts in HOME and inside the notebooks for the user that this
/// process runs as: one that cannot be read, or inside the notebooks not written although it is
/// not mounted read-only.
pub fn unusable_mounts(notebooks: &Path, home: &Path) -> Vec<Degradation> {
    let inside: Vec<PathBuf> = below(notebooks)
        .iter()
        .map(|path| notebooks.join(path))
        .collect();
    let unread = below(home).into_iter().map(|path| home.join(path));
    let unread = unread.filter(|mount| !mount.starts_with(notebooks));
    let unread: Vec<PathBuf> = unread.filter(|mount| unreadable(mount).is_some()).collect();
    let found = inside.into_iter().chain(unread).filter_map(|mount| {
        let (verb, error, remedy) = match unreadable(&mount) {
            Some(error) => (
                "read",
                error,
                "let the server's user read it where it lives, or pass on a group that may: \
                 --group-add",
            ),
            None => match rustix::fs::access(&mount, Access::WRITE_OK) {
                Ok(()) | Err(Errno::ROFS | Errno::NOENT) => return None,
                Err(error) => (
                    "written",
                    error,
                    "mount it read-only (:ro) if it is only to be read; otherwise give it to the \
                     server's user where it lives, or pass on a group that may: --group-add",
                ),
            },
        };
        let cause = format!(
            "{} is mounted, and cannot be {verb}: {error}",
            mount.display()
        );
        Some(Degradation::new(cause, remedy))
    });
    found.collect()
}

/// Returns why a mount cannot be read.
fn unreadable(mount: &Path) -> Option<Errno> {
    let reading = match mount.is_dir() {
        true => Access::READ_OK | Access::EXEC_OK,
        false => Access::READ_OK,
    };
    let refused = rustix::fs::access(mount, reading).err();
    refused.filter(|error| *error != Errno::NOENT)
}

/// A path of mountinfo: a backslash has three octal digits after it.
fn unescaped(place: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(place.len());
    let mut rest = place;
    while let Some((byte, after)) = rest.split_first() {
        let code = after.first_chunk().filter(|_| *byte == b'\\');
        let code = code
            .and_then(|code: &[u8; 3]| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        path.push(code.unwrap_or(*byte));
        rest = &after[if code.is_some() { 3 } else { 0 }..];
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_engines_are_known_by_their_place() {
        for (root, volume) in [
            ("/var/lib/docker/volumes/nb/_data", true),
            ("/docker/volumes/nb/_data", true),
            ("/var/lib/docker/volumes/nb/_data/sub", true),
            (
                "/home/me/.local/share/containers/storage/volumes/nb/_data",
                true,
            ),
            ("/var/lib/nerdctl/1935db59/volumes/default/nb/_data", true),
            ("/", false),
            ("/home/me/work", false),
            ("/home/me/volumes/work", false),
            ("/home/me/_data", false),
            ("/volumes/_data", false),
        ] {
            let line = format!("36 35 98:0 {root} /nb rw,noatime master:1 - ext4 /dev/x rw");
            let mount = Mount::parse(line.as_bytes()).unwrap();
            assert_eq!(mount.is_volume_of_an_engine(), volume, "{root}");
            assert!(!mount.is_anonymous(), "{root}");
        }
    }

    #[test]
    fn a_volume_without_a_name_is_known_by_its_digest() {
        let root = format!("/var/lib/docker/volumes/{}/_data", "0af9".repeat(16));
        let line = format!("36 35 98:0 {root} /nb rw - ext4 /dev/x rw");
        assert!(Mount::parse(line.as_bytes()).unwrap().is_anonymous());
    }

    #[test]
    fn a_space_in_a_path_is_one() {
        let line = br"36 35 98:0 /a\040b /mnt/c\134d rw - ext4 /dev/x rw";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.root, Path::new("/a b"));
        assert_eq!(mount.point, Path::new(r"/mnt/c\d"));
    }
}
