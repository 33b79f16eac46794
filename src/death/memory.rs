//! Reads the memory limit of a container, and the number of its processes that Linux killed for
//! lack of memory, from the files of its control group, version 1 or 2.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::death::Diagnosis;

/// The cause if the limit of the container's own group was not reached.
const MACHINE: &str =
    "the machine, or a group of containers that shares a limit, has no memory left";

/// The control group of a process, as far as it is about memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    version: Version,
    /// The directory of the group.
    directory: PathBuf,
    /// The mount point of the hierarchy: groups above it are not visible here.
    top: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The counters of a group, and of the groups below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counters {
    /// The processes that Linux killed because there was no memory.
    killed: u64,
    /// The number of times that the group reached its limit and nothing could be freed. `None`: not
    /// counted by version 1.
    limit_reached: Option<u64>,
}

impl Cgroup {
    /// Returns the group of a process by its name in `/proc`; `None`: there is none here, or this
    /// kernel counts nothing.
    pub fn of(process: &str) -> Option<Self> {
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        Self::locate(&groups, &String::from_utf8_lossy(&mounts))
    }

    /// Finds the group in the texts of `/proc/PID/cgroup` and of mountinfo. In the hybrid layout
    /// version 1 counts the memory, although version 2 is mounted as well.
    pub fn locate(groups: &str, mounts: &str) -> Option<Self> {
        [Version::One, Version::Two].iter().find_map(|version| {
            let path = groups.lines().find_map(|line| version.path_in(line))?;
            let group = |line| version.group_in(line, Path::new(path));
            let mut groups = mounts.lines().filter_map(group);
            groups.find(|group| group.counters().is_some())
        })
    }

    fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(name)).ok()
    }

    /// Returns the file that changes, with a notification, when a process is killed; `None`:
    /// version 1 notifies only those who may write to its directory, which no container may.
    pub fn events(&self) -> Option<PathBuf> {
        (self.version == Version::Two).then(|| self.directory.join("memory.events"))
    }

    fn counters(&self) -> Option<Counters> {
        let name = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = self.file(name)?;
        Some(Counters {
            killed: field(&text, "oom_kill")?,
            limit_reached: field(&text, "oom"),
        })
    }

    /// Returns the lowest limit of the group and the visible groups above it; `None`: there is
    /// none, or the machine has less memory.
    fn limit(&self) -> Option<u64> {
        let limit = match self.version {
            Version::One => field(&self.file("memory.stat")?, "hierarchical_memory_limit"),
            Version::Two => {
                let visible = self.directory.ancestors();
                let visible = visible.take_while(|directory| directory.starts_with(&self.top));
                let limit = |directory: &Path| {
                    let text = fs::read_to_string(directory.join("memory.max")).ok()?;
                    text.trim().parse().ok()
                };
                visible.filter_map(limit).min()
            }
        };
        limit.filter(|limit| machine_memory().is_none_or(|memory| *limit < memory))
    }
}

impl Version {
    /// Returns the path of the group in a line of `/proc/PID/cgroup`.
    fn path_in(self, line: &str) -> Option<&str> {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let fits = match self {
            Self::One => controllers.split(',').any(|name| name == "memory"),
            Self::Two => controllers.is_empty(),
        };
        fits.then_some(path)
    }

    /// Returns the group with this path, if a line of mountinfo is of its hierarchy and shows it.
    fn group_in(self, line: &str, path: &Path) -> Option<Cgroup> {
        let (mount, system) = line.split_once(" - ")?;
        let mut system = system.split(' ');
        let (kind, options) = (system.next()?, system.nth(1)?);
        let fits = match self {
            Self::One => kind == "cgroup" && options.split(',').any(|name| name == "memory"),
            Self::Two => kind == "cgroup2",
        };
        let mut fields = mount.split(' ').skip(3);
        let (root, top) = (fields.next()?, PathBuf::from(fields.next()?));
        // A path with `..` is of a group outside of the namespace: it is not visible here.
        let inside = path.strip_prefix(root).ok()?;
        let visible = !inside.components().any(|part| part == Component::ParentDir);
        (fits && visible).then(|| Cgroup {
            version: self,
            directory: top.join(inside),
            top,
        })
    }
}

/// Returns the number after a name in a text of lines `name number`.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut fields = text.lines().filter_map(|line| line.split_once(' '));
    fields.find(|field| field.0 == name)?.1.trim().parse().ok()
}

