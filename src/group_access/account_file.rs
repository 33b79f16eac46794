//! Adds a user to `/etc/passwd` and a group to `/etc/group`, as bytes: every other line stays as it
//! is. Pure functions, and the write under the shadow suite's locks.

use std::io;
use std::path::{Path, PathBuf};

use crate::group_access::group_file;
use crate::group_access::lock::{self, Lock, Replacement};
use crate::identity::Root;

/// A user with its group, as they shall be found by uid and gid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserEntry {
    /// The user's name.
    pub name: String,
    /// The uid.
    pub uid: u32,
    /// The primary gid.
    pub gid: u32,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell.
    pub shell: PathBuf,
}

impl UserEntry {
    /// Writes the user, and a group of the same name if the gid has none.
    ///
    /// # Errors
    /// A file cannot be read or replaced. Neither is changed then.
    pub fn write(&self, _: &Root, etc: &Path) -> io::Result<()> {
        if self.changes(etc)?.is_empty() {
            return Ok(());
        }
        let _lock = Lock::take(etc, &["passwd", "group"])?;
        let prepared = self.changes(etc)?.into_iter();
        let prepared: Vec<Replacement> = prepared
            .map(|(path, text)| Replacement::prepare(&path, &text, 0o644))
            .collect::<io::Result<_>>()?;
        prepared.into_iter().try_for_each(Replacement::rename_over)
    }

    /// Previews [`Self::write`]: the paths of the files that it would change.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn preview(&self, etc: &Path) -> io::Result<Vec<PathBuf>> {
        let paths = self.changes(etc)?.into_iter().map(|(path, _)| path);
        let paths: Vec<PathBuf> = paths.collect();
        paths
            .iter()
            .try_for_each(|path| Replacement::can_prepare(path))?;
        Ok(paths)
    }

    /// The files to change, with their new content.
    fn changes(&self, etc: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let mut changes = Vec::new();
        for (name, edit) in [
            (
                "passwd",
                Self::passwd as fn(&Self, &[u8]) -> Option<Vec<u8>>,
            ),
            ("group", Self::group),
        ] {
            let path = etc.join(name);
            let old = lock::read(&path)?.ok_or(io::ErrorKind::NotFound)?;
            changes.extend(edit(self, &old).map(|new| (path, new)));
        }
        Ok(changes)
    }

    /// Returns `/etc/passwd` in which name and uid lead to this user; `None`: they do. The line
    /// comes before another name of the uid, because the first line with a uid gives its name.
    fn passwd(&self, text: &[u8]) -> Option<Vec<u8>> {
        let (home, shell) = (self.home.display(), self.shell.display());
        // `*`: no password, and no line in /etc/shadow. git takes the full name from here.
        let (name, uid, gid) = (&self.name, self.uid, self.gid);
        let line = format!("{name}:*:{uid}:{gid}:{name}:{home}:{shell}");
        let lines = || text.split(|byte| *byte == b'\n');
        let field = |line: &[u8], number: usize| -> Vec<u8> {
            let mut fields = line.split(|byte| *byte == b':');
            fields.nth(number).unwrap_or_default().to_vec()
        };
        let is_named = |line: &[u8]| field(line, 0) == name.as_bytes();
        let has_uid = |line: &[u8]| field(line, 2) == uid.to_string().as_bytes();
        let is_right = |line: &[u8]| {
            is_named(line)
                && has_uid(line)
                && field(line, 3) == gid.to_string().as_bytes()
                && field(line, 5) == self.home.as_os_str().as_encoded_bytes()
        };
        let first_of_uid = lines().find(|line| has_uid(line));
        if lines().filter(|line| is_named(line)).count() == 1 && first_of_uid.is_some_and(is_right)
        {
            return None;
        }
        let mut new = Vec::new();
        let mut written = false;
        for old in lines().filter(|line| !line.is_empty() && !is_named(line)) {
            if has_uid(old) && !written {
                new.extend_from_slice(line.as_bytes());
                new.push(b'\n');
                written = true;
            }
            new.extend_from_slice(old);
            new.push(b'\n');
        }
        if !written {
            new.extend_from_slice(line.as_bytes());
            new.push(b'\n');
        }
        Some(new)
    }

    /// Returns `/etc/group` in which the gid has a name; `None`: it has one.
    fn group(&self, text: &[u8]) -> Option<Vec<u8>> {
        if group_file::entries(text).any(|entry| entry.gid == self.gid) {
            return None;
        }
        let taken = |name: &str| {
            let mut entries = group_file::entries(text);
            entries.any(|entry| entry.name == name.as_bytes())
        };
        let name = match taken(&self.name) {
            true => format!("{}-{}", self.name, self.gid),
            false => self.name.clone(),
        };
        let mut new = text.to_vec();
        if !new.is_empty() && !new.ends_with(b"\n") {
            new.push(b'\n');
        }
        new.extend_from_slice(format!("{name}:x:{}:\n", self.gid).as_bytes());
        Some(new)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
                          # a comment\n\
                          jupyter:x:1000:1000::/home/jupyter:/bin/bash\n\
                          ann:x:1001:1001:Ann:/home/ann:/bin/zsh\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\njupyter:x:1000:\n";

    fn alice(uid: u32, gid: u32) -> UserEntry {
        UserEntry {
            name: "alice".into(),
            uid,
            gid,
            home: "/home/alice".into(),
            shell: "/bin/bash".into(),
        }
    }

    fn text(changed: Option<Vec<u8>>) -> Option<String> {
        changed.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_new_user_is_added_and_every_other_line_stays() {
        let new = text(alice(1234, 100).passwd(PASSWD.as_bytes())).unwrap();
        assert_eq!(
            new,
            format!("{PASSWD}alice:*:1234:100:alice:/home/alice:/bin/bash\n")
        );
        assert_eq!(
            alice(1234, 100).passwd(new.as_bytes()),
            None,
            "once is enough"
        );
        let unfinished = PASSWD.trim_end();
        assert_eq!(
            text(alice(1234, 100).passwd(unfinished.as_bytes())).unwrap(),
            new
        );
    }

    #[test]
    fn a_uid_that_has_a_name_gets_the_new_one_first() {
        let new = text(alice(1000, 100).passwd(PASSWD.as_bytes())).unwrap();
        let line = "alice:*:1000:100:alice:/home/alice:/bin/bash\n";
        let expected = PASSWD.replace("jupyter:x", &format!("{line}jupyter:x"));
        assert_eq!(new, expected);
        assert_eq!(alice(1000, 100).passwd(new.as_bytes()), None);
    }

    #[test]
    fn a_name_that_has_another_uid_moves() {
        let ann = UserEntry {
            name: "ann".into(),
            ..alice(501, 20)
        };
        let new = text(ann.passwd(PASSWD.as_bytes())).unwrap();
        assert!(!new.contains("1001"), "{new}");
        assert!(
            new.ends_with("ann:*:501:20:ann:/home/alice:/bin/bash\n"),
            "{new}"
        );
        assert!(new.contains("# a comment\n"), "{new}");
    }

    #[test]
    fn a_gid_without_a_name_gets_one() {
        assert_eq!(alice(1, 100).group(GROUP.as_bytes()), None);
        let new = text(alice(1, 20).group(GROUP.as_bytes())).unwrap();
        assert_eq!(new, format!("{GROUP}alice:x:20:\n"));
        let users = UserEntry {
            name: "users".into(),
            ..alice(1, 20)
        };
        let new = text(users.group(GROUP.as_bytes())).unwrap();
        assert_eq!(new, format!("{GROUP}users-20:x:20:\n"));
    }
}
