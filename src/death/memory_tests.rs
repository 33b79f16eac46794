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

#[test]
fn the_lowest_visible_limit_counts() {
    let fake = Fake::new();
    fake.write("a/b/memory.events", V2);
    let limit = || group(&fake, "/a/b").limit();
    assert_eq!(limit(), None);
    fake.write("a/b/memory.max", "max\n");
    assert_eq!(limit(), None);
    fake.write("a/memory.max", "536870912\n");
    assert_eq!(limit(), Some(512 << 20));
    fake.write("a/b/memory.max", "268435456\n");
    assert_eq!(limit(), Some(256 << 20));
    fs::remove_file(fake.0.path().join("a/memory.max")).unwrap();
    fake.write("a/b/memory.max", "9223372036854771712\n");
    assert_eq!(limit(), None, "more than the machine has");

    let one = Fake::new();
    one.write("memory.oom_control", V1);
    one.write(
        "memory.stat",
        "cache 1\nhierarchical_memory_limit 67108864\n",
    );
    let group = Cgroup::locate("4:memory:/", &one.mount("/", "cgroup", "memory")).unwrap();
    assert_eq!((group.limit(), group.events()), (Some(64 << 20), None));
}

#[test]
fn what_was_killed_before_does_not_count_and_what_the_limit_did_not_do_is_not_its_fault() {
    let fake = Fake::new();
    fake.write("memory.events", &events(1, 3));
    fake.write("memory.max", "536870912\n");
    let mut counter = KillCounter::new(group(&fake, "/")).unwrap();
    assert_eq!(counter.update().1, 0);
    fake.write("memory.events", &events(2, 4));
    let (kills, more) = counter.update();
    assert_eq!(
        kills.text(more),
        "the memory limit of 512 MB was reached, and Linux killed 1 process"
    );
    assert!(kills.diagnosis().to_string().ends_with(
        "Linux killed the server. Give the container \
        more memory with `docker run --memory`, or load less data at once."
    ));
    // A group above, or the machine, had no memory: `oom` stays.
    fake.write("memory.events", &events(2, 6));
    let (kills, more) = counter.update();
    assert_eq!((kills.before, kills.killed, more), (3, 6 - 3, 2));
    assert_eq!(
        kills.text(more),
        "the machine, or a group of containers that shares a limit, has no memory left, and Linux killed 2 processes"
    );
    // A file that cannot be read any more says nothing.
    fs::remove_file(fake.0.path().join("memory.events")).unwrap();
    assert_eq!(counter.update().1, 0);
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
