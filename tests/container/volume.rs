//! Volumes as Docker makes them: shared by containers that start at once, of any owner,
//! read-only, without the right to change owners, and filled by the predecessor.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use tempfile::TempDir;

use crate::support::docker::{Volume, run};

const NOTEBOOKS: &str = "/home/jupyter/notebooks";
const DEFAULTS: &str = "/opt/ai-lab/notebook-defaults";

/// A directory of this machine, and the option that mounts it.
struct Bind {
    dir: TempDir,
    mount: String,
}

impl Bind {
    fn at(place: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mount = format!("--volume={}:{place}", dir.path().display());
        Self { dir, mount }
    }

    /// Defaults of the test's own: enough of them that starts overlap.
    fn defaults(count: usize, version: &str) -> Self {
        let bind = Self::at(DEFAULTS);
        for number in 0..count {
            let content = format!("{version} {number} {}", "x".repeat(number * 40));
            let path = bind.path(&format!("part {}/{number}.ipynb", number % 7));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        bind
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// The number before `what` in a summary.
fn count(log: &str, what: &str) -> usize {
    let summary = log.lines().find_map(|line| line.split_once("notebooks: "));
    let (_, summary) = summary.unwrap_or_else(|| panic!("no summary in {log}"));
    let part = summary.split(", ").find(|part| part.contains(what));
    let number = part.and_then(|part| part.split(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no {what} in {summary}"))
}

fn at_once(containers: usize) {
    const FILES: usize = 400;
    let (volume, defaults) = (Volume::new(), Bind::defaults(FILES, "1"));
    let barrier = Barrier::new(containers);
    let start = || {
        barrier.wait();
        run(&[&volume.option(), &defaults.mount], &["true"])
    };
    let ended: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..containers).map(|_| scope.spawn(start)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut installed = 0;
    for (code, _, log) in &ended {
        assert_eq!(*code, 0, "{log}");
        assert!(!log.contains("[W ") && !log.contains("[E "), "{log}");
        assert_eq!(count(log, "kept"), 0, "{log}");
        assert_eq!(
            count(log, "installed") + count(log, "current"),
            FILES,
            "{log}"
        );
        installed += count(log, "installed");
    }
    // Each of them once, by whoever it was.
    assert_eq!(installed, FILES);
    let script = format!(
        "cd {NOTEBOOKS} && sha256sum --check --quiet .ai-lab/manifest.sha256 && \
         diff --recursive --exclude=.ai-lab {DEFAULTS} . && ls -A .ai-lab && \
         find . -name '.ai-lab.*' && grep -vc '^#' .ai-lab/manifest.sha256"
    );
    let (code, stdout, stderr) = run(
        &[&volume.option(), &defaults.mount, "--entrypoint=sh"],
        &["-c", &script],
    );
    assert_eq!(
        (code, &*stdout, &*stderr),
        (
            0,
            &*format!(".gitignore\ncells.jsonl\nlock\nmanifest.sha256\n{FILES}\n"),
            ""
        )
    );
}

#[test]
fn two_containers_that_start_at_once_on_an_empty_volume_fill_it_once() {
    at_once(2);
}

#[test]
fn ten_containers_that_start_at_once_on_an_empty_volume_fill_it_once() {
    at_once(10);
}

/// Who owns what of a volume, by name; `""` is the volume itself.
fn owners(top: &Path) -> BTreeMap<String, (u32, u32)> {
    let mut all = BTreeMap::new();
    for name in ["", "theirs", "roots", "start.ipynb", ".ai-lab"] {
        let path = if name.is_empty() {
            top.to_owned()
        } else {
            top.join(name)
        };
        if let Ok(data) = fs::symlink_metadata(path) {
            all.insert(name.to_owned(), (data.uid(), data.gid()));
        }
    }
    all
}

/// A volume of 1234:1235 (or of root) with a file of its owner and one of root.
fn used(uid: u32, gid: u32) -> Bind {
    let bind = Bind::at(NOTEBOOKS);
    fs::write(bind.path("theirs"), "theirs").unwrap();
    fs::write(bind.path("roots"), "root's").unwrap();
    chown(bind.path("theirs"), Some(uid), Some(gid)).unwrap();
    chown(bind.dir.path(), Some(uid), Some(gid)).unwrap();
    bind
}

type Owners<'a> = &'a [(&'a str, (u32, u32))];

const USER: (u32, u32) = (1000, 1000);
const HOST: (u32, u32) = (1234, 1235);
const ROOT: (u32, u32) = (0, 0);
const DID: &str = "Did chown -R jupyter:jupyter /home/jupyter/notebooks";
const ADOPTED: &str = "Adopted the owner of /home/jupyter/notebooks: ";
const READ_ONLY: &str =
    "/home/jupyter/notebooks is read-only: the notebook defaults were left alone";
const NOT_WRITTEN: &str = "could not write ";
const NO_RECORD: &str = "no record of the notebook defaults is kept";
const NOT_HANDED: &str = "could not hand over to 1000:1000 ";

/// Starts with a policy on a bind mount: what runs, what is said, what is not, who owns
/// what afterwards.
fn start(
    (bind, policy, options): (&Bind, &str, &[&str]),
    uid: u32,
    (says, says_not): (&[&str], &[&str]),
    expected: Owners<'_>,
) {
    let all: Vec<&str> = options.iter().copied().chain([&*bind.mount]).collect();
    let script = format!("id -u; cat {NOTEBOOKS}/theirs");
    let (code, stdout, log) = run(&all, &["--volume-owner", policy, "--", "sh", "-c", &script]);
    let at = format!("{policy} {all:?}: {log}");
    assert_eq!((code, &*stdout), (0, &*format!("{uid}\ntheirs")), "{at}");
    for part in says {
        assert_eq!(log.matches(part).count(), 1, "{part:?} in {at}");
    }
    for part in says_not {
        assert!(!log.contains(part), "{part:?} in {at}");
    }
    let expected: BTreeMap<_, _> = expected
        .iter()
        .map(|(name, owner)| ((*name).to_owned(), *owner))
        .collect();
    assert_eq!(owners(bind.dir.path()), expected, "{at}");
}

#[test]
fn a_named_volume_is_the_users_under_every_policy() {
    for (policy, says, says_not) in [
        ("chown", DID, ADOPTED),
        (
            "adopt",
            "Adopted the owner of /home/jupyter/notebooks: 1000:1000",
            DID,
        ),
        ("keep", "Switched uid/gid to jupyter/jupyter", "hown"),
    ] {
        let volume = Volume::new();
        let script = format!("cd {NOTEBOOKS}; stat -c '%u:%g %n' . start.ipynb .ai-lab; id -u");
        let command = ["--volume-owner", policy, "--", "sh", "-c", &script];
        let (code, stdout, log) = run(&[&volume.option()], &command);
        let expected = "1000:1000 .\n1000:1000 start.ipynb\n1000:1000 .ai-lab\n1000\n";
        assert_eq!((code, &*stdout), (0, expected), "{policy}: {log}");
        assert!(
            log.contains(says) && !log.contains(says_not),
            "{policy}: {log}"
        );
        assert!(!log.contains("[W "), "{policy}: {log}");
    }
}

#[test]
fn a_directory_of_a_host_user_is_handed_over_adopted_or_kept() {
    let with = |owner: (u32, u32), roots| -> [(&'static str, (u32, u32)); 5] {
        [
            ("", owner),
            ("theirs", owner),
            ("roots", roots),
            ("start.ipynb", owner),
            (".ai-lab", owner),
        ]
    };
    let bind = used(1234, 1235);
    start(
        (&bind, "chown", &[]),
        1000,
        (&[DID], &["[W "]),
        &with(USER, USER),
    );
    let bind = used(1234, 1235);
    start(
        (&bind, "adopt", &[]),
        1234,
        (&[&format!("{ADOPTED}1234:1235")], &[DID, "[W "]),
        &with(HOST, ROOT),
    );
    let bind = used(1234, 1235);
    start(
        (&bind, "keep", &[]),
        1000,
        (&[NO_RECORD, NOT_WRITTEN], &[DID, ADOPTED]),
        &[("", HOST), ("theirs", HOST), ("roots", ROOT)],
    );
}

#[test]
fn a_directory_of_root_is_handed_over_refused_or_kept() {
    let bind = used(0, 0);
    start(
        (&bind, "chown", &[]),
        1000,
        (&[DID], &["[W "]),
        &["", "theirs", "roots", "start.ipynb", ".ai-lab"].map(|name| (name, USER)),
    );
    let roots = ["", "theirs", "roots"].map(|name| (name, ROOT));
    let bind = used(0, 0);
    start(
        (&bind, "keep", &[]),
        1000,
        (&[NO_RECORD, NOT_WRITTEN], &[DID, ADOPTED]),
        &roots,
    );
    let (code, stdout, log) = run(&[&bind.mount], &["--volume-owner", "adopt", "--", "id"]);
    assert_eq!((code, &*stdout), (1, ""), "{log}");
    let said = "it belongs to root (uid 0), and the server never runs as root; give it to a \
                user (chown 1000:1000 on the host) or use --volume-owner chown";
    assert!(log.contains(said), "{log}");
    let roots = roots.map(|(name, owner)| (name.to_owned(), owner));
    assert_eq!(owners(bind.dir.path()), BTreeMap::from(roots));
}

#[test]
fn a_read_only_directory_is_left_alone_and_that_is_said_once() {
    let left: Owners<'_> = &[("", HOST), ("theirs", HOST), ("roots", ROOT)];
    let mut bind = used(1234, 1235);
    bind.mount.push_str(":ro");
    let refused = "could not hand over to 1000:1000 3 entries";
    start(
        (&bind, "chown", &[]),
        1000,
        (&[refused, READ_ONLY], &[NOT_WRITTEN]),
        left,
    );
    start(
        (&bind, "adopt", &[]),
        1234,
        (&[ADOPTED, READ_ONLY], &[NOT_HANDED]),
        left,
    );
    start(
        (&bind, "keep", &[]),
        1000,
        (&[READ_ONLY], &[NOT_HANDED, DID]),
        left,
    );
}

#[test]
fn without_the_right_to_change_owners_it_goes_on_and_says_so_once() {
    let without = &["--cap-drop=CHOWN"][..];
    let left: Owners<'_> = &[("", HOST), ("theirs", HOST), ("roots", ROOT)];
    let bind = used(1234, 1235);
    let refused = "could not hand over to 1000:1000 3 entries";
    let says = [refused, NO_RECORD, NOT_WRITTEN];
    start((&bind, "chown", without), 1000, (&says, &[]), left);
    start(
        (&bind, "keep", without),
        1000,
        (&says[1..], &[refused]),
        left,
    );
    start(
        (&bind, "adopt", without),
        1234,
        (
            &[&format!("{ADOPTED}1234:1235")],
            &[refused, NO_RECORD, NOT_WRITTEN],
        ),
        &[
            ("", HOST),
            ("theirs", HOST),
            ("roots", ROOT),
            ("start.ipynb", HOST),
            (".ai-lab", HOST),
        ],
    );
}

/// The predecessor copied the defaults, gave everything to the user, and made it
/// writable for all.
#[test]
fn a_volume_of_the_predecessor_is_taken_over_without_a_lost_byte() {
    let (old, new) = (Bind::defaults(20, "old"), Bind::defaults(20, "new"));
    let volume = Bind::at(NOTEBOOKS);
    let everyone = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        chown(path, Some(1000), Some(1000)).unwrap();
    };
    let mut files = BTreeMap::new();
    for number in 0..20 {
        let name = format!("part {}/{number}.ipynb", number % 7);
        let content = match number {
            0..5 => format!("{number} is my own"),
            _ => fs::read_to_string(old.path(&name)).unwrap(),
        };
        files.insert(name, content);
    }
    files.insert("my work/results.csv".to_owned(), "1;2;3".to_owned());
    for (name, content) in &files {
        let path = volume.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        everyone(&path, 0o666);
        everyone(path.parent().unwrap(), 0o777);
    }
    everyone(volume.dir.path(), 0o777);
    let start = |defaults: &Bind, version: &str| {
        let version = format!("--env=AI_LAB_VERSION={version}");
        let (code, _, log) = run(&[&volume.mount, &defaults.mount, &version], &["true"]);
        assert_eq!(code, 0, "{log}");
        assert!(!log.contains("[W ") && !log.contains("[E "), "{log}");
        log
    };
    let there = |name: &String| fs::read_to_string(volume.path(name)).unwrap();

    let log = start(&old, "1.0.0");
    assert!(
        log.contains("notebooks: 0 installed, 0 updated, 5 kept (changed by you), 15 current"),
        "{log}"
    );
    for (name, content) in &files {
        assert_eq!(there(name), *content, "{name}");
    }
    // From here on it is like any other volume.
    let log = start(&new, "2.0.0");
    assert!(
        log.contains("notebooks: 0 installed, 15 updated, 5 kept (changed by you), 0 current"),
        "{log}"
    );
    for (name, content) in &files {
        let is_new = *content == fs::read_to_string(old.path(name)).unwrap_or_default();
        let expected = match is_new {
            true => fs::read_to_string(new.path(name)).unwrap(),
            false => content.clone(),
        };
        assert_eq!(there(name), expected, "{name}");
    }
}

#[test]
fn the_images_own_defaults_are_sealed_and_fit_their_seal() {
    let script = format!(
        "cd {DEFAULTS} && sha256sum --check --strict --quiet .ai-lab/manifest.sha256 && \
         grep -c '^# seen' .ai-lab/manifest.sha256; find . -type f -not -path '*/.ai-lab/*' | wc -l"
    );
    let (code, stdout, stderr) = run(&["--entrypoint=sh"], &["-c", &script]);
    let counts: Vec<&str> = stdout.lines().collect();
    assert_eq!((code, counts.len(), &*stderr), (0, 2, ""), "{stdout}");
    assert!(counts[0] == counts[1] && counts[0] != "0", "{stdout}");
    // What another version installed says nothing of these: the seal does.
    let volume = Volume::new();
    for version in ["98.0.0", "99.0.0"] {
        let version = format!("--env=AI_LAB_VERSION={version}");
        let command = ["--log-level", "debug", "--", "true"];
        let (code, _, log) = run(&[&volume.option(), &version], &command);
        assert_eq!(code, 0, "{log}");
        assert!(
            !log.contains("the seal of") && !log.contains("was sealed"),
            "{log}"
        );
    }
}
