//! Access by group to the Docker socket and other paths.
//!
//! The user's processes always get the path's gid. `/etc/group` gets the membership too, for a
//! later `docker exec --user`. A membership that an earlier start added and that no longer applies
//! is withdrawn. The path itself belongs to the host and is never changed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::degradation::Degradation;
use crate::group_access::group_root;
use crate::group_access::membership::{RECORD, Want, apply_memberships, preview_memberships};
use crate::identity::Root;
use crate::identity::account::Account;
use crate::identity::syscall::is_overflow_gid;
use crate::sys::trust;

/// The paths to give access to.
#[derive(Debug, Clone)]
pub struct AccessRequest {
    /// The Docker socket; no warning if it does not exist.
    pub socket: PathBuf,
    /// Paths named with `--grant-access`.
    pub paths: Vec<PathBuf>,
    /// Name of the group that gets the socket's gid if no group has it.
    pub docker_group: String,
    /// Directory of `group` and `gshadow`: `/etc`.
    pub etc: PathBuf,
}

/// The access that was granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Gids that the user's processes need for the paths; sorted.
    pub gids: Vec<u32>,
    /// Paths that the user can use now, for the log line `Enabled access to PATH`.
    pub enabled: Vec<PathBuf>,
    /// Requests that could not be met, and grants with side effects.
    pub degradations: Vec<Degradation>,
    /// Users and the groups that they were taken out of: this user, or one of an earlier start.
    pub withdrawn: Vec<(String, String)>,
    lost: BTreeSet<u32>,
}

impl Access {
    /// Returns the account's own groups without those that were withdrawn.
    pub fn own_groups(&self, account: &Account) -> Vec<u32> {
        let groups = account.groups.iter().copied();
        groups.filter(|gid| !self.lost.contains(gid)).collect()
    }
}

/// Gives `account` access to the paths of `request`.
///
/// Never fails: a problem is reported as a degradation.
pub fn grant_access(_: &Root, account: &Account, request: &AccessRequest) -> Access {
    let (mut access, wants) = examine_paths(account, request);
    if !wants.is_empty() || request.etc.join(RECORD).exists() {
        let (plan, failure) =
            apply_memberships(account, &wants, &request.docker_group, &request.etc);
        access.degradations.extend(plan.degradations);
        access
            .degradations
            .extend(check_group_root(&wants, request));
        access.lost = plan.lost;
        match failure {
            None => access.withdrawn = plan.withdrawn,
            Some(why) => access
                .degradations
                .push(group_file_degradation(why, account, request)),
        }
    }
    access
}

/// Returns what [`grant_access`] would do, and the lines of the group file that it would change.
pub fn preview_access(account: &Account, request: &AccessRequest) -> (Access, Vec<String>) {
    let (mut access, wants) = examine_paths(account, request);
    let (plan, changes) = preview_memberships(account, &wants, &request.docker_group, &request.etc);
    access.degradations.extend(plan.degradations);
    access
        .degradations
        .extend(check_group_root(&wants, request));
    access.lost = plan.lost;
    match changes {
        Ok(changes) => {
            access.withdrawn = plan.withdrawn;
            (access, changes)
        }
        Err(why) => {
            access
                .degradations
                .push(group_file_degradation(why, account, request));
            (access, Vec::new())
        }
    }
}

/// Returns the degradation if a path gives the user group root, and that group can write more.
fn check_group_root(wants: &[Want], request: &AccessRequest) -> Option<Degradation> {
    let want = wants.iter().find(|want| want.gid == 0)?;
    group_root::check(&want.path, request.etc.parent()?)
}

/// Finds out how each path can be used, and which memberships the group file needs for it.
fn examine_paths(account: &Account, request: &AccessRequest) -> (Access, Vec<Want>) {
    let mut access = Access::default();
    let mut wants = Vec::new();
    let explicit = request.paths.iter().map(|path| (path, false));
    for (path, docker) in std::iter::once((&request.socket, true)).chain(explicit) {
        match examine(path, docker, account) {
            Ok(PathAccess::Absent) => continue,
            Ok(PathAccess::Open) => {}
            Ok(PathAccess::ByGroup(gid)) => {
                access.gids.push(gid);
                let path = path.clone();
                wants.push(Want { path, gid, docker });
            }
            Err(degradation) => {
                access.degradations.push(degradation);
                continue;
            }
        }
        access.enabled.push(path.clone());
    }
    access.gids.sort_unstable();
    access.gids.dedup();
    (access, wants)
}

/// Returns the degradation for a group file that could not be changed.
fn group_file_degradation(why: String, account: &Account, request: &AccessRequest) -> Degradation {
    let file = request.etc.join("group");
    Degradation::new(
        format!(
            "{} is not changed ({why}): the groups of this start's processes are right, those of \
             `docker exec --user {}` are not",
            file.display(),
            account.name
        ),
        format!(
            "let {} be a writable part of the container, and root have CAP_CHOWN there; if only \
             its lock was held, start again",
            file.display()
        ),
    )
}

/// How a path can be used.
#[derive(Debug, PartialEq, Eq)]
enum PathAccess {
    /// The Docker socket does not exist; no warning.
    Absent,
    /// By its owner or by all users: no group is needed.
    Open,
    /// By members of this group.
    ByGroup(u32),
}

/// Returns how a path can be used. Follows links, as the programs that use the path will.
fn examine(path: &Path, docker: bool, account: &Account) -> Result<PathAccess, Degradation> {
    let shown = path.display();
    let data = match fs::metadata(path) {
        Ok(data) => data,
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
    };
    // A user could otherwise put a link here and keep the group of any other file.
    if let Err(problem) = trust::resolve_root_links(path) {
        return Err(Degradation::new(
            format!("No access is given to {shown}: {problem}"),
            "name the socket or device itself, or mount it in a directory of root's",
        ));
    }
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
    } else if offers(0) && data.gid() != account.gid && !account.groups.contains(&data.gid()) {
        Ok(PathAccess::Open)
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
#[path = "grant_tests.rs"]
mod tests;
