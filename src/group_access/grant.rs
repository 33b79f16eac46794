//! Access by group to the Docker socket and other paths.
//!
//! The user's processes always get the path's gid. `/etc/group` gets the membership too, for a
//! later `docker exec --user`. A membership that an earlier start added and that no longer applies
//! is withdrawn. The path itself belongs to the host and is never changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::degradation::Degradation;
use crate::group_access::group_root;
use crate::group_access::membership::{RECORD, Want, apply_memberships};
use crate::group_access::path_access::{PathAccess, examine};
use crate::identity::Root;
use crate::identity::account::Account;
use crate::settings::Docker;
use crate::sys::effects::Effects;

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
    /// In a preview: the changes of the group file, for people to read.
    pub changes: Vec<String>,
    lost: BTreeSet<u32>,
}

impl Access {
    /// Returns the account's own groups without those that were withdrawn.
    pub fn own_groups(&self, account: &Account) -> Vec<u32> {
        let groups = account.groups.iter().copied();
        groups.filter(|gid| !self.lost.contains(gid)).collect()
    }
}

/// Gives `account` access to the Docker socket and the other paths. `etc`: the directory of `group`
/// and `gshadow`.
///
/// Never fails: a problem is reported as a degradation.
pub fn grant_access(
    _: &Root,
    account: &Account,
    docker: &Docker,
    etc: &Path,
    effects: Effects<'_>,
) -> Access {
    let (mut access, wants) = examine_paths(account, docker);
    if !wants.is_empty() || etc.join(RECORD).exists() {
        let (plan, failure) = apply_memberships(account, &wants, &docker.group, etc, effects);
        access.degradations.extend(plan.degradations);
        access.degradations.extend(check_group_root(&wants, etc));
        access.lost = plan.lost;
        match failure {
            None => (access.withdrawn, access.changes) = (plan.withdrawn, plan.changes),
            Some(why) => {
                let file = etc.join("group");
                let degradation = group_file_degradation(&file, &why, account);
                access.degradations.push(degradation);
            }
        }
    }
    access
}

/// Returns the degradation if a path gives the user group root, and that group can write more.
fn check_group_root(wants: &[Want], etc: &Path) -> Option<Degradation> {
    let want = wants.iter().find(|want| want.gid == 0)?;
    group_root::check(&want.path, etc.parent()?)
}

/// Finds out how each path can be used, and which memberships the group file needs for it.
fn examine_paths(account: &Account, docker: &Docker) -> (Access, Vec<Want>) {
    let mut access = Access::default();
    let mut wants = Vec::new();
    let explicit = docker.grant_access.iter().map(|path| (path, false));
    for (path, docker) in std::iter::once((&docker.socket, true)).chain(explicit) {
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
fn group_file_degradation(file: &Path, why: &str, account: &Account) -> Degradation {
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

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
