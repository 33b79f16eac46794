//! Accounts that the image does not have: the one that `NB_USER`, `NB_UID` and `NB_GID` ask for, and
//! the owner of an adopted volume. Both get a name in `/etc/passwd`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tracing::info;

use crate::boot::changes::{Section, Words};
use crate::boot::context::Start;
use crate::boot::failure::{Failure, causes};
use crate::degradation::Degradation;
use crate::group_access::Entry;
use crate::identity::{
    Account, IdentityError, Root, group, group_name, has_name_service, known_user, resolve,
};
use crate::settings::nb_user::{DEFAULT_ID, wrong};
use crate::settings::{Key, NewAccount, SettingError, Settings, SettingsError, VolumeOwner};
use crate::sys::trust;
use crate::volume::{Claim, Claimed, VolumeError, claim, is_hosts_mount, is_ordinary};

/// Groups below this gid are the system's, except those that people of macOS and of Debian have.
const FIRST_GID: u32 = 100;
const GIDS_OF_PEOPLE: [u32; 2] = [20, 50];

/// Directories of HOME in which the server and its kernels keep files.
const HOME_DIRECTORIES: [&str; 5] = [".cache", ".config", ".ipython", ".jupyter", ".local"];

/// Reports whether HOME is a person's, in which only the person gives files away.
pub(super) fn is_persons_home(start: &Start<'_>) -> bool {
    let new = start.settings.new_account();
    new.is_some_and(|new| new.has_home)
}

/// Reports whether a directory is in a person's home: there root makes and changes nothing.
pub(super) fn is_in_persons_home(start: &Start<'_>, directory: &Path) -> bool {
    let user = start.settings.user.as_ref();
    let home = user.and_then(|user| user.home.as_deref());
    is_persons_home(start) && home.is_some_and(|home| directory.starts_with(home))
}

/// Returns the account for `NB_USER` and `NB_UID`, as far as it can be known before it is made. An
/// account with this name keeps its shell and its groups.
///
/// # Errors
/// A system account, the uid of another one, or a system group.
pub(super) fn new(settings: &Settings, new: &NewAccount) -> Result<Account, SettingsError> {
    let known = resolve(&new.name, None, None).ok();
    let known = known.filter(|account| account.in_passwd);
    if let Some(account) = known.as_ref().filter(|account| !is_ordinary(account.uid)) {
        let problem = format!("{} is a system account (uid {})", new.name, account.uid);
        return Err(wrong("NB_USER", problem, "name another user").into());
    }
    let uid = new.uid.or(known.as_ref().map(|account| account.uid));
    let uid = uid.unwrap_or(DEFAULT_ID);
    if !is_uid_for(&new.name, uid) {
        let problem = format!("{uid} is the number of a system account");
        let remedy = "name the uid of an ordinary user";
        return Err(wrong("NB_UID", problem, remedy).into());
    }
    if settings.notebooks.owner == VolumeOwner::Adopt {
        let problem = "another account is asked for, so no owner is adopted";
        let remedy = "leave out NB_USER and NB_UID, or --volume-owner adopt";
        return Err(settings.error(Key::VolumeOwner, problem, remedy).into());
    }
    let user = settings.user.as_ref();
    let gid = match user.and_then(|user| user.group.as_deref()) {
        Some(name) => {
            group(name).map_err(|unknown| unknown_account(settings, Key::Group, &unknown))?
        }
        None => known.as_ref().map_or(uid, |account| account.gid),
    };
    if !is_gid_of_people(gid) {
        let problem = format!("{gid} is the system's group {}", group_name(gid));
        return Err(wrong("NB_GID", problem, "name a group of ordinary users").into());
    }
    let home = user.and_then(|user| user.home.clone());
    let (shell, old_home, mut groups) = match known {
        Some(account) => (account.shell, account.home, account.groups),
        None => ("/bin/bash".into(), "/".into(), Vec::new()),
    };
    let writers = settings.server.venv.as_deref().and_then(writers);
    groups.extend(writers.filter(|writers| *writers != gid));
    Ok(Account {
        name: new.name.clone(),
        uid,
        gid,
        home: home.unwrap_or(old_home),
        shell,
        groups,
        in_passwd: true,
    })
}

/// Reports whether an account with this name may have this uid: no system account has it. Packages of
/// Debian take the numbers below 1000 for themselves.
pub(super) fn is_uid_for(name: &str, uid: u32) -> bool {
    let is_anothers = uid < 1000 && known_user(uid).is_some_and(|known| known != name);
    is_ordinary(uid) && !is_anothers
}

