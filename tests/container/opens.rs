//! Root opens no file that a user could have written, whatever the environment says: PID 1
//! before it drops root, the health check, and every verb through `docker exec`.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use ai_lab_entrypoint::cli::verbs;

use crate::support::docker::{COMPAT, Container, Volume, run_image};

/// What a derived image, a compose file or a profile may set, and a loader, the C library
/// or a runtime may take for a place to read from. Relative ones are below the user's
/// directory, in which everything here starts.
const HOSTILE: [&str; 34] = [
    "LD_LIBRARY_PATH=/usr/local/cuda/lib64:",
    "LD_PRELOAD=evil.so",
    "LD_AUDIT=evil.so",
    "LD_DEBUG=all",
    "LD_DEBUG_OUTPUT=debug",
    "LD_PROFILE=libc.so.6",
    "LD_PROFILE_OUTPUT=.",
    "LD_BIND_NOW=1",
    "LD_ORIGIN_PATH=.",
    "GCONV_PATH=.",
    "GETCONF_DIR=.",
    "GLIBC_TUNABLES=glibc.malloc.check=3:glibc.rtld.nns=3",
    "LOCPATH=.",
    "NLSPATH=./%N",
    "LANG=xx_XX.UTF-8",
    "LC_ALL=xx_XX.UTF-8",
    "LANGUAGE=xx",
    "RES_OPTIONS=debug",
    "RESOLV_HOST_CONF=resolv",
    "HOSTALIASES=aliases",
    "LOCALDOMAIN=example",
    "MALLOC_TRACE=trace",
    "MALLOC_CHECK_=3",
    "MALLOC_PERTURB_=1",
    "TZ=:zone",
    "TZDIR=.",
    "TMPDIR=.",
    "HOME=/home/jupyter",
    "XDG_CONFIG_HOME=.",
    "SSL_CERT_FILE=cert",
    "SSL_CERT_DIR=.",
    "TERMINFO=.",
    "RUST_BACKTRACE=full",
    "PYTHONPATH=.",
];

/// The user's directory.
const HERE: &str = "/home/jupyter/notebooks";

/// Where the traces are, for the container.
const TRACES: &str = "/traces";

/// An option of `strace`.
const FILTERED: [&str; 1] = ["--seccomp-bpf"];

/// `strace` of this machine with the libraries that it has here: the image has none.
/// `-D`: the program keeps its place, PID 1 for one. With `FILTERED`, only these calls stop it: sudo may
/// do nothing then, and without its tracer no program may make them.
fn strace(name: &str, filter: &[&str], words: &[&str]) -> Vec<String> {
    let loader = fs::canonicalize("/lib64/ld-linux-x86-64.so.2").unwrap();
    let libraries = loader.parent().unwrap().display().to_string();
    let calls = "trace=open,openat,openat2,creat,execve,execveat,setresuid";
    let trace = format!("{TRACES}/{name}");
    let mut line: Vec<String> = [
        &format!("/machine{}", loader.display()),
        "--library-path",
        &format!("/machine{libraries}"),
        "/machine/usr/bin/strace",
        "-D",
        "-f",
        "-y",
        "-s",
        "4096",
        "-o",
        &trace,
        "-e",
        calls,
    ]
    .map(str::to_owned)
    .into();
    line.extend(filter.iter().map(|word| (*word).to_owned()));
    line.extend(HOSTILE.iter().flat_map(|set| ["-E".into(), (*set).into()]));
    line.extend(words.iter().map(|word| (*word).to_owned()));
    line
}

/// Reports whether root is dropped in this line of a trace, with all three of its uids: sudo changes
/// one at a time, and back.
fn is_drop(line: &str) -> bool {
    let (_, call) = line.split_once("setresuid(").unwrap_or_default();
    let (uids, answer) = call.split_once(')').unwrap_or_default();
    let uids: Vec<&str> = uids.split(", ").collect();
    let all = uids.windows(2).all(|pair| pair[0] == pair[1]);
    all && !["0", "-1"].contains(&uids[0]) && answer.ends_with("= 0")
}

/// The files that root opened, as far as it was to read or to execute what is in them, in
/// a trace that ends when root is dropped.
fn opened(trace: &str) -> BTreeSet<String> {
    let as_root = trace.lines().take_while(|line| !is_drop(line));
    let paths = as_root.filter_map(|line| Some([Some(path(line)?), real_path(line)]));
    paths.flatten().flatten().collect()
}

/// The path of the file that was really opened, such as through `/proc/self/fd`.
fn real_path(line: &str) -> Option<String> {
    let (_, answer) = line.rsplit_once(") = ")?;
    let (_, path) = answer.split_once('<')?;
    let path = path.rsplit_once('>').map_or(path, |(path, _)| path);
    path.starts_with('/').then(|| path.to_owned())
}

