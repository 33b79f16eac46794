//! The account that `NB_USER`, `NB_UID` and `NB_GID` ask for. SystemUserSpawner of JupyterHub and
//! users of the Jupyter Docker Stacks set them, and root makes the account.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::settings::entry::Key;
use crate::settings::value::{Origin, Raw, RawValue, SettingError};

/// The variable with the user's name.
pub const USER: &str = "NB_USER";
const UID: &str = "NB_UID";
const GID: &str = "NB_GID";
/// All of them.
pub const VARIABLES: [&str; 3] = [USER, UID, GID];
/// The variable with the home of the user that [`USER`] names.
pub const HOME: &str = "HOME";

/// An account that is made if the container does not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAccount {
    /// The user's name.
    pub name: String,
    /// The uid; `None`: that of the name, or [`DEFAULT_ID`].
    pub uid: Option<u32>,
    /// True if a person was named, who has a home directory of their own: Jupyter's root
    /// directory is that home.
    pub has_home: bool,
}

/// The uid of a new user for which none is named, as in the Jupyter Docker Stacks.
pub const DEFAULT_ID: u32 = 1000;

/// Reads the variables and replaces the values that follow from them: user, group, HOME, and the
/// notebooks directory unless a flag or variable names one. Returns `None` if a flag names the
/// user, or if the variables name only the configured user. Without root neither an account nor a
/// home can be made: the variables count only if HOME is set, as by SystemUserSpawner.
pub(super) fn read(
    environment: &dyn Fn(&str) -> Option<OsString>,
    as_root: bool,
    raw: &mut BTreeMap<Key, Raw>,
    errors: &mut Vec<SettingError>,
) -> Option<NewAccount> {
    let mut given = Given::read(environment, errors);
    let asked = [&given.user, &given.uid, &given.gid];
    if asked.iter().all(|text| text.is_none()) {
        return None;
    }
    let uid = number(UID, given.uid.take(), errors);
    let gid = number(GID, given.gid.take(), errors);
    if origin(raw, Key::User).is_some_and(|origin| matches!(origin, Origin::Flag(_))) {
        return None;
    }
    let configured = text(raw, Key::User).filter(|name| name != "root");
    // Engines set HOME to the home of /etc/passwd: root's, or the configured user's. Only the record
    // of a start above this one has a HOME of these variables.
    let is_theirs = matches!(origin(raw, Key::Home), Some(Origin::Environment(_)));
    let is_configured = |home: &str| !is_theirs && text(raw, Key::Home).as_deref() == Some(home);
    let home = given.home.filter(|home| !is_roots_home(home));
    let home = home.filter(|home| !(is_configured(home) && (!as_root || given.user.is_none())));
    if !as_root && home.is_none() {
        return None;
    }
    let is_person = given.user.is_some() && (given.user != configured || home.is_some());
    if !is_person && uid.is_none() && gid.is_none() {
        return None;
    }
    let by = if given.user.is_some() { USER } else { UID };
    let Some(name) = given.user.or(configured) else {
        let problem = "no user is configured".into();
        errors.push(wrong(by, problem, "set NB_USER as well"));
        return None;
    };
    if let Some(problem) = name_problem(&name) {
        errors.push(wrong(by, problem, "name a user as in /etc/passwd"));
        return None;
    }
    if let Some(gid) = gid {
        set(raw, Key::Group, GID, gid.to_string());
    }
    set(raw, Key::User, by, name.clone());
    if is_person {
        let is_named = home.is_some();
        let home = home.unwrap_or_else(|| format!("/home/{name}"));
        set(raw, Key::Home, if is_named { HOME } else { USER }, home);
        if !is_chosen(raw, Key::Group) {
            raw.remove(&Key::Group);
        }
        if !is_chosen(raw, Key::Notebooks)
            && let Some(home) = text(raw, Key::Home)
        {
            let value = RawValue::Text(format!("{}/notebooks", home.trim_end_matches('/')));
            let origin = Origin::Environment(USER);
            raw.insert(Key::Notebooks, Raw { value, origin });
        }
    }
    Some(NewAccount {
        name,
        uid,
        has_home: is_person,
    })
}

