//! The owners of the notebooks volume and of HOME, set as root.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tracing::{info, warn};

use crate::boot::account;
use crate::boot::changes::{Section, Words};
use crate::boot::context::Start;
use crate::boot::failure::Failure;
use crate::boot::progress::progress;
use crate::degradation::Degradation;
use crate::identity::{Account, Root, group_name, known_user};
use crate::settings::VolumeOwner;
use crate::sys::effects::Effects;
use crate::sys::proc;
use crate::volume::{
    Claim, Claimed, HandOver, VolumeError, claim, hand_over_directories, hand_over_mounts,
    hand_over_volumes, is_anothers_mount, is_on_hosts_mount, is_ordinary,
};

/// Sets the owner of the volume. An adopted owner becomes the server's account.
///
/// # Errors
/// The volume cannot be opened or made; under `--warning-as-error` any degradation.
pub(super) fn claim_volume(
    start: &mut Start<'_>,
    root: &Root,
    account: &mut Account,
) -> Result<(), Failure> {
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
    let stop = start.stop();
    let claimed = start.changes.make(
        Section::OWNERS,
        |effects| {
            let mut progress = progress("looking at the owners of the notebooks");
            claim(root, &request, effects, &stop, &mut progress)
        },
        |claimed, words| {
            if let Ok(claimed) = claimed {
                say_claimed(&request, &account.name, claimed, words);
                if claimed.former.contains_key(&0)
                    && is_rootless()
                    && is_on_hosts_mount(root, directory)
                {
                    warn_of_lost_owner(directory, words);
                }
            }
        },
    );
    start.check_stop()?;
    let claimed = match claimed {
        // The user phase goes on with what the user can open, and reports a file in the way.
        Err(error) if policy != VolumeOwner::Adopt && error.is_caused_by(account.uid) => {
            if let VolumeError::Link { .. } = error {
                let told = Degradation::note(error.to_string());
                start.report.degraded_by_user(told);
            }
            return Ok(());
        }
        claimed => claimed?,
    };
    if let Some((uid, gid)) = claimed.adopted {
        adopt(start, root, account, uid, gid)?;
    }
    if policy != VolumeOwner::Keep {
        start.changes.make(
            Section::OWNERS,
            |effects| hand_over_mounts(root, &hand(directory, None, account, effects)),
            |handed, words| words.handed_over(&account.name, handed),
        );
    }
    start.report.all_degraded(claimed.degradations)
}

fn say_claimed(request: &Claim, user: &str, claimed: &Claimed, words: &mut Words<'_>) {
    let volume = request.directory.display();
    words.claimed(request, user, claimed);
    if let Some((uid, gid)) = claimed.adopted {
        words.say(
            format_args!("Adopted the owner of {volume}: {uid}:{gid}"),
            format_args!("adopt the owner of {volume}: {uid}:{gid}"),
        );
    } else if words.is_made() && claimed.checked > 0 && !claimed.ignored {
        info!("Did chown -R {user}:{} {volume}", group_name(request.gid));
        log_former_owners(claimed);
    }
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

/// Warns that a person's own directory changes its owner on the host: under a rootless engine, root
/// is that person.
fn warn_of_lost_owner(directory: &Path, words: &Words<'_>) {
    if words.is_made() {
        warn!(
            "on the host, {} and its files no longer belong to you: this engine is rootless (remedy: \
             `podman run --userns=keep-id:uid=1000,gid=1000` keeps them yours; `podman unshare chown \
             -R 0:0 DIRECTORY` gives them back)",
            directory.display()
        );
    }
}

/// Reports whether root is one ordinary user outside of this container, not the first of a range.
fn is_rootless() -> bool {
    let map = proc::text("self", "uid_map").unwrap_or_default();
    let mut numbers = map.split_whitespace();
    let is_other = |outside| outside != "0";
    numbers.next() == Some("0")
        && numbers.next().is_some_and(is_other)
        && numbers.next() == Some("1")
}

/// Returns the policy for the owners of the notebooks. If the notebooks directory holds HOME
/// and is in the image's own file system, the image has chosen the owners: root's files there,
/// such as the venv and the compat image's script, stay root's.
fn policy(start: &mut Start<'_>, root: &Root, account: &Account) -> Result<VolumeOwner, Failure> {
    let policy = start.settings.notebooks.owner;
    let directory = start.settings.notebooks.directory.as_deref();
    // The operator asked for these ids, so the owner of a mount is not adopted.
    if start.settings.new_account().is_some()
        && policy == VolumeOwner::Auto
        && directory.is_some_and(|directory| is_anothers_mount(root, directory, account.uid))
    {
        return Ok(VolumeOwner::Keep);
    }
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

/// Hands over what is root's in HOME and is to be the user's. In a person's home these are fresh
/// volumes alone.
pub(super) fn hand_over_home(start: &mut Start<'_>, root: &Root, account: &Account) {
    let hand_over = match account::is_persons_home(start) {
        true => hand_over_volumes,
        false => hand_over_directories,
    };
    let notebooks = start.settings.notebooks.directory.as_deref();
    start.changes.make(
        Section::OWNERS,
        |effects| hand_over(root, &hand(&account.home, notebooks, account, effects)),
        |handed, words| {
            // A start finds nothing of root's in what was handed over before.
            let rest = handed.iter().filter(|path| !words.has(path)).cloned();
            words.handed_over(&account.name, &rest.collect::<Vec<_>>());
        },
    );
}

fn hand<'a>(
    directory: &'a Path,
    notebooks: Option<&'a Path>,
    account: &Account,
    effects: Effects<'a>,
) -> HandOver<'a> {
    HandOver {
        directory,
        notebooks,
        uid: account.uid,
        gid: account.gid,
        effects,
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
        account::enter(start, root, account, named, Section::OWNERS);
    }
    account::claim_home(start, root, account, Section::OWNERS)
}

/// Reports an adopted owner who is another user here: the server then has that user's files, too.
fn report_known_owner(start: &mut Start<'_>, account: &Account, uid: u32) -> Result<(), Failure> {
    let name = known_user(uid).filter(|_| uid != account.uid);
    // An earlier start of this container entered that one.
    let Some(name) = name.filter(|name| *name != account::name_of_owner(account, uid)) else {
        return Ok(());
    };
    let owner = format!("the owner of the notebooks, uid {uid}");
    let remedy = "give the directory to another uid on the host, or use --volume-owner chown";
    start
        .report
        .degraded(account::is_another(&owner, &name, remedy))
}