/// The path that a line of a trace opens, if what is there would be read.
fn path(line: &str) -> Option<String> {
    let (_, call) = line.split_once(' ')?;
    let (name, rest) = call.trim_start().split_once('(')?;
    if !(name.starts_with("open") || name.starts_with("exec") || name == "creat") {
        return None;
    }
    // A new file holds nothing of anybody's; a directory or a handle is not read.
    let harmless = ["O_EXCL", "O_PATH", "O_DIRECTORY"];
    if harmless.iter().any(|flag| rest.contains(flag)) {
        return None;
    }
    let mut quoted = rest.split('"');
    let (before, named) = (quoted.next()?, quoted.next()?);
    if named.starts_with('/') {
        return Some(named.to_owned());
    }
    let (_, directory) = before.rsplit_once('<')?;
    let (directory, _) = directory.split_once('>')?;
    Some(format!("{directory}/{named}"))
}

/// Of these paths, those that another user than root could have written, or made: a name
/// that is missing is judged by the directories above it.
fn of_others(container: &Container, paths: &BTreeSet<String>) -> Vec<String> {
    const JUDGE: &str = r#"
import os, stat, sys
def alone(path):
    if not os.path.lexists(path):
        return True
    look = os.lstat(path)
    if stat.S_ISLNK(look.st_mode):
        return look.st_uid == 0
    return look.st_uid == 0 and not look.st_mode & 0o022
for path in sys.argv[1:]:
    path = '/' + os.path.normpath(path).lstrip('/')
    real = os.path.realpath(path)
    if real.startswith(('/proc/', '/sys/')) or real in ('/dev/null', '/dev/tty'):
        continue
    ways = [path, real]
    while any(way != '/' for way in ways):
        if not all(map(alone, ways)):
            print(path)
            break
        ways = [os.path.dirname(way) for way in ways]
"#;
    let mut line = vec!["python3", "-I", "-c", JUDGE];
    line.extend(paths.iter().map(String::as_str));
    let said = container.exec_ok("root", &line);
    said.lines().map(str::to_owned).collect()
}

/// Each verb with what it needs.
fn lines() -> Vec<Vec<&'static str>> {
    vec![
        vec!["healthcheck"],
        vec!["status"],
        vec!["status", "--json"],
        vec!["notebooks", "status"],
        vec!["notebooks", "diff"],
        vec!["notebooks", "diff", "start.ipynb"],
        vec!["notebooks", "restore", "start.ipynb"],
        vec!["notebooks", "merge", "start.ipynb"],
        vec!["notebooks", "seal", "/opt/sealed"],
        vec!["password", "set"],
        vec!["password", "hash"],
        vec!["password", "check"],
        vec!["config", "show"],
        vec!["config", "show", "--origin"],
        vec!["config", "check"],
        vec!["config", "check", "/etc/ai-lab/entrypoint.toml"],
        vec!["completions", "bash"],
        vec!["man"],
        vec!["restart"],
    ]
}

#[test]
fn the_lines_have_every_verb() {
    let lines: BTreeSet<_> = lines()
        .iter()
        .map(|line| line[..line.len().min(2)].join(" "))
        .collect();
    for verb in verbs::NAMES {
        let command = verbs::verb_grammar(verb).unwrap();
        let mut below = command
            .get_subcommands()
            .map(|sub| format!("{verb} {}", sub.get_name()))
            .peekable();
        if below.peek().is_none() {
            assert!(
                lines
                    .iter()
                    .any(|line| line.split(' ').next() == Some(verb)),
                "{verb}"
            );
        }
        for line in below {
            assert!(lines.contains(&line), "{line}");
        }
    }
}

/// A container whose start is traced, with what is mounted besides.
fn traced(traces: &Path, filter: &[&str], mounts: &[&str]) -> Container {
    let traces = format!("--volume={}:{TRACES}", traces.display());
    let first = strace("start", filter, &["ai-lab-entrypoint", "jupyter-lab"]);
    let machine = "--volume=/usr:/machine/usr:ro";
    let fixed = [
        "--entrypoint",
        &first[0],
        "--cap-add=SYS_PTRACE",
        "--workdir",
        HERE,
        &traces,
        machine,
    ];
    let rest: Vec<&str> = first[1..].iter().map(String::as_str).collect();
    Container::create(&[&fixed, mounts].concat(), &rest)
}

/// What root hooks leave running is killed: the tracer as well. Another test sees the rest.
#[test]
fn root_opens_nothing_of_a_users_until_its_hooks_have_run() {
    let traces = tempfile::tempdir().unwrap();
    let made = tempfile::tempdir().unwrap();
    let hook = made.path().join("hooks/root/10-hook");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\nexec id\n").unwrap();
    fs::set_permissions(&hook, Permissions::from_mode(0o755)).unwrap();
    let hooks = hook.parent().unwrap().parent().unwrap();
    let hooks = format!("--volume={}:/etc/ai-lab/hooks:ro", hooks.display());
    let container = traced(traces.path(), &[], &[&hooks]);
    container.begin();
    container.wait_for("] ready in ");
    let found = opened(&fs::read_to_string(traces.path().join("start")).unwrap());
    let known = "/etc/ai-lab/hooks/root/10-hook";
    assert!(found.contains(known), "{found:#?}");
    assert_eq!(of_others(&container, &found), Vec::<String>::new());
}

