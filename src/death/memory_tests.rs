use std::fs;

use super::*;

/// A directory that looks like a mounted hierarchy, and the line of mountinfo that tells of it.
struct Fake(tempfile::TempDir);

impl Fake {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn mount(&self, root: &str, kind: &str, options: &str) -> String {
        let top = self.0.path().display();
        format!("183 179 0:32 {root} {top} ro,nosuid master:1 - {kind} cgroup {options}\n")
    }
}

const V1: &str = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
const V2: &str = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 3\noom_group_kill 0\n";

fn events(oom: u64, killed: u64) -> String {
    format!("low 0\nhigh 0\nmax 9\noom {oom}\noom_kill {killed}\n")
}

#[test]
fn the_group_is_found_in_each_layout() {
    let (one, two) = (Fake::new(), Fake::new());
    one.write("memory.oom_control", V1);
    one.write("docker/x/memory.oom_control", V1);
    two.write("memory.events", V2);
    two.write("a/b/memory.events", V2);
    let groups_one = "5:devices:/docker/x\n4:cpu,memory:/docker/x\n0::/docker/x\n";
    let of = |fake: &Fake, inside: &str| Some(fake.0.path().join(inside));
    for (groups, mounts, found) in [
        // Docker with version 1: the mount shows the container's own group.
        (
            groups_one,
            one.mount("/docker/x", "cgroup", "rw,memory"),
            of(&one, ""),
        ),
        // The hierarchy of the machine, mounted into a container.
        (
            groups_one,
            one.mount("/", "cgroup", "rw,cpu,memory"),
            of(&one, "docker/x"),
        ),
        // Hybrid: version 2 is there, but does not count memory.
        (
            groups_one,
            Fake::new().mount("/docker/x", "cgroup2", "rw")
                + &one.mount("/docker/x", "cgroup", "rw,memory"),
            of(&one, ""),
        ),
        // Version 2 with a namespace of its own, and without.
        ("0::/\n", two.mount("/", "cgroup2", "rw"), of(&two, "")),
        (
            "0::/a/b\n",
            two.mount("/", "cgroup2", "rw"),
            of(&two, "a/b"),
        ),
        ("0::/a\n", two.mount("/a", "cgroup2", "rw"), of(&two, "")),
        // A group that is not visible, another hierarchy, a kernel that does not count.
        ("0::/../x\n", two.mount("/", "cgroup2", "rw"), None),
        ("0::/b\n", two.mount("/a", "cgroup2", "rw"), None),
        (groups_one, one.mount("/docker/x", "cgroup", "rw,cpu"), None),
        ("0::/a\n", two.mount("/", "cgroup2", "rw"), None),
        ("", String::new(), None),
    ] {
        let group = Cgroup::locate(groups, &mounts);
        assert_eq!(
            group.map(|group| group.directory),
            found,
            "{groups}{mounts}"
        );
    }
}

fn group(fake: &Fake, path: &str) -> Cgroup {
    let groups = format!("0::{path}\n");
    Cgroup::locate(&groups, &fake.mount("/", "cgroup2", "rw")).unwrap()
}

/// Begins to count in a group with a limit of 512 MB, in which this many were killed before, and
/// whose limit was reached once.
fn limited(killed: u64) -> (Fake, KillCounter) {
    let fake = Fake::new();
    fake.write("memory.events", &events(1, killed));
    fake.write("memory.max", "536870912\n");
    let counter = KillCounter::new(group(&fake, "/")).unwrap();
    (fake, counter)
}

/// Begins to count, and returns what is told after `change`.
fn told(cgroup: Cgroup, change: impl FnOnce()) -> String {
    let mut counter = KillCounter::new(cgroup).unwrap();
    assert_eq!(counter.update().1, 0);
    change();
    let (kills, more) = counter.update();
    kills.text(more)
}

const OUTSIDE: &str = "the machine, or a group of containers that shares a limit, has no memory \
                       left, and Linux killed 1 process";
const OWN: &str = "the memory limit of 64 MB was reached, and Linux killed 1 process";
const SHARED: &str = "the memory limit of 512 MB that this container shares with others was \
                      reached, and Linux killed 1 process";

