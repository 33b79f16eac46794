//! HOME: the directories in which Jupyter, IPython and matplotlib keep their files.
//!
//! If one of them cannot be written, or its disk is full, new files go to a private directory in
//! TMPDIR (default `/tmp`) or in memory, and the files in the old location are still read.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::boot::account::{is_gid_of_people, is_uid_for};
use crate::boot::changes::Section;
use crate::boot::context::{ServerUser, Start};
use crate::boot::failure::Failure;
use crate::boot::links::Links;
use crate::degradation::Degradation;
use crate::identity::Account;
use crate::jupyter_config::location::{CONFIG_FILE_NAME, CONFIG_PATH, user_directory};
use crate::sys::dir;
use crate::sys::dir::RoomChecks;
use crate::sys::env;
use crate::sys::env::Environment;
use crate::sys::flock;

/// The way in which the server still reads files of the old location.
#[derive(Debug, Clone, Copy)]
enum OldFiles {
    /// No file there needs to be read.
    Nothing,
    /// Through a variable that lists directories.
    Path(&'static str),
    /// Through links in the new location, except for these entries, which are written. A `*` at
    /// the end stands for any ending.
    Links(&'static [&'static str]),
}

/// A directory that is kept in HOME.
#[derive(Debug)]
struct Movable {
    /// The variable that sets another location.
    variable: &'static str,
    /// The location below HOME without that variable.
    directory: &'static str,
    old_files: OldFiles,
}

const MOVABLE: [Movable; 6] = [
    movable(
        "JUPYTER_CONFIG_DIR",
        ".jupyter",
        OldFiles::Path(CONFIG_PATH),
    ),
    movable(DATA, ".local/share/jupyter", OldFiles::Path("JUPYTER_PATH")),
    movable(RUNTIME, ".local/share/jupyter/runtime", OldFiles::Nothing),
    movable(
        "IPYTHONDIR",
        ".ipython",
        OldFiles::Links(&["db", "history.sqlite*", "log", "pid", "security"]),
    ),
    movable(
        "MPLCONFIGDIR",
        ".config/matplotlib",
        OldFiles::Links(&["fontlist*", "tex.cache"]),
    ),
    movable("XDG_CACHE_HOME", ".cache", OldFiles::Nothing),
];

const fn movable(variable: &'static str, directory: &'static str, behind: OldFiles) -> Movable {
    Movable {
        variable,
        directory,
        old_files: behind,
    }
}

/// Subdirectories of Jupyter's configuration that it reads from one location only.
const ONLY_ONE: [&str; 2] = ["custom", "lab"];

/// Where files are kept that find no room on any disk.
const MEMORY: &str = "/dev/shm";

/// The variable for Jupyter's data, in which `runtime` is the directory of the kernels' sockets.
const DATA: &str = "JUPYTER_DATA_DIR";

/// The variable for the directory of the kernels' sockets, `kernel-UUID-ipc-N`.
const RUNTIME: &str = "JUPYTER_RUNTIME_DIR";

/// The variable of a hub with `c.Spawner.disable_user_config`.
const NO_USER_CONFIG: &str = "JUPYTERHUB_DISABLE_USER_CONFIG";

/// The variable for git's file of a person, which `git config --global` writes.
const GIT_CONFIG: &str = "GIT_CONFIG_GLOBAL";

/// The name of that file, and what makes git read the ones of HOME first.
const GIT_FILE: &str = ".gitconfig";
const GIT_INCLUDES: &str = "[include]\n\tpath = ~/.config/git/config\n\tpath = ~/.gitconfig\n";

/// The longest path of that directory, in bytes. The kernel allows 107 for a socket's path.
const LONGEST_RUNTIME: usize = 107 - "/kernel-01234567-89ab-cdef-0123-456789abcdef-ipc-1".len();

/// Reports whether a directory's path is too long for the sockets that are made in it.
fn too_long(kept: &Movable, path: &Path) -> bool {
    kept.variable == RUNTIME && path.as_os_str().len() > LONGEST_RUNTIME
}

