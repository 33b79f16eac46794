//! The root phase: root hooks, the owner of the volume, the Docker socket, stdio, and the drop.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::getpid;
use tracing::{info, warn};

use crate::boot::{Failure, ServerUser, Start, account, check, report, timed};
use crate::degradation::Degradation;
use crate::group_access::{Access, AccessRequest, grant_access};
use crate::hooks;
use crate::hooks::Variables;
use crate::identity::{
    Account, Linux, Root, Target, group_name, groups_of_root, hand_over_stdio, inherited_groups,
    known_user, resolve, root_parent, split_inherited, supplementary,
};
use crate::settings::{VolumeOwner, saved};
use crate::state;
use crate::sys::trust;
use crate::volume::{
    Claim, Claimed, HandOver, claim, hand_over_directories, hand_over_mounts, hand_over_volumes,
    is_anothers_mount, is_ordinary,
};

/// Does everything that needs root, then drops root (except in the old layout).
///
/// # Errors
/// The user is unknown, a hook fails, the volume cannot be made, or root cannot be dropped.
pub fn run(start: &mut Start<'_>, root: Root) -> Result<ServerUser, Failure> {
    warn_of_surroundings();
    let named = check::account(start.settings).map_err(Failure::Settings)?;
    let Some(mut account) = named else {
        let account = resolve("root", None, Some(Path::new("/root")))?;
        return stay_root(start, root, account);
    };
    run_hooks(start)?;
    account::make(start, &root, &mut account)?;
    let (claimed, time) = timed(|| claim_volume(start, &root, &mut account));
    claimed?;
    let (handed, more) = timed(|| hand_over_home(start, &root, &account, true));
    log_handed_over(&account, &handed);
    start.report.add_duration("claim", time + more);
    start.check_stop()?;

    let (groups, time) = timed(|| grant_socket(start, &root, &account));
    let groups = groups?;
    start.report.add_duration("access", time);
    start.check_stop()?;

    prepare_state(start, &root, &account)?;
    hand_over_stdio(&root, account.uid, account.gid);
    let target = Target {
        uid: account.uid,
        gid: account.gid,
        groups,
        new_privileges: start.settings.new_privileges,
    };
    let (dropped, degradations) = root.drop(&target, &Linux)?;
    start.report.all_degraded(degradations)?;
    info!(
        "Switched uid/gid to {}/{}",
        account.name,
        group_name(account.gid)
    );
    report_root_parent(start)?;
    Ok(ServerUser { account, dropped })
}

/// Warns if others than root can write the working directory or a directory of PATH. This
/// program loads nothing from there, but programs that `docker exec` starts as root may.
fn warn_of_surroundings() {
    if let Err(problem) = trust::root_only_directory(Path::new(".")) {
        warn!(
            "the container works in a directory of others: {problem}, and `docker exec` starts \
             root's programs there (remedy: `WORKDIR /` in the image, or `docker run --workdir /`)"
        );
    }
    for directory in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        let judged = match directory.is_absolute() {
            true => trust::root_only_path(&directory),
            false => Err("an element of it is not an absolute path".into()),
        };
        if let Err(problem) = judged {
            return warn!(
                "the container's PATH is not root's alone: {problem}, and `docker exec` looks there \
                 for root's programs (remedy: leave the venv out of `ENV PATH`; the server gets \
                 it anyway)"
            );
        }
    }
}

/// Reports a parent process that stays root, such as a wrapper: it is not ours to end.
pub(super) fn report_root_parent(start: &mut Start<'_>) -> Result<(), Failure> {
    let Some(process) = root_parent() else {
        return Ok(());
    };
    let told = format!("{process} remains a parent process of this one, as root");
    start.report.degraded(Degradation::note(told))
}

/// Keeps root: the old layout under /root, where no user is named.
fn stay_root(start: &mut Start<'_>, root: Root, account: Account) -> Result<ServerUser, Failure> {
    run_hooks(start)?;
    prepare_state(start, &root, &account)?;
    let (dropped, degradations) = root.stay(start.settings.new_privileges, &Linux)?;
    start.report.all_degraded(degradations)?;
    Ok(ServerUser { account, dropped })
}

fn run_hooks(start: &mut Start<'_>) -> Result<(), Failure> {
    let named = &start.settings.hooks.environment;
    let environment = |written: &Variables| {
        hooks::environment::of_root(std::env::vars_os().chain(written.iter().cloned()), named)
    };
    start.run_hooks("root", &environment, hooks::run_as_root)
}

