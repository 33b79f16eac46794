//! Every death is explained: the last line of the log says why the server ended and what to do,
//! memory that ran out is told with limit and number, and Kubernetes gets the last words.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use crate::support::docker::{Container, run};
use crate::support::repeated;

const READY: &str = "] ready in ";

/// How many containers are broken at the same time.
const THREADS: usize = 4;

/// A way to break the real JupyterLab, and the reason that is to be told.
struct Death {
    name: String,
    options: Vec<String>,
    how: String,
    reason: String,
}

/// Those of `tests/deaths` that take a few seconds, or every third of them: what a real Jupyter
/// said of each is there, and the unit tests of `death` read all of it.
fn deaths() -> Vec<Death> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deaths");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let (head, _) = text.split_once("\n---\n").unwrap();
        let (head, reason) = head.split_once("\nreason: ").unwrap();
        let (head, _) = head.split_once("\nended: ").unwrap();
        let (head, how) = head.split_once("\nhow: ")?;
        let (_, options) = head.split_once("\noptions: ").unwrap();
        how.contains("exec ai-lab-entrypoint").then(|| Death {
            name: path.display().to_string(),
            options: options.split_whitespace().map(str::to_owned).collect(),
            how: how.to_owned(),
            reason: reason.to_owned(),
        })
    };
    let mut all: Vec<Death> = fs::read_dir(directory).unwrap().filter_map(read).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all.into_iter().step_by(repeated(3, 1)).collect()
}

/// Brings it about; what is wrong with the log.
fn told_otherwise(death: &Death) -> Option<String> {
    let entrypoint = "--entrypoint=sh".to_owned();
    let options = death.options.iter().chain([&entrypoint]);
    let options: Vec<&str> = options.map(String::as_str).collect();
    let (_, _, log) = run(&options, &["-c", &death.how]);
    let expected = format!("The reason: {}", death.reason);
    let last = log.lines().last().unwrap_or_default();
    (!last.ends_with(&expected)).then(|| format!("{}: {expected}\n{log}", death.name))
}