/// The directories of HOME that move to another location.
#[derive(Debug)]
pub(super) struct Moved {
    /// The private directory that replaces HOME.
    pub base: PathBuf,
    home: PathBuf,
    directories: Vec<(&'static Movable, PathBuf)>,
    /// True if git cannot write its file in HOME.
    git: bool,
    /// The error of a disk that has no room or is broken; `None`: there is none.
    no_room: Option<io::Error>,
    /// Uid and gid of another person, whose volume HOME is.
    owner: Option<(u32, u32)>,
    /// The user's configuration directory, if it stays and no password can be written in it: its
    /// file is a mount of its own, or `JUPYTER_CONFIG_DIR` names a read-only directory.
    fixed_config: Option<PathBuf>,
}

impl Moved {
    /// Finds the directories that cannot be written, or have too long a path, in HOME; `None`: all
    /// stay. `writable` returns the error that keeps files from being made in a directory.
    pub fn find(
        person: &ServerUser,
        environment: &Environment,
        writable: &dyn Fn(&Path) -> io::Result<()>,
    ) -> Option<Self> {
        let home = &person.account.home;
        let variable = |name: &str| environment.get(name).map(OsStr::to_owned);
        let config = user_directory(&variable, home);
        let named = |name: &str| {
            let path = variable(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let base = |name: &str, default: &str| named(name).unwrap_or_else(|| home.join(default));
        // As jupyter_core and matplotlib choose them.
        let data = named(DATA);
        let data = data.unwrap_or_else(|| base("XDG_DATA_HOME", ".local/share").join("jupyter"));
        let unset = |kept: &&Movable| environment.get(kept.variable).is_none_or(OsStr::is_empty);
        let mut no_room = None;
        let mut moves = |kept: &Movable, old: &Path| {
            let result = writable(old);
            let moves = result.is_err() || too_long(kept, old);
            no_room = no_room.take().or(result.err().filter(dir::is_of_disk));
            moves
        };
        let directories: Vec<_> = MOVABLE
            .iter()
            .filter(unset)
            .map(|kept| match kept.variable {
                "JUPYTER_CONFIG_DIR" => (kept, config.clone()),
                DATA => (kept, data.clone()),
                RUNTIME => (kept, data.join("runtime")),
                "MPLCONFIGDIR" => (kept, base("XDG_CONFIG_HOME", ".config").join("matplotlib")),
                _ => (kept, home.join(kept.directory)),
            })
            .filter(|(kept, old)| moves(kept, old))
            .collect();
        let stays = directories.iter().all(|(_, old)| *old != config);
        let is_fixed =
            || dir::is_mount(&config.join(CONFIG_FILE_NAME)) || writable(&config).is_err();
        let fixed = stays && is_fixed();
        if directories.is_empty() && !fixed {
            return None;
        }
        let temporary = env::temp_directory();
        let memory = Path::new(MEMORY);
        let place = match writable(&temporary).is_err() && writable(memory).is_ok() {
            true => memory,
            false => &temporary,
        };
        Some(Self {
            base: place.join(format!("ai-lab-home-{}", person.account.uid)),
            home: home.clone(),
            fixed_config: fixed.then_some(config),
            git: environment.get(GIT_CONFIG).is_none() && writable(home).is_err(),
            directories,
            no_room,
            owner: other_owner(home, &person.account),
        })
    }

    /// Returns the directories that move: what is wrong with the old one, and the new one.
    pub fn moved_directories(&self) -> impl Iterator<Item = (String, PathBuf)> {
        self.directories.iter().map(|(kept, old)| {
            let problem = match too_long(kept, old) {
                true => "has too long a path",
                false => "cannot be written",
            };
            let place = match old.starts_with(&self.home) {
                true => " in HOME",
                false => "",
            };
            let old = self.shown(old).display();
            (
                format!("{old} {problem}{place}"),
                self.base.join(kept.directory),
            )
        })
    }

    /// Returns a path without HOME, if it is in HOME.
    fn shown<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.home).unwrap_or(path)
    }

