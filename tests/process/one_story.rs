//! One story: a start does what a dry run of it printed, all of that, and nothing else. Here are
//! files, owners, identity, variables and words of the program, each as the start left it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::dry_run::warnings;
use crate::support::ground::snapshot;
use crate::support::{Image, Output, Start, UID};

/// What is compared of an image: what a start that changes a file's time alone does not change.
type Tree = BTreeMap<PathBuf, (u32, (u32, u32), Vec<u8>)>;

fn tree(image: &Image) -> Tree {
    let seen = snapshot(image.dir.path()).into_iter();
    seen.map(|(path, seen)| (path, (seen.mode, seen.owner, seen.content)))
        .collect()
}

/// The lines of a plan, each with its heading.
fn lines(plan: &str) -> Vec<(&str, &str)> {
    let mut heading = "";
    let mut lines = Vec::new();
    for line in plan.lines() {
        match line.strip_prefix("  ") {
            Some(line) => lines.push((heading, line)),
            None => heading = line,
        }
    }
    assert_eq!(heading, "nothing was changed", "{plan}");
    lines
}

/// The paths that a plan says are changed, and those below which anything may be.
fn promised(image: &Image, plan: &str) -> (BTreeSet<PathBuf>, Vec<PathBuf>) {
    let (mut paths, mut tops) = (BTreeSet::new(), Vec::new());
    for (heading, line) in lines(plan) {
        let words: Vec<&str> = line.split(' ').collect();
        let path = match (heading, &words[..]) {
            ("owners", ["", "", path]) => *path,
            ("owners", ["hand", "over", path]) => *path,
            ("owners" | "files", ["make", path, "for", _]) => *path,
            ("files", ["hand", "over", "to", _, path]) => *path,
            ("notebooks directory", ["make", path]) => *path,
            ("files", ["write", path] | ["append", "to", path]) => *path,
            ("password", ["write", "its", "hash", "to", path]) => *path,
            ("notebooks", ["write", ..]) => line.strip_prefix("write what is new to ").unwrap(),
            ("notebooks", ["record", .., path]) => {
                // With its lock and the installed cells. It may be as it is to be.
                tops.push(Path::new(path).parent().unwrap().to_owned());
                continue;
            }
            ("notebooks", ["install:" | "replace:", name]) => {
                paths.insert(image.path("notebooks").join(name));
                continue;
            }
            ("identity", [.., "use", path]) => {
                // What is moved out of HOME is in one directory.
                let home = Path::new(path).ancestors();
                let base = home.filter(|path| path.to_string_lossy().contains("ai-lab-home-"));
                tops.extend(base.last().map(Path::to_owned));
                continue;
            }
            ("server", ["with", "a", "new", "certificate", "in", path]) => *path,
            _ => continue,
        };
        paths.insert(PathBuf::from(path));
    }
    // The machine's own `/run` is another one.
    paths.retain(|path| path.starts_with(image.dir.path()));
    (paths, tops)
}

/// Checks that the start changed what was printed, and nothing else.
fn same_files(what: &str, image: &Image, plan: &str, before: &Tree) {
    let after = tree(image);
    let (promised, tops) = promised(image, plan);
    let differs = |path: &PathBuf| before.get(path) != after.get(path);
    for path in &promised {
        assert!(differs(path), "{what}: {path:?} is as it was: {plan}");
    }
    for path in before
        .keys()
        .chain(after.keys())
        .filter(|path| differs(path))
    {
        // A new directory is on the way to what is in it.
        let on_the_way =
            !before.contains_key(path) && promised.iter().any(|below| below.starts_with(path));
        let inside = tops.iter().any(|top| path.starts_with(top));
        assert!(
            promised.contains(path) || on_the_way || inside,
            "{what}: {path:?} changed: {plan}"
        );
    }
}

type Variables = BTreeMap<String, String>;

fn variables(environ: &str) -> Variables {
    let words = environ.split('\0').filter_map(|word| word.split_once('='));
    words
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// Checks that a program has the variables that were there before, as the plan changes them.
fn same_variables(what: &str, mut expected: Variables, plan: &str, environ: &str) {
    for (_, line) in lines(plan)
        .iter()
        .filter(|(heading, _)| *heading == "variables")
    {
        match line.split_once(' ').unwrap() {
            ("set", set) => {
                let (name, value) = set.split_once('=').unwrap();
                let known = expected.insert(name.into(), value.into());
                assert_ne!(known.as_deref(), Some(value), "{what}: {line}");
            }
            (_, name) => assert!(expected.remove(name).is_some(), "{what}: {line}"),
        }
    }
    assert_eq!(variables(environ), expected, "{what}: {plan}");
}

/// Checks that a process is the user that was printed. `status`: its `/proc/PID/status`.
fn same_user(what: &str, plan: &str, status: &str) {
    let field = |name: &str| -> Vec<&str> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().split_whitespace().collect()
    };
    let (uid, gid) = (field("Uid:")[0], field("Gid:")[0]);
    let identity = lines(plan).iter().any(|(_, line)| {
        line.starts_with("run as ")
            && line.contains(&format!("(uid {uid})"))
            && line.ends_with(&format!("(gid {gid})"))
    });
    assert!(identity, "{what}: {uid} {gid}: {plan}");
    let groups = format!("supplementary groups: {}", field("Groups:").join(" "));
    assert!(
        lines(plan).contains(&("access", &groups)),
        "{what}: {groups}: {plan}"
    );
    let umask = format!("with umask {}", &field("Umask:")[0][1..]);
    let told = plan.contains("with umask ");
    assert!(!told || plan.contains(&umask), "{what}: {umask}: {plan}");
}

