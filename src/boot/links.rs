//! Links in a new location to the files of an old one.

use std::fs;
use std::io;
use std::path::Path;

/// Limits of the links for one directory: their number, and the depth of subdirectories.
const MOST_LINKS: usize = 4096;
const DEEPEST: usize = 16;

/// A tree of directories with links to the files of another one.
pub(super) struct Links<'a> {
    /// Names that get no link. A `*` at the end stands for any ending.
    written: &'a [&'a str],
    stop: &'a dyn Fn() -> bool,
    made: usize,
}

impl<'a> Links<'a> {
    pub(super) fn new(written: &'a [&'a str], stop: &'a dyn Fn() -> bool) -> Self {
        Self {
            written,
            stop,
            made: 0,
        }
    }

    /// Makes the links, `depth` directories below the top.
    ///
    /// # Errors
    /// A directory or link cannot be made, or there is too much to link to.
    pub(super) fn make(&mut self, old: &Path, new: &Path, depth: usize) -> io::Result<()> {
        let entries = match fs::read_dir(old) {
            Ok(entries) => entries,
            // It does not exist, or the user cannot read it, so the server could not either.
            Err(_) => return Ok(()),
        };
        fs::create_dir_all(new)?;
        remove_stale_links(new, old)?;
        for entry in entries {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            let bytes = name.as_encoded_bytes();
            // Kubernetes keeps a ConfigMap's files in entries that begin with two dots.
            let left_out = |written: &&str| match written.strip_suffix('*') {
                Some(begin) => bytes.starts_with(begin.as_bytes()),
                None => bytes == written.as_bytes(),
            };
            if bytes.starts_with(b"..") || self.written.iter().any(left_out) {
                continue;
            }
            self.made += 1;
            if self.made > MOST_LINKS || depth > DEEPEST {
                let problem = format!("{} has too many files", old.display());
                return Err(io::Error::other(problem));
            }
            if (self.stop)() {
                return Ok(());
            }
            match kind.is_dir() {
                true => self.make(&old.join(&name), &new.join(&name), depth + 1)?,
                false => link(&old.join(&name), &new.join(&name))?,
            }
        }
        Ok(())
    }
}

/// Makes a link. A file that exists is the user's own by now, and stays.
fn link(old: &Path, new: &Path) -> io::Result<()> {
    match std::os::unix::fs::symlink(old, new) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Removes the links of an earlier start whose targets are gone.
fn remove_stale_links(new: &Path, old: &Path) -> io::Result<()> {
    for entry in fs::read_dir(new)? {
        let path = entry?.path();
        let gone = fs::read_link(&path).is_ok_and(|to| to.starts_with(old) && !to.exists());
        if gone {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