fn machine_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

/// The processes that Linux killed because there was no memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryKills {
    /// The count of the control group when the server was first started.
    pub before: u64,
    /// The number of processes since then.
    pub killed: u64,
    /// The limit that was reached, in bytes; `None`: none yet, or the machine had no memory left.
    pub limit: Option<u64>,
}

impl MemoryKills {
    /// Returns the line for the log when `more` processes were killed.
    pub fn report(&self, more: u64) -> String {
        let all = match self.killed > more {
            true => format!(", {} since the start", self.killed),
            false => String::new(),
        };
        let (text, remedy) = (self.text(more), self.remedy());
        format!("out of memory: {text}{all} (remedy: {remedy})")
    }

    /// Returns the cause and the number in words: `the memory limit of 512 MB was reached, and
    /// Linux killed 2 processes`.
    pub fn text(&self, killed: u64) -> String {
        let processes = if killed == 1 { "process" } else { "processes" };
        format!("{}, and Linux killed {killed} {processes}", self.cause())
    }

    fn cause(&self) -> String {
        match self.limit {
            Some(limit) => format!("the memory limit of {} was reached", size(limit)),
            None => MACHINE.into(),
        }
    }

    /// Returns what to do.
    pub fn remedy(&self) -> &'static str {
        match self.limit {
            Some(_) => {
                "give the container more memory with `docker run --memory`, or load less data at once"
            }
            None => "end other programs on the machine, or load less data at once",
        }
    }

    /// Returns why a server ended that was one of these processes.
    pub fn diagnosis(&self) -> Diagnosis {
        let (first, rest) = self.remedy().split_at(1);
        Diagnosis::new(
            format!("{}, and Linux killed the server", self.cause()),
            first.to_ascii_uppercase() + rest,
        )
    }
}

/// Returns a size as people write it: `512 MB`, `2 GB`.
fn size(bytes: u64) -> String {
    match bytes {
        _ if bytes >= 1 << 30 && bytes.is_multiple_of(1 << 30) => format!("{} GB", bytes >> 30),
        _ if bytes >= 1 << 20 => format!("{} MB", bytes >> 20),
        _ => format!("{} kB", bytes >> 10),
    }
}

/// Counts the processes that Linux kills from now on.
#[derive(Debug)]
pub struct KillCounter {
    cgroup: Cgroup,
    last: Counters,
    kills: MemoryKills,
}

impl KillCounter {
    /// Begins to count; `None`: there is nothing to read.
    pub fn new(cgroup: Cgroup) -> Option<Self> {
        let last = cgroup.counters()?;
        let kills = MemoryKills {
            before: last.killed,
            killed: 0,
            limit: None,
        };
        Some(Self {
            cgroup,
            last,
            kills,
        })
    }

    /// Returns the kills so far, and how many more there are than at the last call.
    pub fn update(&mut self) -> (&MemoryKills, u64) {
        let now = self.cgroup.counters().unwrap_or(self.last);
        let more = now.killed.saturating_sub(self.last.killed);
        if more > 0 {
            // The process may have been killed for a limit above, or for the whole machine.
            let ours = now.limit_reached.is_none() || now.limit_reached > self.last.limit_reached;
            self.kills.limit = self.cgroup.limit().filter(|_| ours);
            self.kills.killed += more;
        }
        // The limit counts before the kill does, and a call may come between the two.
        let limit_reached = match more {
            0 => self.last.limit_reached,
            _ => now.limit_reached,
        };
        self.last = Counters {
            limit_reached,
            ..now
        };
        (&self.kills, more)
    }

    /// Returns the kills so far, as they were at the last call of [`Self::update`].
    pub fn kills(&self) -> &MemoryKills {
        &self.kills
    }
}

/// Returns what is killed by now since a supervisor began, whether it has noticed or not.
pub fn current(supervisor: i32, known: &MemoryKills) -> MemoryKills {
    let fresh = || {
        let cgroup = Cgroup::of(&supervisor.to_string())?;
        let killed = cgroup.counters()?.killed.saturating_sub(known.before);
        let limit = cgroup.limit();
        (killed > known.killed).then_some(MemoryKills {
            before: known.before,
            killed,
            limit,
        })
    };
    fresh().unwrap_or_else(|| known.clone())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "memory_tests.rs"]
mod tests;
