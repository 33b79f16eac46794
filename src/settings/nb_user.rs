//! The account that `NB_USER`, `NB_UID` and `NB_GID` ask for. SystemUserSpawner of JupyterHub and
//! users of the Jupyter Docker Stacks set them, and root makes the account.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::settings::Key;
use crate::settings::value::{Origin, Raw, RawValue, SettingError};

const USER: &str = "NB_USER";
const UID: &str = "NB_UID";
const GID: &str = "NB_GID";

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
/// notebooks directory unless a flag or variable names one. Returns `None` if nothing else than
/// the configured user is asked for, or a flag names the user. Without root no account is made and
/// no home: the variables count only if there is a HOME, as SystemUserSpawner mounts it.
pub(super) fn read(
    environment: &dyn Fn(&str) -> Option<OsString>,
    as_root: bool,
    raw: &mut BTreeMap<Key, Raw>,
    errors: &mut Vec<SettingError>,
) -> Option<NewAccount> {
    let given = |name| environment(name).filter(|value| !value.is_empty());
    let is_flag = |raw: &BTreeMap<Key, Raw>, key| {
        let origin = raw.get(&key).map(|raw: &Raw| &raw.origin);
        matches!(origin, Some(Origin::Flag(_)))
    };
    if [USER, UID, GID].iter().all(|name| given(name).is_none()) || is_flag(raw, Key::User) {
        return None;
    }
    // An engine sets HOME to root's home, or `/`, if nobody else sets it.
    let home = given("HOME").map(PathBuf::from);
    let home = home.filter(|home| home.is_absolute() && !is_roots_home(home));
    if !as_root && home.is_none() {
        return None;
    }
    let mut text = |name: &'static str| {
        let value = given(name)?.into_string();
        value
            .map_err(|_| errors.push(wrong(name, "is not UTF-8".into(), "give it as UTF-8")))
            .ok()
    };
    let (name, uid, gid) = (text(USER), text(UID), text(GID));
    let configured = match raw.get(&Key::User).map(|raw| &raw.value) {
        Some(RawValue::Text(name)) => Some(name.clone()),
        _ => None,
    };
    let mut number = |name, text: Option<String>| {
        let text = text?;
        let number = text.parse().ok().filter(|n| ![0, u32::MAX].contains(n));
        if number.is_none() {
            let problem = format!("{text:?} is not a number from 1 to 4294967294");
            errors.push(wrong(name, problem, "name the id of an ordinary user"));
        }
        number
    };
    let (uid, gid) = (number(UID, uid), number(GID, gid));
    if let Some(problem) = name.as_deref().and_then(name_problem) {
        errors.push(wrong(USER, problem, "name a user as in /etc/passwd"));
        return None;
    }
    let has_home = name.is_some() && name != configured;
    if !has_home && uid.is_none() && gid.is_none() {
        return None;
    }
    let name = name.or(configured)?;
    let mut set = |key, variable, value: String| {
        if !is_flag(raw, key) {
            let (origin, value) = (Origin::Environment(variable), RawValue::Text(value));
            raw.insert(key, Raw { value, origin });
        }
    };
    set(Key::User, USER, name.clone());
    if let Some(gid) = gid {
        set(Key::Group, GID, gid.to_string());
    }
    if let Some(home) = home.as_ref().and_then(|home| home.to_str())
        && home.contains(|char: char| char == ':' || char.is_control())
    {
        let problem = format!("{home:?} cannot be written in /etc/passwd");
        errors.push(wrong("HOME", problem, "name a path without colons"));
    }
    let home = home.or_else(|| has_home.then(|| Path::new("/home").join(&name)));
    if let Some(home) = home.as_ref().and_then(|home| home.to_str()) {
        set(Key::Home, USER, home.into());
        let chosen = raw.get(&Key::Notebooks).map(|raw| &raw.origin);
        let chosen = matches!(chosen, Some(Origin::Flag(_) | Origin::Environment(_)));
        if has_home && !chosen {
            let value = RawValue::Text(format!("{}/notebooks", home.trim_end_matches('/')));
            let origin = Origin::Environment(USER);
            raw.insert(Key::Notebooks, Raw { value, origin });
        }
    }
    Some(NewAccount {
        name,
        uid,
        has_home,
    })
}

fn is_roots_home(home: &Path) -> bool {
    home == Path::new("/") || home == Path::new("/root")
}

/// Returns why a text can be no user's name. useradd(8) of Debian accepts the same, and directory
/// services have names such as `first.last@example.org`.
fn name_problem(name: &str) -> Option<String> {
    let breaks = |char: char| char.is_control() || char.is_whitespace() || ":,/\\".contains(char);
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    let dots = [".", ".."].contains(&name);
    let bad = name.starts_with(['+', '-', '#', '~']) || name.contains(breaks);
    (bad || digits || dots || name == "root" || name.len() > 255)
        .then(|| format!("{name:?} cannot be the name of an ordinary user"))
}

fn wrong(name: &'static str, problem: String, remedy: &str) -> SettingError {
    SettingError::new(name, Origin::Environment(name), problem, remedy)
}

#[cfg(test)]
#[path = "nb_user_tests.rs"]
mod tests;
