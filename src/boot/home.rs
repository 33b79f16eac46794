//! HOME: the directories in which Jupyter, IPython and matplotlib keep their own things.
//!
//! Where one of them cannot be written, what is written goes to a private directory in
//! `/tmp`, and what is in the old place is still read.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use super::foresight::Foresight;
use super::{Failure, Person, Start};
use crate::degradation::Degradation;
use crate::server::environment::{self, Environment};
use crate::server::password::place::{CONFIG_PATH, FILE, user_directory};

/// The way in which the old place is read while the new one is in use.
#[derive(Debug, Clone, Copy)]
enum Behind {
    /// There is nothing to read.
    Nothing,
    /// By a variable with a list of directories.
    Path(&'static str),
    /// By links in the new place, but for these entries, which are written; a star stands
    /// for any end.
    Links(&'static [&'static str]),
}

/// A directory that is kept in HOME.
#[derive(Debug)]
struct Kept {
    /// The variable that puts it elsewhere.
    variable: &'static str,
    /// Where it is without that variable.
    directory: &'static str,
    behind: Behind,
}

const KEPT: [Kept; 6] = [
    kept("JUPYTER_CONFIG_DIR", ".jupyter", Behind::Path(CONFIG_PATH)),
    kept(
        "JUPYTER_DATA_DIR",
        ".local/share/jupyter",
        Behind::Path("JUPYTER_PATH"),
    ),
    kept(RUNTIME, ".local/share/jupyter/runtime", Behind::Nothing),
    kept(
        "IPYTHONDIR",
        ".ipython",
        Behind::Links(&["db", "history.sqlite*", "log", "pid", "security"]),
    ),
    kept(
        "MPLCONFIGDIR",
        ".config/matplotlib",
        Behind::Links(&["fontlist*", "tex.cache"]),
    ),
    kept("XDG_CACHE_HOME", ".cache", Behind::Nothing),
];

const fn kept(variable: &'static str, directory: &'static str, behind: Behind) -> Kept {
    Kept {
        variable,
        directory,
        behind,
    }
}

/// Directories of Jupyter's configuration that it looks for in one place alone.
const ONLY_ONE: [&str; 2] = ["custom", "lab"];

/// At most so many links are made for one directory, and so deep.
const MOST_LINKS: usize = 4096;
const DEEPEST: usize = 16;

/// The kernels' sockets are in this one: `kernel-UUID-ipc-N`.
const RUNTIME: &str = "JUPYTER_RUNTIME_DIR";

/// The longest path of a directory for them: 107 bytes are the kernel's limit for a socket.
const LONGEST_RUNTIME: usize = 107 - "/kernel-01234567-89ab-cdef-0123-456789abcdef-ipc-1".len();

/// Reports whether a directory's path is too long for what is made there.
fn too_long(kept: &Kept, path: &Path) -> bool {
    kept.variable == RUNTIME && path.as_os_str().len() > LONGEST_RUNTIME
}

/// The directories of HOME that move to another place.
#[derive(Debug)]
pub(super) struct Moved {
    /// The private directory that takes the place of HOME.
    pub base: PathBuf,
    directories: Vec<(&'static Kept, PathBuf)>,
    /// The file with the password is a mount of its own, which cannot be replaced: the
    /// directory where it is.
    mounted_password: Option<PathBuf>,
}

impl Moved {
    /// Finds out what cannot be written in HOME.
    pub fn find(
        person: &Person,
        environment: &Environment,
        writable: &dyn Fn(&Path) -> bool,
    ) -> Self {
        let home = &person.account.home;
        let variable = |name: &str| environment.get(name).map(OsStr::to_owned);
        let config = user_directory(&variable, home);
        let unset = |kept: &&Kept| environment.get(kept.variable).is_none_or(OsStr::is_empty);
        let directories: Vec<_> = KEPT
            .iter()
            .filter(unset)
            .map(|kept| match kept.variable {
                "JUPYTER_CONFIG_DIR" => (kept, config.clone()),
                _ => (kept, home.join(kept.directory)),
            })
            .filter(|(kept, old)| !writable(old) || too_long(kept, old))
            .collect();
        let written = directories.iter().all(|(_, old)| *old != config);
        Self {
            base: environment::temporary().join(format!("ai-lab-home-{}", person.account.uid)),
            mounted_password: (written && is_mount(&config.join(FILE))).then_some(config),
            directories,
        }
    }

    /// Reports whether nothing has to move.
    pub fn is_nothing(&self) -> bool {
        self.directories.is_empty() && self.mounted_password.is_none()
    }

    /// The directories that are moved, by their names in HOME, with what is wrong with them
    /// there, and their new places.
    pub fn places(&self) -> impl Iterator<Item = (&'static str, &'static str, PathBuf)> {
        self.directories.iter().map(|(kept, old)| {
            let problem = match too_long(kept, old) {
                true => "has too long a path",
                false => "cannot be written",
            };
            (kept.directory, problem, self.base.join(kept.directory))
        })
    }

    /// Tells the server where everything is; the directory of the password, where that
    /// is not the user's configuration directory.
    pub fn enter(&self, environment: &mut Environment) -> Option<PathBuf> {
        for (kept, old) in &self.directories {
            let new = self.base.join(kept.directory);
            environment.set(kept.variable, &new);
            if let Behind::Path(list) = kept.behind {
                put_behind(environment, list, &new, old);
            }
        }
        let old = self.mounted_password.as_ref()?;
        let new = self.base.join(".jupyter");
        put_behind(environment, CONFIG_PATH, &new, old);
        Some(new)
    }