#[test]
fn root_opens_nothing_of_a_users() {
    let volume = Volume::new();
    let traces = tempfile::tempdir().unwrap();
    let made = tempfile::tempdir().unwrap();
    fs::create_dir(made.path().join("sealed")).unwrap();
    fs::write(made.path().join("sealed/a.ipynb"), "{}").unwrap();
    let sealed = format!(
        "--volume={}:/opt/sealed",
        made.path().join("sealed").display()
    );
    let container = traced(traces.path(), &FILTERED, &[&volume.option(), &sealed]);
    let trace = |name: &str| fs::read_to_string(traces.path().join(name)).unwrap();
    // A container passes through the same twice; the second time it finds the user's things.
    for start in 1..=2 {
        container.begin();
        let welcome = "The server for Jupyter has been started successfully.";
        container.wait_for_nth(welcome, start);
        container.until("the trace goes as far as the drop", || {
            trace("start").lines().any(is_drop).then_some(())
        });
        let found = opened(&trace("start"));
        for known in ["/etc/ai-lab/entrypoint.toml", "/etc/passwd"] {
            assert!(found.contains(known), "{known} of {found:#?}");
        }
        assert_eq!(of_others(&container, &found), Vec::<String>::new());

        for (number, line) in lines().iter().enumerate() {
            let name = format!("verb-{number}");
            exec(
                &container,
                &name,
                &[&["ai-lab-entrypoint"], &line[..]].concat(),
            );
            let found = opened(&trace(&name));
            let program = "/usr/local/bin/ai-lab-entrypoint";
            assert!(found.contains(program), "{line:?}: {found:#?}");
            assert_eq!(
                of_others(&container, &found),
                Vec::<String>::new(),
                "{line:?}"
            );
        }
        // A program with a loader opens what is planted: here it is seen.
        exec(&container, "control", &["/bin/true"]);
        let found = of_others(&container, &opened(&trace("control")));
        assert!(found.iter().any(|path| path.starts_with(HERE)), "{found:?}");
        container.stop();
    }
}

/// Python's own variables, of which sudo passes on those that it does not know.
const PYTHONS: [&str; 8] = [
    "PYTHONHOME=.",
    "PYTHONPYCACHEPREFIX=.",
    "PYTHONPLATLIBDIR=.",
    "PYTHONUSERBASE=.",
    "PYTHONSTARTUP=startup.py",
    "PYTHONWARNINGS=error::evil.Evil",
    "PYTHONBREAKPOINT=evil.evil",
    "PYTHONEXECUTABLE=evil",
];

/// The predecessor's line, in which sudo and a Python of root's come first.
#[test]
fn root_opens_nothing_of_a_users_on_the_old_way() {
    let traces = tempfile::tempdir().unwrap();
    let traces_option = format!("--volume={}:{TRACES}", traces.path().display());
    let old = [
        "sudo",
        "-E",
        "python3",
        "/home/jupyter/entrypoint.py",
        "true",
    ];
    let mut line = strace("old", &[], &["-u", "ubuntu"]);
    line.extend(
        PYTHONS
            .iter()
            .flat_map(|set| ["-E", set])
            .map(str::to_owned),
    );
    line.extend(old.map(str::to_owned));
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let options = [
        "--user=root",
        "--cap-add=SYS_PTRACE",
        "--workdir",
        HERE,
        &traces_option,
        "--volume=/usr:/machine/usr:ro",
    ];
    let (code, _, stderr) = run_image(COMPAT, &options, &line);
    assert_eq!(code, 0, "{stderr}");
    let trace = fs::read_to_string(traces.path().join("old")).unwrap();
    let mut found = opened(&trace);
    for known in [
        "/usr/bin/python3",
        "/home/jupyter/entrypoint.py",
        "/etc/ai-lab/entrypoint.toml",
    ] {
        assert!(found.contains(known), "{known} of {found:#?}");
    }
    // Its directory is root's and sticky; container_hub_old.rs tries to replace it there.
    found.remove("/home/jupyter/entrypoint.py");
    let container = Container::start_image(COMPAT, &["--workdir", HERE], &["sleep", "60"]);
    assert_eq!(of_others(&container, &found), Vec::<String>::new());
}

/// Runs a command as root with the hostile environment, as `docker exec` does, with a
/// password at its stdin.
fn exec(container: &Container, name: &str, command: &[&str]) {
    let mut child = Command::new("docker")
        .args(["exec", "--interactive", "--user", "root", "--workdir", HERE])
        .arg(&container.name)
        .args(strace(name, &FILTERED, command))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"a password\n")
        .unwrap();
    child.wait().unwrap();
}
