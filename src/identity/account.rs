//! Accounts: everything that a start needs to know of a user, from a name or a number.

use std::path::{Path, PathBuf};

use nix::unistd::{Gid, getegid, geteuid, getgroups};

use crate::identity::database;
use crate::identity::database::{Group, User, id};

/// The uids that Debian gives to people; the rest are system accounts and `nobody`.
const PEOPLE: std::ops::Range<u32> = 1000..60_000;

/// An account of this container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's name, or the uid as text if it has none.
    pub name: String,
    /// The uid.
    pub uid: u32,
    /// The primary gid.
    pub gid: u32,
    /// The home directory, which becomes HOME.
    pub home: PathBuf,
    /// The login shell.
    pub shell: PathBuf,
    /// Supplementary gids; sorted and without the primary one, until [`Self::adopt`] adds to them.
    pub groups: Vec<u32>,
    /// True if the user is in the password file.
    pub in_passwd: bool,
}

impl Account {
    /// Switches to the owner of an adopted volume. The user's old group becomes a supplementary
    /// one, because the image's venv is writable for it.
    pub fn adopt(&mut self, uid: u32, gid: u32) {
        if self.gid != gid {
            self.groups.push(self.gid);
        }
        self.uid = uid;
        self.gid = gid;
        self.in_passwd = known_user(uid).is_some();
        self.name = user_name(uid);
    }

    /// Returns the account with a name if its uid has none: that of the account whose HOME it has,
    /// with the uid behind it, and with that account's shell. `None`: the uid has a name, or HOME
    /// is nobody's.
    pub fn named_after_home(&self) -> Option<Self> {
        let users = database::users();
        let is_known = users.iter().any(|user| user.uid == self.uid);
        // The homes of system accounts, such as `/`, are nobody's.
        let mut people = users.iter().filter(|user| PEOPLE.contains(&user.uid));
        let owner = people.find(|user| !is_known && user.home == self.home)?;
        Some(Self {
            name: format!("{}-{}", owner.name, self.uid),
            shell: from_entry(owner).shell,
            ..self.clone()
        })
    }
}

/// Error: the text is neither a name of this container nor a valid number.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no {} {name:?} here; name one of {}, or a number", kind.word(), kind.file())]
pub struct IdentityError {
    /// Kind of the missing account.
    pub kind: Kind,
    /// The text that was asked for.
    pub name: String,
}

/// Kind of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A user.
    User,
    /// A group.
    Group,
}

impl Kind {
    /// Returns the word for it in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
        }
    }

    /// Returns the file that lists accounts of this kind.
    pub fn file(self) -> &'static str {
        match self {
            Self::User => "/etc/passwd",
            Self::Group => "/etc/group",
        }
    }

    fn no_such(self, name: &str) -> IdentityError {
        let name = name.to_owned();
        IdentityError { kind: self, name }
    }
}

/// Returns the account of `user`, with `group` and `home` instead of its own.
///
/// A name is tried before a number, as in chown(1). A number without a name is allowed: its gid is
/// the same number (never group root) unless `group` is given, and its home is `/`.
///
/// # Errors
/// An unknown name.
pub fn resolve(
    user: &str,
    group: Option<&str>,
    home: Option<&Path>,
) -> Result<Account, IdentityError> {
    let users = database::users();
    let named = users.iter().find(|entry| entry.name == user);
    let mut account = match named {
        Some(entry) => from_entry(entry),
        None => {
            let uid = id(user).ok_or_else(|| Kind::User.no_such(user))?;
            match users.iter().find(|entry| entry.uid == uid) {
                Some(entry) => from_entry(entry),
                None => unknown(uid, uid),
            }
        }
    };
    if let Some(name) = group {
        account.gid = self::group(name)?;
    }
    if account.in_passwd {
        account.groups = memberships(&account.name, account.gid, &database::groups());
    }
    if let Some(home) = home {
        account.home = home.to_owned();
    }
    Ok(account)
}

/// Returns the gid of the group `name`. A name is tried before a number.
///
/// # Errors
/// An unknown name.
pub fn group(name: &str) -> Result<u32, IdentityError> {
    let groups = database::groups();
    let named = groups.iter().find(|group| group.name == name);
    let gid = named.map(|group| group.gid).or_else(|| id(name));
    gid.ok_or_else(|| Kind::Group.no_such(name))
}

/// Returns the gids of the groups that list root, under any name with uid 0.
pub fn groups_of_root() -> Vec<u32> {
    let groups = database::groups();
    let roots = database::users().into_iter().filter(|user| user.uid == 0);
    let gids = roots.flat_map(|user| memberships(&user.name, 0, &groups));
    gids.collect()
}

/// Returns the account this process runs as, for a start without root.
///
/// An unknown uid (OpenShift) gets HOME from the environment, or `/`.
pub fn current() -> Account {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let mut account = match user(uid) {
        Some(entry) => from_entry(&entry),
        None => {
            let home = std::env::var_os("HOME").map(PathBuf::from);
            let mut account = unknown(uid, gid);
            account.home = home
                .filter(|home| home.is_absolute())
                .unwrap_or(account.home);
            account
        }
    };
    account.gid = gid;
    let groups = getgroups().unwrap_or_default();
    account.groups = sorted(groups.into_iter().map(Gid::as_raw), gid);
    account
}

/// Returns the user's name, or the uid as text if it has none.
pub fn user_name(uid: u32) -> String {
    known_user(uid).unwrap_or_else(|| uid.to_string())
}

