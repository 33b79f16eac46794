//! Determines who can use a socket or a device: its owner, its group, or every user.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::degradation::Degradation;
use crate::identity::account::Account;
use crate::identity::syscall::is_overflow_gid;
use crate::sys::trust;

/// The result of [`examine`]: who can use a path.
#[derive(Debug, PartialEq, Eq)]
pub enum PathAccess {
    /// The Docker socket does not exist; no warning.
    Absent,
    /// By its owner or by all users: no group is needed.
    Open,
    /// By members of this group.
    ByGroup(u32),
}

/// Returns who can use a path. Follows links, as the programs that use the path will.
///
/// # Errors
/// The user cannot get access to it by a group, or it is not what it should be.
pub fn examine(path: &Path, docker: bool, account: &Account) -> Result<PathAccess, Degradation> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && docker => {
            return Ok(PathAccess::Absent);
        }
        Err(error) => {
            return Err(Degradation::new(
                format!("No access is given to {shown}: {error}"),
                format!(
                    "pass it to the container with `--device {shown}` or `-v {shown}:{shown}`, or \
                     leave it out"
                ),
            ));
        }
    }
    // A user could otherwise put a link here and keep the group of any other file.
    let real = trust::resolve_root_links(path);
    let real = real.and_then(|real| {
        let data = fs::symlink_metadata(real);
        data.map_err(|error| error.to_string())
    });
    let data = real.map_err(|problem| {
        Degradation::new(
            format!("No access is given to {shown}: {problem}"),
            "name the socket or device itself, or mount it in a directory of root's",
        )
    })?;
    if docker && !data.file_type().is_socket() {
        return Err(Degradation::new(
            format!("No access is given to {shown}: it is not a socket"),
            "mount the engine's socket there (Docker makes a directory of a path that the host \
             does not have)",
        ));
    }
    let mode = data.mode();
    let offers = |shift: u32| (mode >> shift) & 0o6 == 0o6;
    // The kernel checks only the first class that fits: owner, group, others.
    if account.uid == 0 || data.uid() == account.uid && offers(6) {
        Ok(PathAccess::Open)
    } else if data.uid() == account.uid {
        Err(Degradation::new(
            format!(
                "No rw permissions for its owner, {}, in {} {shown}.",
                account.name,
                permissions(mode)
            ),
            format!("docker run --rm -v {shown}:{shown} debian chmod u+rw {shown}"),
        ))
    } else if offers(0) && data.gid() != account.gid && !account.groups.contains(&data.gid()) {
        Ok(PathAccess::Open)
    } else if offers(3) && is_overflow_gid(data.gid()) {
        Err(Degradation::new(
            format!(
                "No access is given to {shown}: its group has no number in this user namespace"
            ),
            "map that group (/etc/subgid of a rootless engine), or mount the rootless engine's own \
             socket",
        ))
    } else if offers(3) {
        Ok(PathAccess::ByGroup(data.gid()))
    } else {
        Err(Degradation::new(
            format!(
                "No rw permissions for group in {} {shown}.",
                permissions(mode)
            ),
            format!("docker run --rm -v {shown}:{shown} debian chmod g+rw {shown}"),
        ))
    }
}

/// Returns the mode bits as `-rw-r-----`, without the file type, as the predecessor did.
fn permissions(mode: u32) -> String {
    let bits = (0..9).map(|bit| match mode & (0o400 >> bit) {
        0 => '-',
        _ => ['r', 'w', 'x'][bit % 3],
    });
    std::iter::once('-').chain(bits).collect()
}

#[cfg(test)]
#[path = "path_access_tests.rs"]
mod tests;