    /// Makes the private directory. Containers may share TMPDIR and `/dev/shm`, so one that
    /// another start uses is left to it.
    fn make_base(&mut self, uid: u32) -> io::Result<()> {
        dir::make_private(&self.base, uid)?;
        if flock::take(fs::File::open(&self.base)?) {
            return Ok(());
        }
        let mut own = self.base.clone().into_os_string();
        own.push(format!("-{}", env::container_id()));
        self.base = own.into();
        dir::make_private(&self.base, uid)
    }

    /// Sets the variables for the new locations. Returns the directory for the password, if it is
    /// not the user's configuration directory.
    pub fn set_variables(&self, environment: &mut Environment) -> Option<PathBuf> {
        if self.base.starts_with(MEMORY) {
            environment.set("TMPDIR", &self.base);
        }
        if self.git {
            environment.set(GIT_CONFIG, self.base.join(GIT_FILE));
        }
        for (kept, old) in &self.directories {
            let new = self.base.join(kept.directory);
            environment.set(kept.variable, &new);
            if let OldFiles::Path(list) = kept.old_files {
                append_locations(environment, list, &new, old);
            }
        }
        let old = self.fixed_config.as_ref()?;
        let new = self.base.join(".jupyter");
        append_locations(environment, CONFIG_PATH, &new, old);
        Some(new)
    }

    /// Returns the degradation if a hub wants no configuration of the person's: JupyterHub leaves
    /// out what is in HOME, and Jupyter reads the new location.
    fn report_user_config(&self, environment: &Environment) -> Option<Degradation> {
        let wanted = environment.get(NO_USER_CONFIG)?;
        let mut lists = self.directories.iter().map(|(kept, _)| kept.old_files);
        let is_read = self.fixed_config.is_some()
            || lists.any(|old_files| matches!(old_files, OldFiles::Path(_)));
        (is_read && !wanted.is_empty() && wanted != "0").then(|| {
            Degradation::new(
                format!(
                    "the hub's disable_user_config has no effect: Jupyter reads the configuration in \
                     {}, which the person can write",
                    self.base.display()
                ),
                "mount an emptyDir on HOME, or a tmpfs with the uid and gid of the user",
            )
        })
    }

