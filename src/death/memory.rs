//! Reads the memory limit of a container, and the number of its processes that Linux killed for
//! lack of memory, from the files of its control group, version 1 or 2.

use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::death::diagnosis::Diagnosis;
use crate::sys::kernel_file;
use crate::sys::proc;

/// The cause if the limit of the container's own group was not reached.
const MACHINE: &str =
    "the machine, or a group of containers that shares a limit, has no memory left";

/// The largest gap, in bytes, between a limit that was reached and the maximum usage: the allocation
/// that failed is not counted.
const LAST_ALLOCATION: u64 = 1 << 20;

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

/// The counters of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counters {
    /// The number of processes in the group that Linux killed for lack of memory, for any limit.
    killed: u64,
    /// The number of times that each limit was reached: the group's own limit first, then those of
    /// the visible groups above it.
    limits_reached: Vec<u64>,
}

impl Counters {
    fn own_limit_reached(&self) -> u64 {
        self.limits_reached.first().copied().unwrap_or(0)
    }
}

/// A limit of a group's memory that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    bytes: u64,
    /// True if it is the limit of a group above.
    shared: bool,
}

impl Cgroup {
    /// Returns the group of a process by its name in `/proc`; `None`: there is none here, or this
    /// kernel counts nothing.
    pub fn of(process: &str) -> Option<Self> {
        let groups = proc::text(process, "cgroup")?;
        Self::locate(&groups, &proc::text("self", "mountinfo")?)
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
        kernel_file::read_to_string(self.directory.join(name)).ok()
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
        Some(Counters {
            killed: field(&self.file(name)?, "oom_kill")?,
            limits_reached: self
                .levels()
                .map(|group| self.limit_reached(group))
                .collect(),
        })
    }

    /// Returns the directories of the group and of the visible groups above it.
    fn levels(&self) -> impl Iterator<Item = &Path> {
        let groups = self.directory.ancestors();
        groups.take_while(|directory| directory.starts_with(&self.top))
    }

    /// Returns how often the limit of a group was reached. Limits of groups above and below it, and
    /// the machine's memory, do not count here.
    fn limit_reached(&self, group: &Path) -> u64 {
        let events = |name| field(&kernel_file::read_to_string(group.join(name)).ok()?, "oom");
        match self.version {
            // Without swap, and with it. Not every Linux counts (failcnt), but each one keeps the
            // maximum, so this is one for ever. Cached files reach a limit, too, and make room.
            Version::One => ["memory.", "memory.memsw."]
                .iter()
                .any(|name| {
                    let file = |what| number(&group.join(format!("{name}{what}_in_bytes")));
                    file("max_usage")
                        .zip(file("limit"))
                        .is_some_and(|(max, limit)| max.saturating_add(LAST_ALLOCATION) >= limit)
                })
                .into(),
            // Linux before 5.2 has only the sum of the group and the groups below it.
            Version::Two => events("memory.events.local")
                .or_else(|| events("memory.events"))
                .unwrap_or(0),
        }
    }

    /// Returns the nearest limit that was reached between two reads of the counters; `None`: none
    /// that is visible here.
    fn limit_between(&self, before: &Counters, after: &Counters) -> Option<Limit> {
        let mut counts = before.limits_reached.iter().zip(&after.limits_reached);
        let at = counts.position(|(before, after)| match self.version {
            Version::One => *after > 0,
            Version::Two => before < after,
        })?;
        let name = match self.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        Some(Limit {
            bytes: number(&self.levels().nth(at)?.join(name))?,
            shared: at > 0,
        })
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

/// Returns the number that is all of a file.
fn number(file: &Path) -> Option<u64> {
    kernel_file::read_to_string(file).ok()?.trim().parse().ok()
}

/// Returns the number after a name in a text of lines `name number`.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut fields = text.lines().filter_map(|line| line.split_once(' '));
    fields.find(|field| field.0 == name)?.1.trim().parse().ok()
}

/// The processes that Linux killed because there was no memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryKills {
    /// The count of the control group when the server was first started.
    pub before: u64,
    /// The number of processes since then.
    pub killed: u64,
    /// The limit that was reached, in bytes; `None`: none yet, or none that is visible here.
    pub limit: Option<u64>,
    /// True if that limit is of a group above, which the container shares.
    #[serde(default)]
    pub shared: bool,
    /// The number of times that the container's own limit had been reached at the last update.
    #[serde(default)]
    limit_reached: u64,
}

