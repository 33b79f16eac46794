//! The environment of root hooks: only listed variables are passed on, as by sudo's `env_reset`.
//!
//! The container's environment may come from an unprivileged user (`sudo -E`), and this program
//! cannot know what a variable means to an interpreter. So it passes on only the variables that are
//! named below or in the settings.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::sys::env::{Environment, SYSTEM_PATH};

/// The variables that never come from the container, with their values.
const FIXED: [(&str, &str); 5] = [
    ("PATH", SYSTEM_PATH),
    ("HOME", "/root"),
    ("USER", "root"),
    ("LOGNAME", "root"),
    ("SHELL", "/bin/sh"),
];

/// The variables that are passed on if their value [`is_plain`]. `LC_` is a prefix.
const CHECKED: [&str; 7] = [
    "LANG",
    "LANGUAGE",
    "LC_",
    "TERM",
    "HOSTNAME",
    "NO_COLOR",
    "AI_LAB_VERSION",
];

/// The directory of the time zones.
const ZONES: &[u8] = b"/usr/share/zoneinfo/";

/// A value of TZ must be shorter than this many bytes (PATH_MAX).
const LONGEST_ZONE: usize = 4096;

/// Returns the environment of a root hook: the fixed values, and the variables of `ours` that
/// are passed on. Those in `named` are passed on with any value. If a variable occurs twice, the
/// last value counts.
pub fn of_root(
    ours: impl IntoIterator<Item = (OsString, OsString)>,
    named: &[String],
) -> Vec<(OsString, OsString)> {
    let fixed = FIXED.map(|(name, value)| (name.into(), value.into()));
    let passed = ours
        .into_iter()
        .filter(|(name, value)| named.iter().any(|named| name == &**named) || passes(name, value));
    let all: Environment = passed.chain(fixed).collect();
    all.to_vec()
}

fn passes(name: &OsStr, value: &OsStr) -> bool {
    let value = value.as_bytes();
    if name == "TZ" {
        return is_zone(value);
    }
    let listed = |listed: &str| match listed.ends_with('_') {
        true => name.as_bytes().starts_with(listed.as_bytes()),
        false => name == listed,
    };
    CHECKED.iter().any(|one| listed(one)) && is_plain(value)
}

/// Reports whether a value is neither a path, nor a format, nor a function of bash (sudoers(5),
/// `env_check`).
fn is_plain(value: &[u8]) -> bool {
    let risky = |byte: &u8| [b'/', b'%'].contains(byte) || byte.is_ascii_control();
    !value.iter().any(risky) && !value.starts_with(b"()")
}

/// Reports whether a value of TZ leads to no file but the system's zones (sudoers(5), `env_check`).
fn is_zone(value: &[u8]) -> bool {
    let name = value.strip_prefix(b":").unwrap_or(value);
    let outside = name.starts_with(b"/") && !name.starts_with(ZONES);
    let climbs = name.split(|byte| *byte == b'/').any(|part| part == b"..");
    !outside && !climbs && name.iter().all(u8::is_ascii_graphic) && name.len() < LONGEST_ZONE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::own_variables::NOT_FOR_HOOKS;

    fn passed(name: &str, value: &str, named: &[&str]) -> bool {
        let named: Vec<String> = named.iter().map(|name| (*name).into()).collect();
        let all = of_root([(name.into(), value.into())], &named);
        all.len() > FIXED.len()
    }

    #[test]
    fn what_is_not_listed_is_not_passed_on() {
        for (name, value) in [
            ("LANG", "de_DE.UTF-8"),
            ("LC_ALL", "C"),
            ("TERM", "xterm-256color"),
            ("AI_LAB_VERSION", "1.2.3"),
            ("TZ", "Europe/Berlin"),
            ("TZ", ":UTC"),
            ("TZ", "/usr/share/zoneinfo/UTC"),
            ("TZ", "CET-1CEST,M3.5.0,M10.5.0/3"),
        ] {
            assert!(passed(name, value, &[]), "{name}={value}");
        }
        for (name, value) in [
            ("LD_PRELOAD", "x"),
            ("ANYTHING", "1"),
            ("LANGUAGES", "x"),
            ("LANG", "/home/jupyter/locale"),
            ("LC_ALL", "a/b"),
            ("TERM", "%n"),
            ("HOSTNAME", "() { :; }"),
            ("NO_COLOR", "a\nb"),
            ("TZ", "/home/jupyter/zone"),
            ("TZ", ":/home/jupyter/zone"),
            ("TZ", "/usr/share/zoneinfo/../../../home/jupyter/zone"),
            ("TZ", "../zone"),
            ("TZ", "a b"),
            ("JUPYTER_PASSWORD", "x"),
        ] {
            assert!(!passed(name, value, &[]), "{name}={value}");
        }
        assert!(passed("LD_LIBRARY_PATH", "/opt/x", &["LD_LIBRARY_PATH"]));
        assert!(!passed("TZ", "x".repeat(LONGEST_ZONE).as_str(), &[]));
    }

    #[test]
    fn nothing_takes_the_place_of_a_fixed_value() {
        for (name, _) in FIXED {
            assert!(NOT_FOR_HOOKS.contains(&name), "{name}");
            assert!(!passed(name, "x", &[]), "{name}");
        }
    }
}