/// Reports whether a group can be a person's own: it is neither root's nor the system's.
pub(super) fn is_gid_of_people(gid: u32) -> bool {
    let is_named = group_name(gid) != gid.to_string();
    let is_systems = gid < FIRST_GID && is_named && !GIDS_OF_PEOPLE.contains(&gid);
    gid != 0 && !is_systems
}

/// Returns the error for an account or group that this container does not have.
pub(super) fn unknown_account(
    settings: &Settings,
    key: Key,
    unknown: &IdentityError,
) -> SettingError {
    let IdentityError { name, kind } = unknown;
    let problem = format!("there is no {} {name:?} here", kind.word());
    let remedy = format!("name one of {}, or a number", kind.file());
    settings.error(key, problem, &remedy)
}

/// Returns the gid of the group that may write the image's venv. One that others than root could
/// have made, or put a link in place of, gives no group away.
fn writers(venv: &Path) -> Option<u32> {
    let data = fs::symlink_metadata(venv).ok()?;
    let trusted = trust::root_only_path(venv.parent()?).is_ok();
    (data.is_dir() && data.uid() == 0 && data.gid() != 0 && trusted).then(|| data.gid())
}

/// Makes the account that `NB_USER`, `NB_UID` and `NB_GID` ask for, and its home if it is missing.
///
/// # Errors
/// A hook made the account a system account; under `--warning-as-error` any degradation.
pub(super) fn make(
    start: &mut Start<'_>,
    root: &Root,
    account: &mut Account,
) -> Result<(), Failure> {
    let Some(asked) = start.settings.new_account() else {
        // Of `--user 1234`, unless a root hook has named it.
        if let Some(named) = account.named_after_home() {
            enter(start, root, account, named, Section::ACCOUNT);
        }
        return Ok(());
    };
    // A root hook may have made it.
    *account = new(start.settings, asked).map_err(Failure::Settings)?;
    report_other_account(start, account)?;
    match write_entry(start, root, account, Section::ACCOUNT) {
        Ok(()) => start.changes.done(format_args!(
            "The server's user is {} (uid {}, group {}), with HOME {}",
            account.name,
            account.uid,
            group_name(account.gid),
            account.home.display()
        )),
        Err(error) => {
            account.in_passwd = false;
            if let Some(told) = no_name(account, &error) {
                start.report.degraded(told)?;
            }
        }
    }
    if !is_persons_home(start) {
        return claim_home(start, root, account, Section::ACCOUNT);
    }
    let (home, keep) = (account.home.clone(), VolumeOwner::Keep);
    let made = claim_for(start, root, account, home, keep, Section::ACCOUNT);
    if let Err(error) = made {
        start.report.degraded(Degradation::new(
            format!("HOME cannot be made: {}", causes(&error)),
            "mount the user's home directory there",
        ))?;
    }
    Ok(())
}

/// Reports that the uid that is asked for is another user's here. The image's own user, whose group
/// may write the venv, has nothing but what belongs to the lab.
fn report_other_account(start: &mut Start<'_>, account: &Account) -> Result<(), Failure> {
    let other = resolve(&account.uid.to_string(), None, None).ok();
    let other = other.filter(|other| other.in_passwd && other.name != account.name);
    let labs = start.settings.server.venv.as_deref().and_then(writers);
    match other.filter(|other| labs != Some(other.gid)) {
        Some(other) => start.report.degraded(is_another(
            &format!("the uid of NB_UID, {}", account.uid),
            &other.name,
            "name another uid, or that user with NB_USER",
        )),
        None => Ok(()),
    }
}

/// Returns the degradation for a uid of the server's that has another name here.
pub(super) fn is_another(uid: &str, name: &str, remedy: &str) -> Degradation {
    let cause =
        format!("{uid}, is {name} in this container: the server has all rights of {name} here");
    Degradation::new(cause, remedy)
}

/// Switches to an adopted owner. One without a name gets the configured user's with its uid behind
/// it, so that whoami, git and ssh work: returns the account with that name then. The user's own
/// line stays, or a restart would not adopt again.
pub(super) fn adopt_ids(account: &mut Account, uid: u32, gid: u32) -> Option<Account> {
    let has_name = account.in_passwd && is_ordinary(account.uid);
    let name = has_name.then(|| name_of_owner(account, uid));
    account.adopt(uid, gid);
    let name = name.filter(|_| !account.in_passwd && uid != 0)?;
    Some(Account {
        name,
        in_passwd: true,
        ..account.clone()
    })
}