/// A process of `/a/b` is killed. The counters are those of Linux: `mm/memcontrol.c`.
#[test]
fn the_limit_that_was_reached_is_told_and_no_other() {
    let events = |group: &str, text: &str| (format!("{group}memory.events"), text.to_owned());
    let local = |group: &str, text: &str| (format!("{group}memory.events.local"), text.to_owned());
    for (changes, expected) in [
        // The limit of the container itself. The groups above count it, too.
        (
            vec![
                events("a/b/", "oom 2\noom_kill 1\n"),
                local("a/b/", "oom 2\n"),
                events("a/", "oom 2\noom_kill 1\n"),
            ],
            OWN,
        ),
        // The same, with a Linux that has no local counters.
        (vec![events("a/b/", "oom 2\noom_kill 1\n")], OWN),
        // A limit above, which is visible.
        (
            vec![
                events("a/b/", "oom 1\noom_kill 1\n"),
                local("a/b/", "oom 1\n"),
                local("a/", "oom 1\n"),
            ],
            SHARED,
        ),
        // The machine, or a limit that is not visible. A group below has had its own trouble.
        (
            vec![
                events("a/b/", "oom 2\noom_kill 1\n"),
                local("a/b/", "oom 1\n"),
            ],
            OUTSIDE,
        ),
    ] {
        let fake = Fake::new();
        fake.write("a/b/memory.events", "oom 1\noom_kill 0\n");
        if changes.len() > 1 {
            fake.write("a/b/memory.events.local", "oom 1\noom_kill 0\n");
        }
        fake.write("a/memory.events.local", "oom 0\noom_kill 0\n");
        fake.write("a/b/memory.max", "67108864\n");
        fake.write("a/memory.max", "536870912\n");
        let change = || {
            changes
                .iter()
                .for_each(|(name, text)| fake.write(name, text));
        };
        let group = group(&fake, "/a/b");
        assert_eq!(told(group, change), expected, "{changes:?}");
    }
}

/// A limit is reached with swap or without.
#[test]
fn version_one_tells_the_limit_that_was_reached_and_no_other() {
    for (change, max, expected) in [
        ("a/b/memory.max_usage_in_bytes", 64_u64 << 20, OWN),
        ("a/b/memory.max_usage_in_bytes", (64 << 20) - 4096, OWN),
        ("a/b/memory.max_usage_in_bytes", 60 << 20, OUTSIDE),
        ("a/b/memory.memsw.max_usage_in_bytes", 128 << 20, OWN),
        ("a/memory.max_usage_in_bytes", 512 << 20, SHARED),
        ("other/memory.max_usage_in_bytes", 64 << 20, OUTSIDE),
    ] {
        let fake = Fake::new();
        for (group, limit) in [("a/b/", 64_u64 << 20), ("a/", 512 << 20), ("", 1 << 62)] {
            let file = |name: &str, bytes: u64| {
                fake.write(
                    &format!("{group}memory.{name}_in_bytes"),
                    &format!("{bytes}\n"),
                );
            };
            file("limit", limit);
            file("memsw.limit", 2 * limit);
            file("max_usage", 1 << 20);
            file("memsw.max_usage", 1 << 20);
        }
        fake.write("a/b/memory.oom_control", "under_oom 0\noom_kill 0\n");
        let shown = fake.mount("/", "cgroup", "rw,memory");
        let group = Cgroup::locate("4:memory:/a/b\n", &shown).unwrap();
        assert_eq!(group.events(), None, "it notifies no container");
        let kill = || {
            fake.write("a/b/memory.oom_control", "under_oom 0\noom_kill 1\n");
            fake.write(change, &max.to_string());
        };
        assert_eq!(told(group, kill), expected, "{change}");
    }
}

#[test]
fn what_was_killed_before_does_not_count_and_a_file_that_is_gone_says_nothing() {
    let (fake, mut counter) = limited(3);
    assert_eq!(counter.update().1, 0);
    // A read between the two: Linux counts the limit first.
    fake.write("memory.events", &events(2, 3));
    assert_eq!(counter.update().1, 0);
    fake.write("memory.events", &events(2, 5));
    let (kills, more) = counter.update();
    assert_eq!((kills.killed, more), (2, 2));
    assert_eq!(
        kills.text(more),
        "the memory limit of 512 MB was reached, and Linux killed 2 processes"
    );
    assert!(kills.diagnosis(true).to_string().ends_with(
        "Linux killed the server. Give the container more memory (`docker run --memory`; in \
         Kubernetes, limits.memory), or load less data at once."
    ));
    let unsure = kills.diagnosis(false).cause;
    assert!(
        unsure.ends_with("Linux killed a process, most likely the server"),
        "{unsure}"
    );
    fs::remove_file(fake.0.path().join("memory.events")).unwrap();
    assert_eq!(counter.update().1, 0);
}

/// A limit that was reached long ago has not killed what is killed now.
#[test]
fn a_limit_is_blamed_only_for_what_follows_at_once() {
    let (fake, mut counter) = limited(0);
    fake.write("memory.events", &events(2, 0));
    assert_eq!(counter.update().1, 0);
    counter.limit.as_mut().unwrap().1 -= LIMIT_TO_KILL;
    fake.write("memory.events", &events(2, 1));
    let (kills, more) = counter.update();
    assert_eq!(kills.text(more), OUTSIDE);
}

#[test]
fn sizes_are_those_that_people_write() {
    for (bytes, shown) in [
        (512 << 20, "512 MB"),
        (4 << 30, "4 GB"),
        (1536 << 20, "1536 MB"),
        (6 << 10, "6 kB"),
    ] {
        assert_eq!(size(bytes), shown);
    }
}
