//! Edits `/etc/group` and `/etc/gshadow` as bytes: changes one line and keeps every other byte.
//! Pure functions.

use std::ops::Range;

/// Which of the two files a text comes from.
///
/// Both have four fields with the members last: `name:password:gid:members` and
/// `name:password:administrators:members` (group(5), gshadow(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountFile {
    /// `/etc/group`.
    Group,
    /// `/etc/gshadow`.
    Gshadow,
}

/// Why a file is not edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A name that would break the file's syntax.
    #[error("{0:?} is not a name for a user or group")]
    Name(String),
    /// Two lines have the group's name: either could be meant.
    #[error("group {0} is listed more than once")]
    Twice(String),
    /// The group's line does not follow group(5).
    #[error("the line of group {0} is damaged")]
    Damaged(String),
}

/// A well-formed line of `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The group's name.
    pub name: &'a [u8],
    /// Its gid.
    pub gid: u32,
    /// The members' names, separated by commas.
    members: &'a [u8],
}

impl Entry<'_> {
    /// Reports whether `user` is listed as a member.
    pub fn has(&self, user: &str) -> bool {
        lists(self.members, user)
    }
}

/// Returns the groups of `/etc/group`. Skips other lines: comments, entries of NIS, bad names.
pub fn entries(text: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let [name, _, gid, members] = fields(line)?;
        check(std::str::from_utf8(name).ok()?).ok()?;
        let gid = std::str::from_utf8(gid).ok()?.parse().ok()?;
        Some(Entry { name, gid, members })
    })
}

/// Makes `user` a member of `group`, and creates the group if it does not exist. In `/etc/group`
/// the group also gets `gid`. Returns `None` if nothing changes.
///
/// # Errors
/// The text cannot be edited without guessing.
pub fn grant(
    text: &[u8],
    file: AccountFile,
    group: &str,
    gid: u32,
    user: &str,
) -> Result<Option<Vec<u8>>, Refusal> {
    check(user)?;
    let Some((at, [name, password, third, members])) = find(text, group)? else {
        let line = match file {
            AccountFile::Group => format!("{group}:x:{gid}:{user}\n"),
            AccountFile::Gshadow => format!("{group}:!::{user}\n"),
        };
        return Ok(Some(with_line(text, &line)));
    };
    let gid = gid.to_string();
    let third = match file {
        AccountFile::Group => gid.as_bytes(),
        AccountFile::Gshadow => third,
    };
    let mut listed = members.to_vec();
    if !lists(members, user) {
        if !listed.is_empty() {
            listed.push(b',');
        }
        listed.extend_from_slice(user.as_bytes());
    }
    let line = [name, password, third, &listed].join(&b':');
    Ok(replaced(text, at, &line))
}

/// Removes `user` from `group`. Returns `None` if nothing changes.
///
/// # Errors
/// The text cannot be edited without guessing.
pub fn withdraw(text: &[u8], group: &str, user: &str) -> Result<Option<Vec<u8>>, Refusal> {
    check(user)?;
    let Some((at, [name, password, third, members])) = find(text, group)? else {
        return Ok(None);
    };
    if !lists(members, user) {
        return Ok(None);
    }
    let others: Vec<&[u8]> = members
        .split(|byte| *byte == b',')
        .filter(|member| *member != user.as_bytes())
        .collect();
    let line = [name, password, third, &others.join(&b',')].join(&b':');
    Ok(replaced(text, at, &line))
}

fn replaced(text: &[u8], at: Range<usize>, line: &[u8]) -> Option<Vec<u8>> {
    let new = [&text[..at.start], line, &text[at.end..]].concat();
    (new != text).then_some(new)
}

/// Returns a text with one more line.
pub(super) fn with_line(text: &[u8], line: &str) -> Vec<u8> {
    let end: &[u8] = match text.is_empty() || text.ends_with(b"\n") {
        true => b"",
        false => b"\n",
    };
    [text, end, line.as_bytes()].concat()
}

/// The position of a line, without its newline, and its fields.
type Line<'a> = (Range<usize>, [&'a [u8]; 4]);

/// Returns the line of `group`.
fn find<'a>(text: &'a [u8], group: &str) -> Result<Option<Line<'a>>, Refusal> {
    check(group)?;
    let mut found = None;
    let mut start = 0;
    for line in text.split(|byte| *byte == b'\n') {
        let end = start + line.len();
        if line.split(|byte| *byte == b':').next() == Some(group.as_bytes())
            && found.replace(start..end).is_some()
        {
            return Err(Refusal::Twice(group.into()));
        }
        start = end + 1;
    }
    let Some(at) = found else { return Ok(None) };
    let fields = fields(&text[at.clone()]).ok_or_else(|| Refusal::Damaged(group.into()))?;
    Ok(Some((at, fields)))
}

/// Returns the fields of a line. The members may be missing, with the colon before them, as in the C
/// library.
fn fields(line: &[u8]) -> Option<[&[u8]; 4]> {
    let mut fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    if fields.len() == 3 {
        fields.push(b"");
    }
    fields.try_into().ok()
}

fn lists(members: &[u8], user: &str) -> bool {
    let mut names = members.split(|byte| *byte == b',');
    names.any(|name| name == user.as_bytes())
}

/// Rejects a name that would not be read back as one name: with separators, or starting like a
/// comment or an entry of NIS (`+`, `-`).
fn check(name: &str) -> Result<(), Refusal> {
    let breaks = |char: char| char.is_control() || char.is_whitespace() || ":,".contains(char);
    match name.is_empty() || name.starts_with(['+', '-', '#']) || name.contains(breaks) {
        true => Err(Refusal::Name(name.into())),
        false => Ok(()),
    }
}

#[cfg(test)]
#[path = "group_file_tests.rs"]
mod tests;
