//! The root phase: root hooks, the owner of the volume, the Docker socket, stdio, and the drop.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::getpid;
use tracing::{info, warn};

use crate::boot::changes::Section;
use crate::boot::context::{ServerUser, Start, timed};
use crate::boot::failure::Failure;
use crate::boot::owners::{claim_volume, hand_over_home};
use crate::boot::{account, check, notebooks};
use crate::degradation::Degradation;
use crate::group_access::{Access, grant_access};
use crate::hooks;
use crate::hooks::Variables;
use crate::identity::syscall::is_overflow_gid;
use crate::identity::{
    Account, DropError, Kernel, Linux, Root, Target, group_name, groups_of_root, hand_over_stdio,
    resolve, root_parent, split_inherited, supplementary,
};
use crate::settings::saved;
use crate::state;
use crate::state::Mode;
use crate::sys::trust;

/// Does everything that needs root, then drops root (except in the old layout).
///
/// # Errors
/// The user is unknown, a hook fails, the volume cannot be made, or root cannot be dropped.
pub fn run(start: &mut Start<'_>, root: Root) -> Result<ServerUser, Failure> {
    warn_of_surroundings(start);
    let named = check::account(start.settings).map_err(Failure::Settings)?;
    let Some(mut account) = named else {
        let account = resolve("root", None, Some(Path::new("/root")))?;
        return stay_root(start, root, account);
    };
    run_hooks(start)?;
    account::make(start, &root, &mut account)?;
    let (claimed, time) = timed(|| claim_volume(start, &root, &mut account));
    claimed?;
    let ((), more) = timed(|| hand_over_home(start, &root, &account));
    start.report.add_duration("claim", time + more);
    start.check_stop()?;
    notebooks::preview_as_root(start, &account);
    start.check_stop()?;

    let (groups, time) = timed(|| grant_socket(start, &root, &account));
    let groups = groups?;
    start.report.add_duration("access", time);
    start.check_stop()?;

    prepare_state(start, &root, &account)?;
    start.changes.make(
        Section::ACCESS,
        |effects| hand_over_stdio(&root, account.uid, account.gid, effects),
        |streams, words| words.planned_all(streams.iter().map(|name| format!("hand over {name}"))),
    );
    let target = Target {
        uid: account.uid,
        gid: account.gid,
        groups,
        new_privileges: start.settings.new_privileges,
    };
    let (dropped, degradations) = root.drop(&target, &Linux)?;
    start.report.all_degraded(degradations)?;
    start.changes.done(format_args!(
        "Switched uid/gid to {}/{}",
        account.name,
        group_name(account.gid)
    ));
    report_root_parent(start)?;
    Ok(ServerUser { account, dropped })
}

/// Warns if others than root can write the working directory or a directory of PATH. This
/// program loads nothing from there, but programs that `docker exec` starts as root may. The working
/// directory of a command is chosen on purpose, so it is not judged.
fn warn_of_surroundings(start: &Start<'_>) {
    let judged = match start.mode() {
        Mode::Command => Ok(()),
        _ => trust::root_only_directory(Path::new(".")),
    };
    if let Err(problem) = judged {
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

/// Reports a parent process that stays root, such as a wrapper: this process cannot end it.
fn report_root_parent(start: &mut Start<'_>) -> Result<(), Failure> {
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
    start.run_hooks(
        "root",
        Section::ROOT_HOOKS,
        &environment,
        hooks::run_as_root,
    )
}

/// Gives access to the Docker socket and other paths; returns the user's supplementary groups.
fn grant_socket(
    start: &mut Start<'_>,
    root: &Root,
    account: &Account,
) -> Result<Vec<u32>, Failure> {
    let (docker, etc) = (&start.settings.docker, Path::new("/etc"));
    let access = start.changes.make(
        Section::ACCESS,
        |effects| grant_access(root, account, docker, etc, effects),
        |access, words| {
            for path in &access.enabled {
                let path = path.display();
                words.say(
                    format_args!("Enabled access to {path}"),
                    format_args!("enable access to {path}"),
                );
            }
            for (user, group) in &access.withdrawn {
                words.done(format_args!(
                    "Took {user} out of group {group}, which an earlier start had added"
                ));
            }
            words.planned_all(&access.changes);
        },
    );
    let groups = supplementary_groups(start, account, access)?;
    start.changes.planned(Section::ACCESS, || {
        let names: Vec<String> = groups.iter().map(u32::to_string).collect();
        format!("supplementary groups: {}", names.join(" "))
    });
    Ok(groups)
}

/// Returns the user's supplementary groups: the account's own, those granted, and those of
/// `--group-add`. Reports those that are not passed on.
fn supplementary_groups(
    start: &mut Start<'_>,
    account: &Account,
    access: Access,
) -> Result<Vec<u32>, Failure> {
    let named = check::kept_groups(start.settings).map_err(Failure::Settings)?;
    let started_with = Linux.groups().map_err(DropError::Refused)?;
    let (passed, left_out) = split_inherited(&started_with, &groups_of_root(), &named);
    let (unmapped, passed): (Vec<u32>, Vec<u32>) =
        passed.into_iter().partition(|gid| is_overflow_gid(*gid));
    if !unmapped.is_empty() {
        start.report.degraded(Degradation::new(
            "the host's groups are not passed on to the user: they have no number in this user \
             namespace",
            "with Podman, add --userns=keep-id:uid=1000,gid=1000 to --group-add keep-groups",
        ))?;
    }
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
    let written = start.changes.make(
        Section::FILES,
        |effects| saved::write_as_root(&text, effects),
        |written, words| {
            words.planned_if(
                written.is_ok(),
                format_args!("write {}", saved::ROOT_RECORD),
            );
        },
    );
    note_record(start, written);
    let (directory, ids) = (&start.settings.state_dir, (account.uid, account.gid));
    let prepared = start.changes.make(
        Section::FILES,
        |effects| state::prepare(root, directory, ids, effects),
        |prepared, words| {
            if prepared.is_ok() {
                words.given(directory, account);
            }
        },
    );
    prepared.or_else(|error| report_state_failure(start, account, &error))
}

/// Notes whether root wrote its record of the settings. If it could not, such as in a read-only
/// container, the user writes a record, which root's verbs do not trust.
fn note_record(start: &mut Start<'_>, written: std::io::Result<()>) {
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
fn report_state_failure(
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
