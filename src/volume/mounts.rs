//! The mounts of this container: the mount that a directory is on, and the mounts below it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::sys::dir::is_read_only;
use crate::sys::proc;

/// One line of mountinfo (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    id: u64,
    /// Major and minor number of the file system.
    device: Vec<u8>,
    /// The directory of the file system that is mounted.
    pub root: PathBuf,
    /// The mount point.
    pub point: PathBuf,
    /// True if layers of an image lie under it (overlayfs or fuse-overlayfs).
    overlay: bool,
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let device = fields.nth(1)?.to_vec();
        let root = decode_path(fields.next()?);
        let point = decode_path(fields.next()?);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        Some(Self {
            id,
            device,
            root,
            point,
            overlay: kind.starts_with(b"overlay") || kind == b"fuse.fuse-overlayfs",
        })
    }

    /// Reports whether this is a volume of the container engine, named or anonymous: Docker and
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

    /// Reports whether what is on this mount is lost with the container: the container's own file
    /// system, or a volume that the engine makes where the image declares one, whose name is a
    /// digest. Kubernetes' containerd mounts `…/containers/ID/volumes/DIGEST`.
    fn ends_with_container(&self) -> bool {
        let mut names = self.root.iter().rev();
        let of_containerd = || {
            let name = names
                .next()
                .filter(|_| names.next() == Some("volumes".as_ref()));
            name.filter(|_| names.nth(1) == Some("containers".as_ref()))
        };
        let name = self.volume_name().or_else(of_containerd);
        let is_digest = |name: &OsStr| {
            name.len() == 64 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
        };
        self.overlay || name.is_some_and(is_digest)
    }
}

/// The mounts of this container.
pub(super) struct Mounts(Vec<Mount>);

impl Mounts {
    /// Reads mountinfo.
    pub fn read() -> Self {
        let table = proc::read("thread-self", "mountinfo").unwrap_or_default();
        let lines = table.split(|byte| *byte == b'\n');
        Self(lines.filter_map(Mount::parse).collect())
    }

    /// Returns the mount points.
    pub fn points(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|mount| mount.point.as_path())
    }

    /// Returns the mount that an open file is on.
    pub fn of(&self, file: impl AsFd) -> Option<&Mount> {
        let info = proc::text("self", &format!("fdinfo/{}", file.as_fd().as_raw_fd()))?;
        let mut lines = info.lines();
        let id = lines.find_map(|line| line.strip_prefix("mnt_id:"))?;
        let id: u64 = id.trim().parse().ok()?;
        self.0.iter().find(|mount| mount.id == id)
    }

    /// Reports whether a mount is of the host's root file system: of one that has `/var/lib`, where
    /// engines keep the files that they mount. `/srv` of another disk is anything.
    pub fn is_of_hosts_root(&self, mount: &Mount) -> bool {
        let of_engine = |other: &&Mount| other.root.starts_with("/var/lib");
        let mut of_root = self.0.iter().filter(of_engine);
        of_root.any(|other| other.device == mount.device)
    }

    /// Returns the mount points below a directory, relative to it.
    pub fn below(&self, directory: &Path) -> BTreeSet<PathBuf> {
        let real = directory.canonicalize();
        let top = real.as_deref().unwrap_or(directory);
        let below = self
            .points()
            .filter_map(|point| point.strip_prefix(top).ok());
        let below = below.filter(|path| *path != Path::new(""));
        below.map(Path::to_owned).collect()
    }
}

/// Reports whether a directory, which may be absent, is in a volume of the engine's.
pub fn is_in_volume(directory: &Path) -> bool {
    let mounts = Mounts::read();
    let above = mounts
        .0
        .iter()
        .filter(|mount| directory.starts_with(&mount.point));
    let nearest = above.max_by_key(|mount| mount.point.iter().count());
    nearest.is_some_and(Mount::is_volume_of_an_engine)
}

/// The directories where programs, not people, mount something.
pub(super) const OF_THE_SYSTEM: [&str; 12] = [
    "/boot", "/dev", "/etc", "/home", "/lib", "/opt", "/proc", "/run", "/sys", "/tmp", "/usr",
    "/var",
];