fn claim_volume(start: &mut Start<'_>, root: &Root, account: &mut Account) -> Result<(), Failure> {
    let Some(directory) = &start.settings.notebooks.directory else {
        return Ok(());
    };
    if account::is_in_persons_home(start, directory) {
        return Ok(());
    }
    let policy = policy(start, root, account)?;
    let request = Claim {
        directory: directory.clone(),
        policy,
        uid: account.uid,
        gid: account.gid,
    };
    let claimed = claim(
        root,
        &request,
        &|| start.stop_requested(),
        &mut report::progress("looking at the owners of the notebooks"),
    );
    start.check_stop()?;
    let claimed = claimed?;
    let volume = directory.display();
    if let Some((uid, gid)) = claimed.adopted {
        info!("Adopted the owner of {volume}: {uid}:{gid}");
        adopt(start, root, account, uid, gid)?;
    } else if claimed.checked > 0 && !claimed.ignored {
        let owner = format!("{}:{}", account.name, group_name(account.gid));
        info!("Did chown -R {owner} {volume}");
        log_former_owners(&claimed);
    }
    if policy != VolumeOwner::Keep {
        let handed = hand_over_mounts(root, &hand(directory, account, true));
        log_handed_over(account, &handed);
    }
    start.report.all_degraded(claimed.degradations)
}

/// Logs the former owners of files that changed hands, who may miss them.
fn log_former_owners(claimed: &Claimed) {
    let (changed, checked) = (claimed.changed, claimed.checked);
    let owners = claimed.former.iter();
    let owners: Vec<String> = owners
        .map(|(uid, count)| format!("{count} of uid {uid}"))
        .collect();
    let owners = owners.join(", ");
    if claimed.former.keys().any(|uid| is_ordinary(*uid)) {
        info!(
            "{changed} of {checked} entries changed hands: {owners} (--volume-owner adopt leaves \
             files with their owner)"
        );
    } else {
        tracing::debug!("{changed} of {checked} entries changed hands: {owners}");
    }
}

/// Returns the policy for the owners of the notebooks. If the notebooks directory holds HOME
/// and is in the image's own file system, the image has chosen the owners: root's files there,
/// such as the venv and the compat image's script, stay root's.
pub(super) fn policy(
    start: &mut Start<'_>,
    root: &Root,
    account: &Account,
) -> Result<VolumeOwner, Failure> {
    let policy = start.settings.notebooks.owner;
    if account::is_new(start) && policy == VolumeOwner::Auto {
        let directory = start.settings.notebooks.directory.as_deref();
        // The operator asked for these ids, so the owner of a mount is not adopted.
        if directory.is_some_and(|directory| is_anothers_mount(root, directory, account.uid)) {
            return Ok(VolumeOwner::Keep);
        }
    }
    let directory = start.settings.notebooks.directory.as_deref();
    let device = |path: &Path| std::fs::metadata(path).map(|data| data.dev()).ok();
    let of_the_image = |path: &&Path| {
        let real = std::fs::canonicalize(path);
        let holds_home =
            real.is_ok_and(|real| real != Path::new("/") && account.home.starts_with(real));
        holds_home && device(path) == device(Path::new("/"))
    };
    match directory.filter(of_the_image) {
        Some(directory) if matches!(policy, VolumeOwner::Auto | VolumeOwner::Chown) => {
            let cause = format!(
                "the notebooks directory {} holds HOME: the owners in it stay as they are",
                directory.display()
            );
            let remedy = "mount a volume there, or name a directory below HOME with --notebooks";
            start.report.degraded(Degradation::new(cause, remedy))?;
            Ok(VolumeOwner::Keep)
        }
        _ => Ok(policy),
    }
}

/// Hands over what is root's in HOME and is to be the user's; returns it. In a person's home these
/// are fresh volumes alone. `change` false: only lists.
pub(super) fn hand_over_home(
    start: &Start<'_>,
    root: &Root,
    account: &Account,
    change: bool,
) -> Vec<PathBuf> {
    let hand = hand(&account.home, account, change);
    match account::is_persons_home(start) {
        true => hand_over_volumes(root, &hand),
        false => hand_over_directories(root, &hand),
    }
}

pub(super) fn hand<'a>(directory: &'a Path, account: &Account, change: bool) -> HandOver<'a> {
    HandOver {
        directory,
        uid: account.uid,
        gid: account.gid,
        change,
    }
}

fn log_handed_over(account: &Account, paths: &[PathBuf]) {
    let paths = paths.iter().map(|path| path.display().to_string());
    let paths: Vec<String> = paths.collect();
    if !paths.is_empty() {
        info!("Handed over to {}: {}", account.name, paths.join(", "));
    }
}

/// Makes the volume's owner the server's account, and hands HOME's state directories to it. The
/// account keeps the user's HOME and also the user's group, for which the venv is writable.
fn adopt(
    start: &mut Start<'_>,
    root: &Root,
    account: &mut Account,
    uid: u32,
    gid: u32,
) -> Result<(), Failure> {
    report_known_owner(start, account, uid)?;
    if let Some(named) = account::adopt_ids(account, uid, gid) {
        account::enter(root, account, named);
    }
    account::claim_home(start, root, account)
}