/// The variables as texts; empty ones count as unset.
struct Given {
    user: Option<String>,
    uid: Option<String>,
    gid: Option<String>,
    home: Option<String>,
}

impl Given {
    fn read(
        environment: &dyn Fn(&str) -> Option<OsString>,
        errors: &mut Vec<SettingError>,
    ) -> Self {
        let mut text = |name: &'static str| {
            let value = environment(name).filter(|value| !value.is_empty())?;
            let text = value.into_string().ok();
            if text.is_none() {
                errors.push(wrong(name, "is not UTF-8".into(), "give it as UTF-8"));
            }
            text
        };
        let (user, uid, gid) = (text(USER), text(UID), text(GID));
        let asked = user.is_some() || uid.is_some() || gid.is_some();
        let home = asked.then(|| text(HOME)).flatten();
        if let Some(home) = &home
            && (!home.starts_with('/') || home.contains(|c: char| c == ':' || c.is_control()))
        {
            let problem = format!("{home:?} cannot be a home directory in /etc/passwd");
            errors.push(wrong(HOME, problem, "name an absolute path without colons"));
        }
        Self {
            user,
            uid,
            gid,
            home,
        }
    }
}

/// Reports whether a flag or a variable gives the value, and not the image's file.
fn is_chosen(raw: &BTreeMap<Key, Raw>, key: Key) -> bool {
    origin(raw, key).is_some_and(|origin| !matches!(origin, Origin::File { .. }))
}

/// Replaces a value unless a flag gives one.
fn set(raw: &mut BTreeMap<Key, Raw>, key: Key, variable: &'static str, value: String) {
    let is_flag = origin(raw, key).is_some_and(|origin| matches!(origin, Origin::Flag(_)));
    if !is_flag {
        let (origin, value) = (Origin::Environment(variable), RawValue::Text(value));
        raw.insert(key, Raw { value, origin });
    }
}

fn origin(raw: &BTreeMap<Key, Raw>, key: Key) -> Option<&Origin> {
    raw.get(&key).map(|raw| &raw.origin)
}

fn text(raw: &BTreeMap<Key, Raw>, key: Key) -> Option<String> {
    match raw.get(&key).map(|raw| &raw.value) {
        Some(RawValue::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

fn number(name: &'static str, text: Option<String>, errors: &mut Vec<SettingError>) -> Option<u32> {
    let text = text?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    let number = number.filter(|number| ![0, u32::MAX].contains(number));
    if number.is_none() {
        let problem = format!("{text:?} is not a number from 1 to 4294967294");
        errors.push(wrong(name, problem, "name the id of an ordinary user"));
    }
    number
}

fn is_roots_home(home: &str) -> bool {
    ["/", "/root"].contains(&home)
}

/// Returns why a text cannot be a user's name. useradd(8) of Debian accepts the same, and directory
/// services have names such as `first.last@example.org`.
fn name_problem(name: &str) -> Option<String> {
    let breaks = |char: char| char.is_control() || char.is_whitespace() || ":,/\\".contains(char);
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    let dots = [".", ".."].contains(&name);
    let bad = name.starts_with(['+', '-', '#', '~']) || name.contains(breaks);
    (bad || digits || dots || name == "root" || name.len() > 255)
        .then(|| format!("{name:?} cannot be the name of an ordinary user"))
}

/// Returns an error in the value of one of the variables.
pub fn wrong(name: &'static str, problem: String, remedy: &str) -> SettingError {
    SettingError::new(name, Origin::Environment(name), problem, remedy)
}

#[cfg(test)]
#[path = "nb_user_tests.rs"]
mod tests;