impl MemoryKills {
    /// Returns the kills with those that were counted since, and the number of the new ones.
    fn with(&self, now: &Counters, limit: Option<Limit>) -> Option<(Self, u64)> {
        let more = now.killed.saturating_sub(self.before + self.killed);
        let kills = Self {
            before: self.before,
            killed: self.killed + more,
            limit_reached: now.own_limit_reached(),
            limit: limit.map(|limit| limit.bytes),
            shared: limit.is_some_and(|limit| limit.shared),
        };
        (more > 0).then_some((kills, more))
    }

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
            Some(limit) if self.shared => format!(
                "the memory limit of {} that this container shares with others was reached",
                size(limit)
            ),
            Some(limit) => format!("the memory limit of {} was reached", size(limit)),
            None => MACHINE.into(),
        }
    }

    /// Returns what to do.
    pub fn remedy(&self) -> &'static str {
        match self.limit {
            Some(_) if !self.shared => {
                "give the container more memory (`docker run --memory`; in Kubernetes, \
                 limits.memory), or load less data at once"
            }
            _ => {
                "end other programs that use this memory, raise the limit that they share (in \
                 Docker Desktop: Settings, Resources), or load less data at once"
            }
        }
    }

    /// Returns why a server ended that KILL ended. If `known`, it is known that it was one of these
    /// processes.
    pub fn diagnosis(&self, known: bool) -> Diagnosis {
        let killed = match known {
            true => "the server",
            false => "a process, most likely the server",
        };
        Diagnosis::new(
            format!("{}, and Linux killed {killed}", self.cause()),
            self.remedy(),
        )
    }
}

/// Returns why a server ended that KILL ended, if it was none of these processes.
pub fn killed_by_another() -> Diagnosis {
    Diagnosis::new(
        "another process killed the server, and not because memory had run out",
        "Look for what sent KILL: a person, a script, or a program that guards the machine's memory",
    )
}

/// Returns a size as people write it: `512 MB`, `2 GB`.
fn size(bytes: u64) -> String {
    match bytes {
        _ if bytes >= 1 << 30 && bytes.is_multiple_of(1 << 30) => format!("{} GB", bytes >> 30),
        _ if bytes >= 1 << 20 => format!("{} MB", bytes >> 20),
        _ => format!("{} kB", bytes >> 10),
    }
}

/// The longest time between reaching a limit and the kill. Linux counts both at almost the same time,
/// but a read of the counters may come between them.
const LIMIT_TO_KILL: Duration = Duration::from_secs(2);

/// Counts the processes that Linux kills from now on.
#[derive(Debug)]
pub struct KillCounter {
    cgroup: Cgroup,
    last: Counters,
    /// The limit that was reached last, and when this was seen.
    limit: Option<(Limit, Instant)>,
    kills: MemoryKills,
}

impl KillCounter {
    /// Begins to count; `None`: there is nothing to read.
    pub fn new(cgroup: Cgroup) -> Option<Self> {
        let last = cgroup.counters()?;
        let kills = MemoryKills {
            before: last.killed,
            limit_reached: last.own_limit_reached(),
            killed: 0,
            limit: None,
            shared: false,
        };
        Some(Self {
            cgroup,
            last,
            limit: None,
            kills,
        })
    }

    /// Returns the kills so far, and how many more there are than at the last call.
    pub fn update(&mut self) -> (&MemoryKills, u64) {
        let Some(now) = self.cgroup.counters() else {
            return (&self.kills, 0);
        };
        if let Some(limit) = self.cgroup.limit_between(&self.last, &now) {
            self.limit = Some((limit, Instant::now()));
        }
        self.last = now;
        let recent =
            |(limit, seen): (Limit, Instant)| (seen.elapsed() < LIMIT_TO_KILL).then_some(limit);
        match self.kills.with(&self.last, self.limit.and_then(recent)) {
            Some((kills, more)) => {
                self.kills = kills;
                (&self.kills, more)
            }
            None => (&self.kills, 0),
        }
    }

    /// Begins to count those of this process's group; `None`: there is nothing to read.
    pub fn of_container() -> Option<Self> {
        Self::new(Cgroup::of("self")?)
    }

    /// Returns the line for the log about the kills since the last call; `None`: there are none.
    pub fn report_new(&mut self) -> Option<String> {
        let (kills, more) = self.update();
        (more > 0).then(|| kills.report(more))
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
        let now = cgroup.counters()?;
        let before = Counters {
            killed: known.before + known.killed,
            limits_reached: vec![known.limit_reached],
        };
        let limit = cgroup.limit_between(&before, &now);
        Some(known.with(&now, limit)?.0)
    };
    fresh().unwrap_or_else(|| known.clone())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "memory_tests.rs"]
mod tests;