    /// Makes the links to what is read in the old places.
    ///
    /// # Errors
    /// A directory or link cannot be made, or there is too much to link to.
    pub fn link(&self, stop: &dyn Fn() -> bool) -> io::Result<()> {
        for (kept, old) in &self.directories {
            let new = self.base.join(kept.directory);
            match kept.behind {
                Behind::Links(written) => Links::new(written, stop).make(old, &new, 0)?,
                Behind::Path(CONFIG_PATH) => {
                    for name in ONLY_ONE {
                        Links::new(&[], stop).make(&old.join(name), &new.join(name), 0)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the degradation about it; `made`: the result of making the new place.
    pub fn report(&self, person: &Person, made: &io::Result<()>) -> Option<Degradation> {
        let unwritable = self
            .directories
            .iter()
            .filter(|(kept, old)| !too_long(kept, old) || made.is_err());
        let names: Vec<&str> = unwritable.map(|(kept, _)| kept.directory).collect();
        if names.is_empty() {
            return None;
        }
        let home = person.account.home.display();
        let cause = format!("{} cannot be written in HOME {home}", names.join(", "));
        let base = self.base.display();
        Some(match made {
            Ok(()) => Degradation::new(
                format!(
                    "{cause}: what belongs there is in {base} and ends with the container; what \
                     is there already is still read"
                ),
                "mount a volume or a tmpfs there, or name another directory with --home",
            ),
            Err(error) => Degradation::new(
                format!("{cause}: and {base} neither ({error}), so that the server may not start"),
                "run with --tmpfs /tmp, or mount a volume or a tmpfs there",
            ),
        })
    }
}

/// Puts what cannot be in HOME elsewhere; the directory of the password, where that is not
/// the user's configuration directory.
pub(super) fn settle(
    start: &mut Start<'_>,
    person: &Person,
    environment: &mut Environment,
) -> Result<Option<PathBuf>, Failure> {
    let writable = |directory: &Path| Foresight::default().writable(directory).is_ok();
    let moved = Moved::find(person, environment, &writable);
    if moved.is_nothing() {
        return Ok(None);
    }
    let made = make_private(&moved.base, person.account.uid);
    if let Some(report) = moved.report(person, &made) {
        start.report.degraded(report)?;
    }
    if made.is_err() {
        return Ok(None);
    }
    if let Err(error) = moved.link(&|| start.stop_requested()) {
        let cause = format!(
            "not everything in HOME {} can be read: {error}",
            person.account.home.display()
        );
        start.report.degraded(Degradation::note(cause))?;
    }
    start.go_on()?;
    Ok(moved.enter(environment))
}

/// Makes a directory that only we can enter, in a place that all can write.
fn make_private(path: &Path, uid: u32) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let data = fs::symlink_metadata(path)?;
    if !(data.is_dir() && data.uid() == uid && data.mode() & 0o077 == 0) {
        return Err(io::Error::other("somebody else made it"));
    }
    // An earlier start may have made it before the file system was read-only.
    Foresight::default().writable(path)
}

/// Puts the new place before the old one, and both behind what the list has already.
fn put_behind(environment: &mut Environment, list: &str, new: &Path, old: &Path) {
    let mut value = OsString::new();
    if let Some(before) = environment.get(list).filter(|before| !before.is_empty()) {
        value.push(before);
        value.push(":");
    }
    value.push(new);
    value.push(":");
    value.push(old);
    environment.set(list, value);
}

/// Reports whether a path is a mount point.
fn is_mount(path: &Path) -> bool {
    let asked = StatxFlags::BASIC_STATS;
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, asked);
    let top =
        |found: &rustix::fs::Statx| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    found.is_ok_and(|found| top(&found))
}

/// Directories with links to what is in another one.
struct Links<'a> {
    /// Names that are left out; a star stands for any end.
    written: &'a [&'a str],
    stop: &'a dyn Fn() -> bool,
    made: usize,
}

impl<'a> Links<'a> {
    fn new(written: &'a [&'a str], stop: &'a dyn Fn() -> bool) -> Self {
        Self {
            written,
            stop,
            made: 0,
        }
    }

    fn make(&mut self, old: &Path, new: &Path, depth: usize) -> io::Result<()> {
        let entries = match fs::read_dir(old) {
            Ok(entries) => entries,
            // The user cannot read it, so the server could not either.
            Err(_) => return Ok(()),
        };
        fs::create_dir_all(new)?;
        forget_old_links(new, old)?;
        for entry in entries {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            let bytes = name.as_encoded_bytes();
            // Kubernetes keeps a ConfigMap's files behind entries with two dots.
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

/// A file that is there is the user's own by now, and stays.
fn link(old: &Path, new: &Path) -> io::Result<()> {
    match std::os::unix::fs::symlink(old, new) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Removes the links of an earlier start whose files are gone.
fn forget_old_links(new: &Path, old: &Path) -> io::Result<()> {
    for entry in fs::read_dir(new)? {
        let path = entry?.path();
        let gone = fs::read_link(&path).is_ok_and(|to| to.starts_with(old) && !to.exists());
        if gone {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