/// Reports an adopted owner who is another user here: the server then has that user's files, too.
pub(super) fn report_known_owner(
    start: &mut Start<'_>,
    account: &Account,
    uid: u32,
) -> Result<(), Failure> {
    let Some(name) = known_user(uid).filter(|_| uid != account.uid) else {
        return Ok(());
    };
    let owner = format!("the owner of the notebooks, uid {uid}");
    let remedy = "give the directory to another uid on the host, or use --volume-owner chown";
    start
        .report
        .degraded(account::is_another(&owner, &name, remedy))
}

/// Returns the paths that the user is to get access to.
pub(super) fn access_request(start: &Start<'_>) -> AccessRequest {
    let docker = &start.settings.docker;
    AccessRequest {
        socket: docker.socket.clone(),
        paths: docker.grant_access.clone(),
        docker_group: docker.group.clone(),
        etc: "/etc".into(),
    }
}

/// Gives access to the Docker socket and other paths; returns the user's supplementary groups.
fn grant_socket(
    start: &mut Start<'_>,
    root: &Root,
    account: &Account,
) -> Result<Vec<u32>, Failure> {
    let access = grant_access(root, account, &access_request(start));
    for path in &access.enabled {
        info!("Enabled access to {}", path.display());
    }
    for (user, group) in &access.withdrawn {
        info!("Took {user} out of group {group}, which an earlier start had added");
    }
    supplementary_groups(start, account, access)
}

/// Returns the user's supplementary groups: the account's own, those granted, and those of
/// `--group-add`. Reports those that are not passed on.
pub(super) fn supplementary_groups(
    start: &mut Start<'_>,
    account: &Account,
    access: Access,
) -> Result<Vec<u32>, Failure> {
    let named = check::kept_groups(start.settings).map_err(Failure::Settings)?;
    let (passed, left_out) = split_inherited(&inherited_groups(&Linux)?, &groups_of_root(), &named);
    let groups = supplementary(&access.own_groups(account), &access.gids, &passed);
    start.report.all_degraded(access.degradations)?;
    let missed = |gid: &u32| ![0, account.gid].contains(gid) && !groups.contains(gid);
    let missed = left_out.into_iter().filter(missed);
    let missed: Vec<String> = missed
        .map(|gid| format!("{} ({gid})", group_name(gid)))
        .collect();
    if !missed.is_empty() {
        start.report.degraded(Degradation::new(
            format!(
                "Groups not passed on to the user: {}; the image's /etc/group gives them to root, \
                 and the same of --group-add cannot be told from that",
                missed.join(", ")
            ),
            "keep one with --keep-group NAME, or take root out of it in the image with \
             `gpasswd --delete root NAME`",
        ))?;
    }
    Ok(groups)
}

fn prepare_state(start: &mut Start<'_>, root: &Root, account: &Account) -> Result<(), Failure> {
    let text = saved::record_text(start.settings, &state::supervisor_id(getpid()));
    note_record(start, saved::write_as_root(&text));
    let directory = &start.settings.state_dir;
    match state::prepare(root, directory, account.uid, account.gid) {
        Ok(()) => Ok(()),
        Err(error) => report_state_failure(start, account, &error),
    }
}

/// Notes whether root wrote its record of the settings. If it could not, such as in a read-only
/// container, the user writes a record, which root's verbs do not trust.
pub(super) fn note_record(start: &mut Start<'_>, written: std::io::Result<()>) {
    start.recorded = written.is_ok();
    if let Err(error) = written {
        info!(
            "the settings are not kept in {}: {error}; verbs that run as root will know those of \
             the environment and the settings file alone",
            saved::ROOT_RECORD
        );
    }
}

/// Reports that the state directory could not be made or handed over.
pub(super) fn report_state_failure(
    start: &mut Start<'_>,
    account: &Account,
    error: &std::io::Error,
) -> Result<(), Failure> {
    // If the root file system is read-only, another directory is found after the drop.
    if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem {
        return Ok(());
    }
    let directory = &start.settings.state_dir;
    let degradation = Degradation::new(
        format!(
            "{} cannot be given to {}: {error}; the state is kept in /dev/shm or /tmp",
            directory.display(),
            account.name
        ),
        "name a directory of its own with --state-dir; run with --cap-add CHOWN",
    );
    match is_obstructed_by_another(directory) {
        true => start.report.degraded_by_user(degradation),
        false => start.report.degraded(degradation)?,
    }
    Ok(())
}

/// Reports whether a file or link of another user than root stands where a directory should be.
/// If so, the failure must not be fatal: the user could end every later start with it.
fn is_obstructed_by_another(directory: &Path) -> bool {
    let places = directory.ancestors();
    let mut found = places.filter_map(|place| std::fs::symlink_metadata(place).ok());
    found.any(|data| !data.is_dir() && data.uid() != 0)
}
