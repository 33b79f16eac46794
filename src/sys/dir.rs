//! Directories: makes private ones, and finds out whether a file can be kept in one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatVfsMountFlags, StatxAttributes, StatxFlags, statfs, statx};
use rustix::io::Errno;

/// Makes a directory that only the user `uid` can enter, inside one that all users can write.
/// Accepts an existing one.
///
/// # Errors
/// It cannot be made, belongs to another user, or is open to others.
pub fn make_private(path: &Path, uid: u32) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let data = fs::symlink_metadata(path)?;
    match data.is_dir() && data.uid() == uid && data.mode() & 0o077 == 0 {
        true => Ok(()),
        false => Err(io::Error::other("another user made it")),
    }
}

/// Checks whether there is room for new files, once on each file system.
#[derive(Debug, Default)]
pub struct RoomChecks(RefCell<BTreeMap<u64, Option<i32>>>);

impl RoomChecks {
    /// Checks whether a small file can be kept in a directory, or in its nearest existing parent.
    ///
    /// # Errors
    /// The error of the system: no space, no quota, read-only, no permission, a broken disk.
    pub fn check(&self, directory: &Path) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        for place in directory.ancestors() {
            let device = match fs::metadata(place) {
                Ok(data) => data.dev(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let mut known = self.0.borrow_mut();
            if let Some(error) = known.get(&device) {
                return error.map_or(Ok(()), |error| Err(io::Error::from_raw_os_error(error)));
            }
            let result = check_room(place);
            match &result {
                Ok(()) => drop(known.insert(device, None)),
                Err(error) if is_of_disk(error) => drop(known.insert(device, error.raw_os_error())),
                // This error holds for this directory only.
                Err(_) => {}
            }
            return result;
        }
        Ok(())
    }
}

/// Reports whether the file system or mount at `path` is read-only.
pub fn is_read_only(path: &Path) -> bool {
    let system = rustix::fs::statvfs(path);
    system.is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Reports whether `path` is a mount point. Kernels before 5.8 do not report it; there, the rename
/// onto a mounted file fails with EBUSY.
pub fn is_mount(path: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let stat = statx(CWD, path, flags, StatxFlags::empty());
    stat.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Reports whether an error means that the disk is full or broken, or a quota is used up.
pub fn is_of_disk(error: &io::Error) -> bool {
    let disk = [Errno::NOSPC, Errno::DQUOT, Errno::IO];
    disk.iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Writes as much as Jupyter does at a start to a temporary file without a name in a directory.
fn check_room(directory: &Path) -> io::Result<()> {
    let system = rustix::fs::statvfs(directory)?;
    // Some file systems count no inodes.
    if system.f_files > 0 && system.f_favail < MIN_INODES {
        return Err(Errno::NOSPC.into());
    }
    let mut file = tempfile::tempfile_in(directory)?;
    file.write_all(&[1; 128 << 10])?;
    // Such a file system reserves blocks only when the file is synced or closed.
    match statfs(directory).is_ok_and(|system| LATE.contains(&(system.f_type as u32))) {
        true => file.sync_all(),
        false => Ok(()),
    }
}

/// The number of files that Jupyter makes at a start, with some to spare.
const MIN_INODES: u64 = 16;

/// The file systems of network mounts and of FUSE, by their numbers in `linux/magic.h`.
const LATE: [u32; 6] = [
    0x6969,      // NFS
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
    0x0102_1997, // 9p
    0x00c3_6400, // Ceph
    0x6573_5546, // FUSE
];
