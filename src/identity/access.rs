//! Access to the Docker socket and other paths, by group.
//!
//! The process gets a path's gid in any case; `/etc/group` gets the membership too,
//! for a later `docker exec --user`. What an earlier start added and no longer
//! applies is withdrawn. The path itself belongs to the host and is never changed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::Root;
use super::account::Account;
use super::kernel::stands_for_another;
use super::membership::{RECORD, Want, foresee, settle};
use crate::degradation::Degradation;
use crate::sys::trust;

/// What to give access to.
#[derive(Debug, Clone)]
pub struct AccessRequest {
    /// The Docker socket; nobody minds if it is absent.
    pub socket: PathBuf,
    /// Paths asked for with `--grant-access`.
    pub paths: Vec<PathBuf>,
    /// The group that gets the socket's gid if no group has it.
    pub docker_group: String,
    /// Where `group` and `gshadow` are: `/etc`.
    pub etc: PathBuf,
}

/// What was granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Groups that the user's processes need.
    pub gids: Vec<u32>,
    /// Paths the user can use now: `Enabled access to PATH`.
    pub enabled: Vec<PathBuf>,
    /// What could not be done as asked, or has a meaning one should know.
    pub degradations: Vec<Degradation>,
    /// Groups that the user was taken out of.
    pub withdrawn: Vec<(String, String)>,
    lost: BTreeSet<u32>,
}

impl Access {
    /// The account's own groups, without those that were withdrawn.
    pub fn own_groups(&self, account: &Account) -> Vec<u32> {
        let groups = account.groups.iter().copied();
        groups.filter(|gid| !self.lost.contains(gid)).collect()
    }
}

/// Gives `account` access to the paths of `request`.
///
/// Nothing here ends a start: what cannot be done is among the degradations.
pub fn grant_access(_: &Root, account: &Account, request: &AccessRequest) -> Access {
    let (mut access, wants) = look(account, request);
    if !wants.is_empty() || request.etc.join(RECORD).exists() {
        let (plan, failure) = settle(account, &wants, &request.docker_group, &request.etc);
        access.degradations.extend(plan.degradations);
        access.lost = plan.lost;
        match failure {
            None => access.withdrawn = plan.withdrawn,
            Some(why) => access.degradations.push(unchanged(why, account, request)),
        }
    }
    access
}

/// What [`grant_access`] would do, with the lines of the group file that it would
/// change.
pub fn foresee_access(account: &Account, request: &AccessRequest) -> (Access, Vec<String>) {
    let (mut access, wants) = look(account, request);
    let (plan, changes) = foresee(account, &wants, &request.docker_group, &request.etc);
    access.degradations.extend(plan.degradations);
    access.lost = plan.lost;
    match changes {
        Ok(changes) => {
            access.withdrawn = plan.withdrawn;
            (access, changes)
        }
        Err(why) => {
            access.degradations.push(unchanged(why, account, request));
            (access, Vec::new())
        }
    }
}

/// How each path can be used, and what that needs of the group file.
fn look(account: &Account, request: &AccessRequest) -> (Access, Vec<Want>) {
    let mut access = Access::default();
    let mut wants = Vec::new();
    let explicit = request.paths.iter().map(|path| (path, false));
    for (path, docker) in std::iter::once((&request.socket, true)).chain(explicit) {
        match examine(path, docker, account) {
            Ok(Found::Absent) => continue,
            Ok(Found::Open) => {}
            Ok(Found::ByGroup(gid)) => {
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

/// The degradation for a group file that could not be changed.
fn unchanged(why: String, account: &Account, request: &AccessRequest) -> Degradation {
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
enum Found {
    /// Not there, and nobody minds.
    Absent,
    /// By owner or by everyone: no group is needed.
    Open,
    /// By members of this group.
    ByGroup(u32),
}

/// What kind of access a path offers; links are followed, as its users will.
fn examine(path: &Path, docker: bool, account: &Account) -> Result<Found, Degradation> {
    let shown = path.display();
    let data = match fs::metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound && docker => {
            return Ok(Found::Absent);
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
    // Its group is given for good: a link of the user's could lead to any other file.
    if let Err(problem) = trust::followed_by_root(path) {
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
    // The kernel looks at the first class that fits, and at no other.
    if account.uid == 0 || data.uid() == account.uid && offers(6) {
        Ok(Found::Open)
    } else if offers(3) && stands_for_another(data.gid()) {
        Err(Degradation::new(
            format!(
                "No access is given to {shown}: its group has no number in this user namespace"
            ),
            "map that group (/etc/subgid of a rootless engine), or mount the rootless engine's own \
             socket",
        ))
    } else if offers(3) {
        Ok(Found::ByGroup(data.gid()))
    } else if offers(0) && data.gid() != account.gid && !account.groups.contains(&data.gid()) {
        Ok(Found::Open)
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

/// `-rw-r-----`: the permissions as the predecessor showed them, whatever the type.
fn permissions(mode: u32) -> String {
    let bits = (0..9).map(|bit| match mode & (0o400 >> bit) {
        0 => '-',
        _ => ['r', 'w', 'x'][bit % 3],
    });
    std::iter::once('-').chain(bits).collect()
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