/// Returns the name that an adopted owner without one gets.
pub(super) fn name_of_owner(account: &Account, uid: u32) -> String {
    format!("{}-{uid}", account.name)
}

/// Enters an account into `/etc/passwd` under a name that was made for its uid. If that is not
/// possible, the environment alone has the name.
pub(super) fn enter(
    start: &mut Start<'_>,
    root: &Root,
    account: &mut Account,
    named: Account,
    section: Section,
) {
    let entered = write_entry(start, root, &named, section);
    take_name(account, named, entered);
}

/// Writes the lines of an account as root.
fn write_entry(
    start: &mut Start<'_>,
    root: &Root,
    account: &Account,
    section: Section,
) -> io::Result<()> {
    let written = start.changes.make(
        section,
        |effects| Entry(account).write(root, Path::new("/etc"), effects),
        |written, words| say_written(account, written, words),
    );
    written.map(drop)
}

fn say_written(account: &Account, written: &io::Result<Vec<PathBuf>>, words: &mut Words<'_>) {
    let Account { name, uid, gid, .. } = account;
    for path in written.iter().flatten() {
        let path = path.display();
        words.planned(format_args!("enter {name} in {path} ({uid}:{gid})"));
    }
}

/// Takes a name that was made for a uid, whether it could be entered or not.
fn take_name(account: &mut Account, named: Account, entered: io::Result<()>) {
    *account = Account {
        in_passwd: entered.is_ok(),
        ..named
    };
    let told = entered.err().and_then(|error| no_name(account, &error));
    if let Some(told) = told {
        info!("{told}");
    }
}

/// Gives the uid of a start without root a name: in `/etc/passwd`, which some images allow, or at
/// least in the environment.
pub(super) fn name_own(start: &mut Start<'_>, account: &mut Account) {
    if account.in_passwd {
        return;
    }
    let named = account.named_after_home().unwrap_or(account.clone());
    let entered = match named.name == named.uid.to_string() {
        true => Err(io::Error::other("HOME is no user's")),
        false => start.changes.make(
            Section::ACCOUNT,
            |effects| Entry(&named).append(Path::new("/etc"), effects),
            |written, words| say_written(&named, written, words),
        ),
    };
    take_name(account, named, entered.map(drop));
}

/// Returns the degradation for an account that cannot be entered; `None`: the image's service of
/// names knows it all the same.
fn no_name(account: &Account, error: &io::Error) -> Option<Degradation> {
    let told = Degradation::new(
        format!(
            "uid {} has no name in /etc/passwd ({error}): ssh and whoami refuse to work, and git \
             needs `git config user.name`",
            account.uid
        ),
        "start as root, without `docker run --user`, and with an /etc that can be written; or \
         mount an /etc/passwd with a line for that uid",
    );
    (!has_name_service()).then_some(told)
}

/// Hands over what the server keeps in HOME to an account that has another uid than the image's
/// user. What is mounted at one of them from the host stays its owner's.
pub(super) fn claim_home(
    start: &mut Start<'_>,
    root: &Root,
    account: &Account,
    section: Section,
) -> Result<(), Failure> {
    for name in HOME_DIRECTORIES {
        let directory = account.home.join(name);
        let policy = match is_hosts_mount(root, &directory) {
            true => VolumeOwner::Keep,
            false => VolumeOwner::Chown,
        };
        match claim_for(start, root, account, directory, policy, section) {
            Ok(claimed) => start.report.all_degraded(claimed.degradations)?,
            // The user phase moves Jupyter's directories elsewhere then, and reports that.
            Err(error) => tracing::debug!("{}", causes(&error)),
        }
    }
    Ok(())
}

fn claim_for(
    start: &mut Start<'_>,
    root: &Root,
    account: &Account,
    directory: PathBuf,
    policy: VolumeOwner,
    section: Section,
) -> Result<Claimed, VolumeError> {
    let stop = start.stop();
    let request = Claim {
        directory,
        policy,
        uid: account.uid,
        gid: account.gid,
    };
    start.changes.make(
        section,
        |effects| claim(root, &request, effects, &stop, &mut |_| {}),
        |claimed, words| {
            if let Ok(claimed) = claimed {
                words.claimed(&request, &account.name, claimed);
            }
        },
    )
}
