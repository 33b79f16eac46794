//! Adds a user to `/etc/passwd` and a group to `/etc/group`, as bytes: every other line stays as it
//! is. Pure functions, and the write under the shadow suite's locks.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::group_access::group_file::{self, AccountFile};
use crate::group_access::lock::Lock;
use crate::group_access::replacement;
use crate::group_access::replacement::Replacement;
use crate::identity::{Account, Root};
use crate::sys::effects::Effects;

/// The lines of an account, with which its uid, gid and groups have names.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a>(pub &'a Account);

impl Entry<'_> {
    /// Writes the user and its groups; a gid without a name gets the user's. Returns the paths of
    /// the files that change.
    ///
    /// # Errors
    /// A file cannot be read or replaced.
    pub fn write(&self, _: &Root, etc: &Path, effects: Effects<'_>) -> io::Result<Vec<PathBuf>> {
        let paths: Vec<PathBuf> = self
            .changes(etc)?
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        if effects.is_preview() {
            paths
                .iter()
                .try_for_each(|path| Replacement::can_prepare(path))?;
        } else if !paths.is_empty() {
            let _lock = Lock::take(etc, &["passwd", "group"])?;
            let prepared = self.changes(etc)?.into_iter();
            let prepared: Vec<Replacement> = prepared
                .map(|(path, text)| Replacement::prepare(&path, &text, 0o644))
                .collect::<io::Result<_>>()?;
            replacement::replace_all(prepared)?;
        }
        Ok(paths)
    }

    /// Appends the user's line to `/etc/passwd` without root, where the image allows that: images
    /// for OpenShift let group root write the file, though not replace it. Returns the paths of the
    /// files that change.
    ///
    /// # Errors
    /// The file cannot be read or written, or more than a new last line would be needed.
    pub fn append(&self, etc: &Path, effects: Effects<'_>) -> io::Result<Vec<PathBuf>> {
        let Some((mut file, line)) = self.open_to_append(etc)? else {
            return Ok(Vec::new());
        };
        effects.make(|| file.write_all(&line))?;
        Ok(vec![etc.join("passwd")])
    }

    /// Opens `/etc/passwd`; returns it with the bytes to append. `None`: nothing is missing.
    fn open_to_append(&self, etc: &Path) -> io::Result<Option<(File, Vec<u8>)>> {
        let path = etc.join("passwd");
        replacement::refuse_mounts(&path)?;
        let old = replacement::read(&path)?.ok_or(io::ErrorKind::NotFound)?;
        let Some(new) = self.passwd(&old) else {
            return Ok(None);
        };
        let line = new.strip_prefix(&old[..]);
        let line = line.ok_or_else(|| io::Error::other("another line has this name"))?;
        let mut options = File::options();
        let file = options.append(true).custom_flags(libc::O_NOFOLLOW);
        Ok(Some((file.open(&path)?, line.to_vec())))
    }

    /// The files to change, with their new content. The user comes last: then its group exists.
    fn changes(&self, etc: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let fields = [&self.0.home, &self.0.shell].map(|path| path.to_string_lossy());
        if fields.iter().any(|field| field.contains([':', '\n'])) {
            return Err(io::Error::other("a path with a colon or a line break"));
        }
        let mut changes = Vec::new();
        for (name, edit) in [
            ("group", Self::group as fn(&Self, &[u8]) -> Option<Vec<u8>>),
            ("passwd", Self::passwd),
        ] {
            let path = etc.join(name);
            let old = replacement::read(&path)?.ok_or(io::ErrorKind::NotFound)?;
            changes.extend(edit(self, &old).map(|new| (path, new)));
        }
        Ok(changes)
    }

    /// Returns `/etc/passwd` in which name and uid lead to this user; `None`: they do. Keeps the
    /// password, full name and shell of an account that has the name. The line comes before
    /// another name of the uid, because the first line with a uid gives its name.
    fn passwd(&self, text: &[u8]) -> Option<Vec<u8>> {
        let (uid, gid) = (self.0.uid.to_string(), self.0.gid.to_string());
        let home = self.0.home.to_string_lossy();
        let named = |line: &[u8]| {
            let is_named = line.starts_with(self.0.name.as_bytes());
            is_named && line.get(self.0.name.len()) == Some(&b':')
        };
        let fields = |line: &[u8]| -> Vec<String> {
            let line = String::from_utf8_lossy(line);
            line.split(':').map(str::to_owned).collect()
        };
        let has_uid = |line: &[u8]| {
            let fields = fields(line);
            let is_comment = line.starts_with(b"#");
            !is_comment && fields.len() == 7 && fields[2] == uid
        };
        let lines = || text.split(|byte| *byte == b'\n');
        let old = lines().find(|line| named(line)).map(fields);
        let old = old.filter(|fields| fields.len() == 7);
        let shell = self.0.shell.to_string_lossy();
        // `*`: no password, and no line in /etc/shadow. git takes the full name from here.
        let (home, shell) = (home.as_ref(), shell.as_ref());
        let new = match &old {
            Some(old) => [&*old[0], &*old[1], &uid, &gid, &*old[4], home, &*old[6]],
            None => [&*self.0.name, "*", &uid, &gid, &self.0.name, home, shell],
        };
        let new = new.map(str::to_owned);
        if old.as_deref() == Some(&new[..])
            && lines().filter(|line| named(line)).count() == 1
            && lines().find(|line| has_uid(line)).is_some_and(named)
        {
            return None;
        }
        let new = new.join(":").into_bytes();
        let mut kept: Vec<&[u8]> = lines().filter(|line| !named(line)).collect();
        if kept.last().is_some_and(|line| line.is_empty()) {
            kept.pop();
        }
        let at = kept.iter().position(|line| has_uid(line));
        kept.insert(at.unwrap_or(kept.len()), &new);
        kept.push(b"");
        Some(kept.join(&b'\n'))
    }

    /// Returns `/etc/group` in which the gid has a name, and the user is in its groups; `None`: it
    /// is so.
    fn group(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut new = text.to_vec();
        let name_of = |text: &[u8], gid: u32| {
            let mut entries = group_file::entries(text);
            let entry = entries.find(|entry| entry.gid == gid)?;
            Some(String::from_utf8_lossy(entry.name).into_owned())
        };
        if name_of(text, self.0.gid).is_none() {
            let taken = group_file::entries(text).any(|e| e.name == self.0.name.as_bytes());
            let name = match taken {
                true => format!("{}-{}", self.0.name, self.0.gid),
                false => self.0.name.clone(),
            };
            new = group_file::with_line(&new, &format!("{name}:x:{}:\n", self.0.gid));
        }
        for gid in &self.0.groups {
            let Some(name) = name_of(&new, *gid) else {
                continue;
            };
            let granted = group_file::grant(&new, AccountFile::Group, &name, *gid, &self.0.name);
            if let Ok(Some(granted)) = granted {
                new = granted;
            }
        }
        (new != text).then_some(new)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::sys::effects::WriteAccess;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
                          # a comment\n\
                          jupyter:x:1000:1000::/home/jupyter:/bin/bash\n\
                          ann:x:1001:1001:Ann:/home/ann:/bin/zsh\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\njupyter:x:1000:\n";

    fn alice(uid: u32, gid: u32) -> Account {
        Account {
            name: "alice".into(),
            uid,
            gid,
            home: "/home/alice".into(),
            shell: "/bin/bash".into(),
            groups: vec![1000],
            in_passwd: false,
        }
    }

    fn text(changed: Option<Vec<u8>>) -> Option<String> {
        changed.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_new_user_is_added_and_every_other_line_stays() {
        let new = text(Entry(&alice(1234, 100)).passwd(PASSWD.as_bytes())).unwrap();
        assert_eq!(
            new,
            format!("{PASSWD}alice:*:1234:100:alice:/home/alice:/bin/bash\n")
        );
        assert_eq!(
            Entry(&alice(1234, 100)).passwd(new.as_bytes()),
            None,
            "once is enough"
        );
        let unfinished = PASSWD.trim_end();
        assert_eq!(
            text(Entry(&alice(1234, 100)).passwd(unfinished.as_bytes())).unwrap(),
            new
        );
    }

    #[test]
    fn a_uid_that_has_a_name_gets_the_new_one_first() {
        let new = text(Entry(&alice(1000, 100)).passwd(PASSWD.as_bytes())).unwrap();
        let line = "alice:*:1000:100:alice:/home/alice:/bin/bash\n";
        let expected = PASSWD.replace("jupyter:x", &format!("{line}jupyter:x"));
        assert_eq!(new, expected);
        assert_eq!(Entry(&alice(1000, 100)).passwd(new.as_bytes()), None);
    }

    #[test]
    fn a_name_that_has_another_uid_moves_and_keeps_the_rest() {
        let ann = Account {
            name: "ann".into(),
            ..alice(501, 20)
        };
        let new = text(Entry(&ann).passwd(PASSWD.as_bytes())).unwrap();
        assert!(!new.contains("1001"), "{new}");
        assert!(
            new.ends_with("ann:x:501:20:Ann:/home/alice:/bin/zsh\n"),
            "{new}"
        );
        assert!(new.contains("# a comment\n"), "{new}");
    }

    #[test]
    fn what_is_no_line_of_a_user_stays_where_it_is() {
        let odd = "root:x:0:0::/root:/bin/sh\n\n#old:x:1234:1::/h:/s\n+@nis\nalice:x:7\n";
        let new = text(Entry(&alice(1234, 100)).passwd(odd.as_bytes())).unwrap();
        let line = "alice:*:1234:100:alice:/home/alice:/bin/bash\n";
        assert_eq!(new, odd.replace("alice:x:7\n", "") + line);
    }

    #[test]
    fn a_gid_without_a_name_gets_one_and_the_user_the_groups_of_the_venv() {
        let new = text(Entry(&alice(1, 100)).group(GROUP.as_bytes())).unwrap();
        assert_eq!(new, GROUP.replace("1000:", "1000:alice"));
        assert_eq!(Entry(&alice(1, 100)).group(new.as_bytes()), None);
        let new = text(Entry(&alice(1, 20)).group(GROUP.as_bytes())).unwrap();
        let with = GROUP.replace("1000:", "1000:alice");
        assert_eq!(new, format!("{with}alice:x:20:\n"));
        let users = Account {
            name: "users".into(),
            ..alice(1, 20)
        };
        let new = text(Entry(&users).group(GROUP.as_bytes())).unwrap();
        assert!(new.ends_with("users-20:x:20:\n"), "{new}");
    }

    /// Images for OpenShift let group root write the file, but not replace it.
    #[test]
    fn without_root_the_line_is_appended_where_the_file_can_be_written() {
        let etc = tempfile::tempdir().unwrap();
        let path = etc.path().join("passwd");
        let alice = alice(1234, 0);
        let entry = Entry(&alice);
        let append = |entry: &Entry<'_>| entry.append(etc.path(), Effects::Make);
        assert!(append(&entry).is_err(), "there is no file");
        std::fs::write(&path, PASSWD.trim_end()).unwrap();
        let preview = Effects::Preview(&WriteAccess::default());
        entry.append(etc.path(), preview).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), PASSWD.trim_end());
        for _ in 0..2 {
            append(&entry).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let line = "alice:*:1234:0:alice:/home/alice:/bin/bash\n";
            assert_eq!(text, format!("{PASSWD}{line}"));
        }
        let again = Account { uid: 77, ..alice };
        let refused = append(&Entry(&again)).unwrap_err();
        assert_eq!(refused.to_string(), "another line has this name");
    }
}
