//! The user and group databases, `/etc/passwd` and `/etc/group`, read without NSS.
//!
//! The C library asks the services of `nsswitch.conf` and loads a module for each of them, even
//! into a static program, and from any directory in `LD_LIBRARY_PATH` (passwd(5), group(5),
//! nss(5)). Root must load no such code, so accounts of other services do not exist here.

use std::fs;
use std::path::{Path, PathBuf};

/// The name of the service that [`has_name_service`] looks for.
const NAME_SERVICE: &str = "ai_lab";

/// One line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The uid.
    pub uid: u32,
    /// The primary gid.
    pub gid: u32,
    /// The home directory; may be empty.
    pub home: PathBuf,
    /// The login shell; may be empty.
    pub shell: PathBuf,
}

/// One line of `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The name.
    pub name: String,
    /// The gid.
    pub gid: u32,
    /// Names of the listed members; users with this primary group may be missing.
    pub members: Vec<String>,
}

/// Returns the users in the order of the file; empty if it cannot be read.
pub fn users() -> Vec<User> {
    read(Path::new("/etc/passwd"), user)
}

/// Returns the groups in the order of the file; empty if it cannot be read.
pub fn groups() -> Vec<Group> {
    read(Path::new("/etc/group"), group)
}

/// Reports whether the image's service of `nsswitch.conf` is in use, which gives a name to a
/// process whose uid the files do not have (`image/names.c`).
pub fn has_name_service() -> bool {
    let text = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("passwd:"));
    lines.any(|services| services.split_whitespace().any(|name| name == NAME_SERVICE))
}

fn read<T>(path: &Path, parse: fn(&str) -> Option<T>) -> Vec<T> {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().filter_map(parse).collect()
}

fn user(line: &str) -> Option<User> {
    let [name, _, uid, gid, _, home, shell] = fields(line, 4)?;
    Some(User {
        name: name.to_owned(),
        uid: id(uid)?,
        gid: id(gid)?,
        home: home.into(),
        shell: shell.into(),
    })
}

fn group(line: &str) -> Option<Group> {
    let [name, _, gid, members] = fields(line, 3)?;
    let members = members.split(',').filter(|member| !member.is_empty());
    Some(Group {
        name: name.to_owned(),
        gid: id(gid)?,
        members: members.map(str::to_owned).collect(),
    })
}

/// Returns the fields of a line; `None` for a comment, an entry of NIS (`+`, `-`), an empty name,
/// or another number of fields. Those after the first `least` may be missing, as in the C library.
fn fields<const N: usize>(line: &str, least: usize) -> Option<[&str; N]> {
    if line.starts_with(['#', '+', '-', ':']) {
        return None;
    }
    let mut fields: Vec<&str> = line.split(':').collect();
    if (least..N).contains(&fields.len()) {
        fields.resize(N, "");
    }
    fields.try_into().ok()
}

/// Parses a uid or gid. Rejects the highest number, which means "unchanged" to the kernel.
pub(super) fn id(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.filter(|number| *number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_users_and_groups() {
        let found = user("ann:x:1000:1001:Ann,,:/home/ann:/bin/zsh");
        let expected = User {
            name: "ann".into(),
            uid: 1000,
            gid: 1001,
            home: "/home/ann".into(),
            shell: "/bin/zsh".into(),
        };
        assert_eq!(found, Some(expected));
        let found = group("docker:x:999:ann,,bob");
        let expected = Group {
            name: "docker".into(),
            gid: 999,
            members: vec!["ann".into(), "bob".into()],
        };
        assert_eq!(found, Some(expected));
        for line in ["ann:x:1:1", "ann:x:1:1:Ann", "ann:x:1:1::", "ann:x:1:1:::"] {
            assert_eq!(user(line), user("ann:x:1:1:::"), "{line}");
        }
        assert_eq!(group("a:x:1"), group("a:x:1:"));
    }

    #[test]
    fn lines_that_are_none_are_left_out() {
        for line in [
            "",
            "# ann:x:1:1::/:",
            "+ann:x:1:1::/:",
            "-:x:1:1::/:",
            ":x:1:1::/:",
            "ann:x:1",
            "ann:x:1:1::/::",
            "ann:x:+1:1::/:",
            "ann:x::1::/:",
            "ann:x:4294967295:1::/:",
            "ann:x:1:4294967296::/:",
        ] {
            assert_eq!(user(line), None, "{line:?}");
        }
        for line in ["", "#a:x:1:", "a:x", "a:x:1::", "a:x::", "a:x:-1:"] {
            assert_eq!(group(line), None, "{line:?}");
        }
    }
}