/// Returns the user's name; `None` if the uid has none.
pub fn known_user(uid: u32) -> Option<String> {
    user(uid).map(|user| user.name)
}

/// Returns the group's name, or the gid as text if it has none.
pub fn group_name(gid: u32) -> String {
    let mut groups = database::groups().into_iter();
    let group = groups.find(|group| group.gid == gid);
    group.map_or_else(|| gid.to_string(), |group| group.name)
}

fn user(uid: u32) -> Option<User> {
    let mut users = database::users().into_iter();
    users.find(|user| user.uid == uid)
}

fn from_entry(entry: &User) -> Account {
    let or = |path: &Path, default: &str| match path.as_os_str().is_empty() {
        true => PathBuf::from(default),
        false => path.to_owned(),
    };
    Account {
        name: entry.name.clone(),
        uid: entry.uid,
        gid: entry.gid,
        home: or(&entry.home, "/"),
        shell: or(&entry.shell, "/bin/sh"),
        groups: Vec::new(),
        in_passwd: true,
    }
}

fn unknown(uid: u32, gid: u32) -> Account {
    Account {
        name: uid.to_string(),
        uid,
        gid,
        home: "/".into(),
        shell: "/bin/sh".into(),
        groups: Vec::new(),
        in_passwd: false,
    }
}

/// Returns the gids of the groups that list this user, without the primary one.
fn memberships(name: &str, primary: u32, groups: &[Group]) -> Vec<u32> {
    let lists = |group: &&Group| group.members.iter().any(|member| member == name);
    sorted(groups.iter().filter(lists).map(|group| group.gid), primary)
}

fn sorted(gids: impl Iterator<Item = u32>, primary: u32) -> Vec<u32> {
    let mut gids: Vec<u32> = gids.filter(|gid| *gid != primary).collect();
    gids.sort_unstable();
    gids.dedup();
    gids
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::Command;

    // Debian's base-passwd adds these to every image; daemon is 1:1.

    #[test]
    fn a_user_is_named_or_numbered() {
        let daemon = resolve("daemon", None, None).unwrap();
        assert_eq!((daemon.uid, daemon.gid, daemon.in_passwd), (1, 1, true));
        assert_eq!(resolve("1", None, None).unwrap(), daemon);
        assert_eq!(user_name(1), "daemon");
        assert_eq!(group_name(1), "daemon");
    }

    #[test]
    fn group_and_home_replace_the_accounts_own() {
        let account = resolve("daemon", Some("tty"), Some(Path::new("/h"))).unwrap();
        assert_eq!((account.gid, account.home), (5, PathBuf::from("/h")));
        assert_eq!(resolve("daemon", Some("77777"), None).unwrap().gid, 77777);
    }

    #[test]
    fn an_unknown_number_is_fine_and_never_gets_group_root() {
        let account = resolve("77777", None, None).unwrap();
        assert_eq!(account.name, "77777");
        assert_eq!((account.uid, account.gid), (77777, 77777));
        assert_eq!(account.home, Path::new("/"));
        assert!(!account.in_passwd && account.groups.is_empty());
        assert_eq!(user_name(77777), "77777");
        assert_eq!(group_name(77777), "77777");
    }

    #[test]
    fn an_unknown_name_is_an_error_that_says_so() {
        for name in ["nosuch", "", "-1", "+1", "4294967295", "a\0b", "1 "] {
            let error = resolve(name, None, None).unwrap_err();
            assert!(error.to_string().contains("/etc/passwd"), "{name:?}");
            let error = resolve("daemon", Some(name), None).unwrap_err();
            assert!(error.to_string().contains("/etc/group"), "{name:?}");
        }
    }

    #[test]
    fn memberships_come_without_the_primary_group() {
        assert_eq!(sorted([5, 3, 5, 1].into_iter(), 1), [3, 5]);
    }

    /// What a process test must never enter into the machine's own files.
    #[test]
    fn the_home_of_a_system_account_gives_no_name() {
        for user in database::users().iter().filter(|user| user.uid < 1000) {
            let account = resolve("77777", None, Some(&user.home)).unwrap();
            assert_eq!(account.named_after_home(), None, "{user:?}");
        }
    }

    /// Runs itself again with another group file, in a mount namespace of its own.
    #[test]
    fn groups_are_those_of_the_file_and_of_the_process() {
        const NAME: &str =
            "identity::account::tests::groups_are_those_of_the_file_and_of_the_process";
        const CHILD: &str = "AI_LAB_TEST_GROUPS";
        if std::env::var_os(CHILD).is_some() {
            let daemon = resolve("daemon", None, None).unwrap();
            assert_eq!((daemon.gid, &daemon.groups[..]), (1, &[42, 777][..]));
            let account = current();
            assert_eq!((account.uid, account.name.as_str()), (0, "root"));
            assert_eq!((account.gid, &account.groups[..]), (7, &[5, 42][..]));
            return;
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = b"daemon:x:1:daemon\nb:x:777:ann,daemon\na:x:42:daemon\nc:x:43:\n";
        file.write_all(text).unwrap();
        let script = r#"mount --bind "$1" /etc/group
            exec setpriv --regid 7 --groups 5,42 "$2" --exact "$3""#;
        let output = Command::new("unshare")
            .args(["-m", "sh", "-e", "-c", script, "sh"])
            .arg(file.path())
            .arg(std::env::current_exe().unwrap())
            .arg(NAME)
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{output:?}"
        );
    }
}