/// A ground for a start: how it is made, and the start's options.
type Ground = (&'static str, fn(&Image), &'static [&'static str]);

const GROUNDS: [Ground; 8] = [
    ("nothing is there", |_| {}, &["--umask", "027"]),
    ("once more", |image| first_start(image, "1.0.0"), &[]),
    (
        "a newer image",
        |image| {
            first_start(image, "1.0.0");
            fs::write(image.path("defaults/start.ipynb"), "newer").unwrap();
            fs::write(image.path("defaults/second"), "new").unwrap();
        },
        &[],
    ),
    (
        "files of others",
        files_of_others,
        &["--volume-owner", "chown"],
    ),
    (
        "files of others that stay",
        files_of_others,
        &["--volume-owner", "keep"],
    ),
    (
        "an owner to adopt",
        |image| {
            fs::create_dir_all(image.path("home/.jupyter")).unwrap();
            files_of_others(image);
            own(&image.path("notebooks"), UID + 1);
        },
        &["--volume-owner", "adopt"],
    ),
    (
        "directories of root in HOME",
        |image| fs::create_dir_all(image.path("home/.local/share")).unwrap(),
        &[],
    ),
    (
        "a HOME of another user",
        |image| own(&image.path("home"), UID + 1),
        &["--password", "ailab"],
    ),
];

fn own(path: &Path, uid: u32) {
    chown(path, Some(uid), Some(uid)).unwrap();
}

fn first_start(image: &Image, version: &str) {
    let start = start(image, &[], version).args(["--", "true"]);
    assert_eq!(start.run().code, 0);
}

fn files_of_others(image: &Image) {
    fs::create_dir_all(image.path("notebooks/deep")).unwrap();
    for (name, uid) in [("mine", UID), ("deep/theirs", UID + 7), ("of root", 0)] {
        let path = image.path("notebooks").join(name.replace(' ', "-"));
        fs::write(&path, name).unwrap();
        own(&path, uid);
    }
    fs::hard_link(image.path("notebooks/of-root"), image.path("outside")).unwrap();
    own(&image.path("notebooks"), UID);
}

fn start(image: &Image, options: &[&str], version: &str) -> Start {
    let temporary = image.path("temp");
    fs::create_dir_all(&temporary).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).unwrap();
    with_variables(Start::pid1(), image, version)
        .args(image.options())
        .args(options)
}

fn with_variables(start: Start, image: &Image, version: &str) -> Start {
    start
        .env("AI_LAB_VERSION", version)
        .env("TMPDIR", image.path("temp").to_str().unwrap())
}

/// The variables that a start gets.
fn given(image: &Image, version: &str) -> Variables {
    let start = with_variables(Start::wrapped("cat"), image, version);
    variables(&start.arg("/proc/self/environ").run().stdout)
}

fn plan(what: &str, image: &Image, start: Start) -> Output {
    let before = snapshot(image.dir.path());
    let dry = start.run();
    assert_eq!(dry.code, 0, "{what}: {}", dry.stderr);
    assert_eq!(snapshot(image.dir.path()), before, "{what}");
    dry
}

#[test]
fn a_command_is_started_as_the_dry_run_printed() {
    for (what, make, options) in GROUNDS {
        let image = Image::new();
        make(&image);
        let start = |more: &[&str]| {
            let start = start(&image, &[options, more].concat(), "2.0.0");
            start.args(["--", "cat", "/proc/self/environ", "/proc/self/status"])
        };
        // The directory for temporary files is there from here on.
        drop(start(&[]));
        let dry = plan(what, &image, start(&["--dry-run"]));
        let before = tree(&image);
        let real = start(&[]).run();
        assert_eq!(real.code, 0, "{what}: {}", real.stderr);
        assert_eq!(warnings(&dry.stderr), warnings(&real.stderr), "{what}");
        same_files(what, &image, &dry.stdout, &before);
        let (environ, status) = real.stdout.rsplit_once('\0').unwrap();
        same_variables(what, given(&image, "2.0.0"), &dry.stdout, environ);
        same_user(what, &dry.stdout, status);
    }
}

#[test]
fn a_server_is_started_as_the_dry_run_printed() {
    let image = Image::new();
    let log = image.path("home/log").display().to_string();
    let options = ["--jupyter-server", "jupyter-lab", "--password", "ailab"];
    let more = ["--tls", "auto", "--jupyter-logfile", &log, "--umask", "027"];
    let start = || start(&image, &[&options[..], &more].concat(), "2.0.0");
    drop(start());
    let dry = plan("server", &image, start().arg("--dry-run"));
    let before = tree(&image);
    let mut running = start().start();
    running.wait_for("] ready in ");
    let of = |name: &str| {
        let path = format!("/proc/{}/{name}", running.main_pid());
        String::from_utf8(fs::read(path).unwrap()).unwrap()
    };
    let (line, environ, status) = (of("cmdline"), of("environ"), of("status"));
    let directory = fs::read_link(format!("/proc/{}/cwd", running.main_pid())).unwrap();
    running.signal(libc::SIGTERM);
    running.end();
    let (_, stderr) = running.everything();
    assert_eq!(warnings(&dry.stderr), warnings(&stderr));
    same_files("server", &image, &dry.stdout, &before);
    same_variables("server", given(&image, "2.0.0"), &dry.stdout, &environ);
    same_user("server", &dry.stdout, &status);
    let server = |line: String| lines(&dry.stdout).contains(&("server", &line));
    assert!(
        server(format!("in {}", directory.display())),
        "{}",
        dry.stdout
    );
    // Its first word is the interpreter of the script that is named.
    let (_, words) = line.split_once('\0').unwrap();
    let words = words.trim_end_matches('\0').replace('\0', " ");
    assert!(server(words.clone()), "{words}: {}", dry.stdout);
}