    /// Makes links to the files that are still read in the old locations.
    ///
    /// # Errors
    /// A directory or link cannot be made, or there is too much to link to.
    pub fn link(&self, stop: &dyn Fn() -> bool) -> io::Result<()> {
        if self.git {
            write_new(&self.base.join(GIT_FILE), GIT_INCLUDES)?;
        }
        for (kept, old) in &self.directories {
            let new = self.base.join(kept.directory);
            match kept.old_files {
                OldFiles::Links(written) => Links::new(written, stop).make(old, &new, 0)?,
                OldFiles::Path(CONFIG_PATH) => {
                    for name in ONLY_ONE {
                        Links::new(&[], stop).make(&old.join(name), &new.join(name), 0)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the degradation, if there is one; `made`: the result of making the new location.
    pub fn report(&self, made: &io::Result<()>) -> Option<Degradation> {
        let unwritable = self
            .directories
            .iter()
            .filter(|(kept, old)| !too_long(kept, old) || made.is_err());
        let (mut names, mut home) = (Vec::new(), String::new());
        let mut closed = Vec::new();
        for (_, old) in unwritable {
            names.push(self.shown(old).display().to_string());
            if access(old, Access::READ_OK | Access::EXEC_OK) == Err(Errno::ACCESS) {
                closed.extend(names.last().cloned());
            }
            if old.starts_with(&self.home) {
                home = format!(" in HOME {}", self.home.display());
            }
        }
        if names.is_empty() {
            return None;
        }
        let no_room = self.no_room.as_ref().map(|error| format!(" ({error})"));
        let no_room = no_room.unwrap_or_default();
        let cause = format!("{} cannot be written{home}{no_room}", names.join(", "));
        let base = self.base.display();
        let read = match closed.is_empty() {
            true => "those in the old place are still read".to_owned(),
            false => format!("{} cannot be read either", closed.join(", ")),
        };
        let remedy = match (&self.no_room, self.owner) {
            (Some(_), _) => {
                "delete what is not needed there, and restart; or mount a volume there".to_owned()
            }
            (None, Some((uid, gid))) => {
                let of_group = match is_gid_of_people(gid) {
                    true => format!(" --env NB_GID={gid}"),
                    false => String::new(),
                };
                format!(
                    "start as its owner with --env NB_UID={uid}{of_group}, without root with --user \
                     {uid}:{gid}; or give all files of this volume to the server's user"
                )
            }
            (None, None) => {
                "mount a volume or a tmpfs there, or name another directory with --home".to_owned()
            }
        };
        Some(match made {
            Ok(()) => Degradation::new(
                format!("{cause}: new files go to {base} and end with the container; {read}"),
                remedy,
            ),
            Err(error) => Degradation::new(
                format!("{cause}, nor in {base} ({error}): the server may not start"),
                "run with --tmpfs /tmp, or mount a volume or a tmpfs there",
            ),
        })
    }
}

/// Moves the directories that cannot stay in HOME. Returns that of the password, if it is not
/// the user's configuration directory.
pub(super) fn move_home(
    start: &mut Start<'_>,
    person: &ServerUser,
    environment: &mut Environment,
) -> Result<Option<PathBuf>, Failure> {
    let (room, stop) = (RoomChecks::default(), start.stop());
    let found = start.changes.make(
        Section::IDENTITY,
        |effects| {
            let writable = |directory: &Path| {
                effects.check_writable(directory)?;
                effects.make(|| room.check(directory))
            };
            let mut moved = Moved::find(person, environment, &writable)?;
            let made = effects.make(|| moved.make_base(person.account.uid));
            // An earlier start may have made it before the file system was read-only.
            let made = made.and_then(|()| effects.check_writable(&moved.base));
            let linked = match made {
                Ok(()) => effects.make(|| moved.link(&stop)),
                Err(_) => Ok(()),
            };
            Some((moved, made, linked))
        },
        |found, words| {
            let Some((moved, Ok(()), _)) = found else {
                return;
            };
            for (problem, place) in moved.moved_directories() {
                words.planned(format_args!("{problem}: use {}", place.display()));
            }
        },
    );
    let Some((moved, made, linked)) = found else {
        return Ok(None);
    };
    if let Some(report) = moved.report(&made) {
        start.report.degraded(report)?;
    }
    if made.is_err() {
        return Ok(None);
    }
    if let Some(report) = moved.report_user_config(environment) {
        start.report.degraded(report)?;
    }
    if let Err(error) = linked {
        let cause = format!(
            "not everything in HOME {} can be read: {error}",
            person.account.home.display()
        );
        start.report.degraded(Degradation::note(cause))?;
    }
    start.check_stop()?;
    Ok(moved.set_variables(environment))
}

/// Appends the new location, and then the old one, to a variable that lists directories.
fn append_locations(environment: &mut Environment, list: &str, new: &Path, old: &Path) {
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

/// Returns uid and gid of HOME if it is a volume of another person's, as whom a start can run.
fn other_owner(home: &Path, own: &Account) -> Option<(u32, u32)> {
    let data = fs::metadata(home).ok()?;
    let can_start = data.uid() != own.uid && is_uid_for(&own.name, data.uid());
    let is_anothers = can_start && dir::is_mount(home);
    is_anothers.then(|| (data.uid(), data.gid()))
}

/// Writes a file. One that exists is the user's own by now, and stays.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    match fs::File::create_new(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