#[test]
fn a_jupyter_that_is_broken_in_each_way_ends_with_its_reason_and_the_remedy() {
    let todo = Mutex::new(deaths());
    let wrong = Mutex::new(Vec::new());
    assert!(todo.lock().unwrap().len() > repeated(8, 24));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(death) = { todo.lock().unwrap().pop() } {
                    wrong.lock().unwrap().extend(told_otherwise(&death));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const LIMIT: [&str; 2] = ["--memory=400m", "--memory-swap=400m"];
const KILLED_ONE: &str = "the memory limit of 400 MB was reached, and Linux killed 1 process";

/// Needs more than the limit.
const EAT: &str = "x = bytearray(1 << 30)";

/// The server reports the end of its kernel, which is when the counter is read.
#[test]
fn a_kernel_that_memory_ran_out_for_is_told_with_limit_and_number() {
    let container = Container::start(&LIMIT, &[]);
    container.wait_for(READY);
    // The visitor leaves when the kernel says something.
    let code = format!("print('here', flush=True)\n{EAT}");
    container.visit(&["run", "ailab", &code]);
    let log = container.wait_for(&format!("out of memory: {KILLED_ONE} (remedy: give the "));
    assert!(!log.contains("terminated with error code"), "{log}");
    let said = container.exec_ok("root", &["ai-lab-entrypoint", "status"]);
    assert!(said.contains(KILLED_ONE), "{said}");
    assert_eq!(container.stop(), 0);
}

/// Such a process is no child of ours, and no kernel: `status` looks for itself.
#[test]
fn what_docker_exec_runs_is_counted_as_well() {
    let container = Container::start(&LIMIT, &[]);
    container.wait_for(READY);
    assert!(container.status()["memory"]["killed"] == 0);
    let (ok, _) = container.exec("jupyter", &["python3", "-c", EAT]);
    assert!(!ok);
    let memory = &container.status()["memory"];
    assert_eq!(memory["killed"], 1, "{memory}");
    assert_eq!(memory["limit"], 400 << 20, "{memory}");
    let said = container.exec_ok("root", &["ai-lab-entrypoint", "status"]);
    assert!(said.contains(KILLED_ONE), "{said}");
    // The next line of the server's tells the supervisor to look.
    container.visit(&["login", "ailab"]);
    container.wait_for(&format!("out of memory: {KILLED_ONE}"));
}

/// Such as a training script, and a shell that runs one and fails with it: everything else is the
/// command's to say.
#[test]
fn a_command_that_memory_ran_out_for_is_told() {
    let shell = |then: &str| format!("python3 -c '{EAT}'; exit {then}");
    for (command, code) in [
        (["python3", "-c", EAT], 137),
        (["sh", "-c", &shell("$?")], 137),
        (["sh", "-c", &shell("3")], 3),
        (["sh", "-c", &shell("0")], 0),
    ] {
        let (ended, _, log) = run(&LIMIT, &command);
        assert_eq!(ended, code, "{log}");
        let last = log.lines().last().unwrap();
        let told = last.contains(&format!("out of memory: {KILLED_ONE} (remedy: "));
        assert_eq!(told, code != 0, "{command:?}: {log}");
    }
}

/// Linux counts what it kills, so memory is not blamed for what somebody else does.
#[test]
fn a_server_that_a_person_kills_is_not_told_as_out_of_memory() {
    let container = Container::start(&["--env=AI_LAB_RESCUE=never"], &[]);
    container.wait_for(READY);
    let server = container.status()["main_pid"].to_string();
    // The container may be gone before the engine knows how this ended.
    container.exec("jupyter", &["sh", "-c", &format!("kill -9 {server}")]);
    assert_eq!(container.end(), 137);
    let log = container.logs();
    let reason = "The reason: another process killed the server, and not because memory had run \
                  out. Look for what sent KILL: a person, a script, or a program that guards the \
                  machine's memory.";
    assert!(log.trim_end().ends_with(reason), "{log}");
    assert!(!log.contains("out of memory: "), "{log}");
}

/// A control group of this test, which gives its containers no more than the limit.
struct Shared(PathBuf);

impl Shared {
    fn new(name: &str) -> Self {
        let controllers = Path::new("/sys/fs/cgroup");
        let (top, limit) = match controllers.join("memory").exists() {
            true => (controllers.join("memory"), "memory.limit_in_bytes"),
            false => (controllers.to_owned(), "memory.max"),
        };
        let group = top.join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&group).unwrap();
        fs::write(group.join(limit), (400_u64 << 20).to_string()).unwrap();
        Self(group)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Such as a pod's, or a slice's: it is not visible in the container, and nobody names a number.
#[test]
fn a_limit_that_containers_share_is_not_told_as_the_containers_own() {
    let group = Shared::new("ai-lab-deaths");
    let parent = format!(
        "--cgroup-parent=/{}",
        group.0.file_name().unwrap().display()
    );
    for limit in [&[][..], &["--memory=4g", "--memory-swap=4g"]] {
        let options = [&[&*parent], limit].concat();
        let (code, _, log) = run(&options, &["python3", "-c", EAT]);
        assert_eq!(code, 137, "{log}");
        let told = "out of memory: the machine, or a group of containers that shares a limit, has \
                    no memory left, and Linux killed 1 process (remedy: ";
        assert!(log.lines().last().unwrap().contains(told), "{log}");
    }
}

/// Writes a configuration, starts, and gives Kubernetes's file as an engine mounts it.
fn failing(configuration: &str, options: &[&str]) -> (i32, String, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mount = format!("--volume={}:/dev/termination-log", file.path().display());
    let how = format!(
        "mkdir -p /home/jupyter/.jupyter; \
         echo '{configuration}' > /home/jupyter/.jupyter/jupyter_server_config.py; \
         chown -R jupyter: /home/jupyter/.jupyter; exec ai-lab-entrypoint --rescue never \"$@\""
    );
    let (code, _, log) = run(
        &[&LIMIT[..], &[&mount, "--entrypoint=sh"]].concat(),
        &[&["-c", &how, "sh"], options].concat(),
    );
    (code, log, fs::read_to_string(file.path()).unwrap())
}

#[test]
fn a_server_that_memory_ran_out_for_says_so_at_the_end_and_to_kubernetes() {
    let (code, log, told) = failing(EAT, &[]);
    let reason = "The reason: the memory limit of 400 MB was reached, and Linux killed the server. \
                  Give the container more memory (`docker run --memory`; in Kubernetes, \
                  limits.memory), or load less data at once.";
    assert_eq!(code, 137, "{log}");
    assert!(log.trim_end().ends_with(reason), "{log}");
    assert!(
        log.contains(&format!("out of memory: {KILLED_ONE} (remedy: ")),
        "{log}"
    );
    let ended = "Jupyter server terminated with error code 137 (signal 9) before it was ready\n";
    assert_eq!(told, format!("{ended}{reason}\n"));
}

/// The file is root's, as the kubelet's is, and the server runs as the user.
#[test]
fn kubernetes_gets_the_last_words_of_what_fails_and_of_nothing_else() {
    let (code, log, told) = failing("", &["jupyter-lab", "--ip", "10.1.2.3"]);
    let reason = "The reason: the address to listen on is not one of this container. Leave --ip \
                  out: the server then listens on all addresses.";
    assert_eq!(code, 1, "{log}");
    let ended = "Jupyter server terminated with error code 1 before it was ready\n";
    assert!(told.starts_with(&format!("{ended}{reason}\n\n")), "{told}");
    assert!(
        told.ends_with("OSError: [Errno 99] Cannot assign requested address\n"),
        "{told}"
    );

    for (words, code, last) in [
        (&["--port", "many"][..], 78, "settings: "),
        (&["--prot", "1"], 2, "error: unexpected argument '--prot'"),
        (
            &["--warning-as-error", "--docker-socket", "/etc/passwd"],
            1,
            "/etc/passwd",
        ),
    ] {
        let (ended, log, told) = failing("", words);
        assert_eq!(ended, code, "{log}");
        assert!(told.contains(last), "{words:?}: {told}");
    }
    let (code, log, told) = failing("", &["sh", "-c", "exit 3"]);
    assert_eq!(
        (code, &*told),
        (3, ""),
        "a command has its own words: {log}"
    );
}

#[test]
fn kubernetes_gets_nothing_from_a_stop_and_a_link_is_not_followed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mount = format!("--volume={}:/dev/termination-log", file.path().display());
    let container = Container::start(&[&mount], &[]);
    container.wait_for(READY);
    // A start beside the container's own has no last words.
    let (ok, said) = container.exec("root", &["ai-lab-entrypoint", "--port", "many"]);
    assert!(
        !ok && said.contains("has a start already (process 1)"),
        "{said}"
    );
    assert_eq!(container.stop(), 0);
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "");

    let mount = format!("--volume={}:/out", file.path().display());
    let how = "ln -s /out /dev/termination-log; exec ai-lab-entrypoint --port many";
    let (code, _, log) = run(&[&mount, "--entrypoint=sh"], &["-c", how]);
    assert_eq!(code, 78, "{log}");
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "");
}