/// Reports a directory of notebooks that is lost with the container while something else is mounted at
/// HOME, below /home or, for a server, writable at a place of the user's own. An engine makes a volume
/// without a name for an image's own mount point, but a user who mounted HOME, another image's path or
/// `/work` expects what is in the lab to stay. `option` names the directory.
pub fn lost_with_container(
    notebooks: &Path,
    home: &Path,
    of_server: bool,
    option: &str,
) -> Option<Degradation> {
    let mounts = Mounts::read();
    let volume = mounts.of(File::open(notebooks).ok()?)?;
    if !volume.ends_with_container() {
        return None;
    }
    let real = notebooks.canonicalize().ok()?;
    let mut elsewhere = mounts.points().filter(|point| {
        let of_people = *point == home || is_of_people(point, of_server);
        of_people && !point.starts_with(&real) && point.is_dir()
    });
    let what = match volume.overlay {
        true => "the container's own file system, which goes with it",
        false => "a volume without a name, which goes with the container",
    };
    let elsewhere = elsewhere.next()?;
    let cause = format!(
        "{} is mounted, but the notebooks are in {}, {what}",
        elsewhere.display(),
        notebooks.display()
    );
    let inside = match elsewhere == home {
        true => home.join("work"),
        false => elsewhere.to_owned(),
    };
    let remedy = format!(
        "mount a volume there, or name a directory of the mounted one with {option}, such as {}",
        inside.display()
    );
    Some(Degradation::new(cause, remedy))
}

/// Reports whether a mount point is one of people's that they write to: below /home or, if
/// `also_elsewhere`, one such as `/work`.
fn is_of_people(point: &Path, also_elsewhere: bool) -> bool {
    // A hidden directory belongs to a program.
    let hidden = (point.iter()).any(|name| name.as_encoded_bytes().starts_with(b"."));
    let in_home = point != Path::new("/home") && point.starts_with("/home");
    let of_the_system = || OF_THE_SYSTEM.iter().any(|top| point.starts_with(top));
    let elsewhere = || also_elsewhere && point != Path::new("/") && !of_the_system();
    // People save nothing in a read-only mount.
    !hidden && (in_home || elsewhere()) && !is_read_only(point)
}

/// Reports, for the user that this process runs as, mounts in HOME and inside the notebooks that cannot
/// be read, and those inside the notebooks that cannot be written although they are not mounted
/// read-only.
pub fn unusable_mounts(notebooks: &Path, home: &Path) -> Vec<Degradation> {
    let mounts = Mounts::read();
    let at = |top: &Path| -> Vec<PathBuf> {
        let below = mounts.below(top);
        below.iter().map(|path| top.join(path)).collect()
    };
    let mut wrong = Vec::new();
    for mount in at(notebooks) {
        wrong.extend(unreadable(&mount).or_else(|| unwritable(&mount)));
    }
    let outside = at(home).into_iter();
    let outside = outside.filter(|mount| !mount.starts_with(notebooks));
    wrong.extend(outside.filter_map(|mount| unreadable(&mount)));
    wrong
}

fn unreadable(mount: &Path) -> Option<Degradation> {
    let reading = match mount.is_dir() {
        true => Access::READ_OK | Access::EXEC_OK,
        false => Access::READ_OK,
    };
    let error = rustix::fs::access(mount, reading).err()?;
    let remedy = "let the server's user read it on the host, or add a group that can with \
                  --group-add";
    (error != Errno::NOENT).then(|| refused(mount, "read", error, remedy))
}

fn unwritable(mount: &Path) -> Option<Degradation> {
    let error = rustix::fs::access(mount, Access::WRITE_OK).err()?;
    let remedy = "mount it read-only (:ro) if it is only to be read; otherwise give it to the \
                  server's user on the host, or add a group that can write it with --group-add";
    // access(2) reports missing rights before it looks whether a mount is read-only.
    let fine = error == Errno::NOENT || is_read_only(mount);
    (!fine).then(|| refused(mount, "written", error, remedy))
}

fn refused(mount: &Path, verb: &str, error: Errno, remedy: &str) -> Degradation {
    let mount = mount.display();
    Degradation::new(
        format!("{mount} is mounted, and cannot be {verb}: {error}"),
        remedy,
    )
}

/// Decodes a path of mountinfo, where a backslash is followed by three octal digits.
fn decode_path(place: &[u8]) -> PathBuf {
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
            assert!(!mount.ends_with_container(), "{root}");
        }
    }

    #[test]
    fn a_volume_without_a_name_is_known_by_its_digest() {
        let digest = "0af9".repeat(16);
        for root in [
            format!("/var/lib/docker/volumes/{digest}/_data"),
            format!("/io.containerd.grpc.v1.cri/containers/{digest}/volumes/{digest}"),
        ] {
            let line = format!("36 35 98:0 {root} /nb rw - ext4 /dev/x rw");
            assert!(
                Mount::parse(line.as_bytes()).unwrap().ends_with_container(),
                "{root}"
            );
        }
    }

    #[test]
    fn a_space_in_a_path_is_one() {
        let line = br"36 35 98:0 /a\040b /mnt/c\134d rw - ext4 /dev/x rw";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.root, Path::new("/a b"));
        assert_eq!(mount.point, Path::new(r"/mnt/c\d"));
    }
}
