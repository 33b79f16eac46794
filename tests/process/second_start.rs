//! A start in a container that has one already: below it, in its COMMAND, it has the settings of that
//! container; beside it, as with `docker exec`, it changes nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::process::{children, until};
use crate::support::{Image, PROGRAM, Running, Start, UID};

/// Where root keeps the settings of its start.
const RECORD: &str = "/run/ai-lab-settings.toml";

/// Runs a program in the namespaces of a running supervisor, as `docker exec` does.
fn inside(running: &Running, words: &[&str]) -> Output {
    let target = running.pid().to_string();
    let enter = ["--pid", "--mount", "--target", &target, "--"];
    let words = [&enter[..], words].concat();
    Command::new("nsenter").args(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The owners of what the volume has, and what the start keeps for its verbs.
fn kept(running: &Running, image: &Image) -> (Vec<u32>, Vec<String>) {
    let owners = ["notebooks", "notebooks/theirs", "state"];
    let owners = owners.map(|name| fs::metadata(image.path(name)).unwrap().uid());
    let record = format!("/proc/{}/root{RECORD}", running.pid());
    let texts = [image.path("state/state.json"), record.into()];
    let texts = texts.map(|path| fs::read_to_string(path).unwrap());
    (owners.into(), texts.into())
}

#[test]
fn one_beside_the_running_one_changes_nothing() {
    for init in [PROGRAM, "tini"] {
        let image = Image::new();
        for name in ["notebooks", "notebooks/theirs"] {
            fs::create_dir(image.path(name)).unwrap();
        }
        chown(image.path("notebooks/theirs"), Some(2222), None).unwrap();
        // As with `docker run --init`.
        let below = [&["--"][..], &[PROGRAM]].concat();
        let below = below.iter().filter(|_| init == "tini");
        let start = Start::wrapped(init).args(below).args(image.options());
        let script = "echo it runs; exec sleep 1000";
        let start = start.args(["--volume-owner", "keep", "--", "sh", "-c", script]);
        let mut running = start.start();
        running.wait_for_line("it runs");
        let state = || fs::read_to_string(image.path("state/state.json")).unwrap();
        until("it names the command", || {
            !state().contains("\"main_pid\": null")
        });
        let before = kept(&running, &image);

        let options = image.options();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let user = UID.to_string();
        let as_user = ["setpriv", "--reuid", &user, "--regid", &user];
        let as_user = [&as_user[..], &["--clear-groups"]].concat();
        for (by, words, told) in [
            (&[][..], &["stauts"][..], "did you mean the verb `status`?"),
            (&[], &["help"], "did you mean the option `--help`?"),
            (&[], &["id"], "`docker exec --user "),
            (&as_user, &["id"], "`docker exec --user "),
            (
                &["sh", "-c", "\"$@\"; exit $?", "sh"],
                &["id"],
                "a start already",
            ),
        ] {
            for options in [&[][..], &options] {
                let words = [by, &[PROGRAM], options, words].concat();
                let ended = inside(&running, &words);
                let said = text(&ended.stderr);
                assert_eq!(ended.status.code(), Some(1), "{words:?}: {said}");
                assert!(said.contains(told), "{words:?}: {said}");
                assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
                assert_eq!(text(&ended.stdout), "", "{words:?}");
                assert_eq!(kept(&running, &image), before, "{words:?}");
            }
        }
        // One that changes nothing may say what it would do.
        let words = [&[PROGRAM][..], &options, &["--dry-run", "id"]].concat();
        let ended = inside(&running, &words);
        let said = text(&ended.stdout);
        assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
        assert!(said.ends_with("nothing was changed\n"), "{said}");
        assert_eq!(kept(&running, &image), before);
    }
}

/// The options of a usual start, and that for its state by itself.
fn options(image: &Image) -> (Vec<String>, Vec<String>) {
    let mut options = image.options();
    let at = options.iter().position(|word| word == "--state-dir");
    let state_dir = options.drain(at.unwrap()..at.unwrap() + 2).collect();
    (options, state_dir)
}

#[test]
fn one_that_a_command_ends_with_has_the_settings_of_its_container() {
    // Without root its record is beside its state, which is in memory here.
    let as_user = format!(
        "mount -t tmpfs -o mode=1777 tmpfs /dev/shm
         exec setpriv --reuid={UID} --regid={UID} --clear-groups \"$@\""
    );
    for (by, state_dir) in [("exec \"$@\"", true), (&as_user, false)] {
        let image = Image::new();
        let (options, named) = options(&image);
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        let named = if state_dir { &named[..] } else { &[] };
        for name in ["state", "notebooks", "hooks", "hooks/root"] {
            fs::create_dir(image.path(name)).unwrap();
        }
        for name in ["state", "notebooks"] {
            chown(image.path(name), Some(UID), Some(UID)).unwrap();
        }
        fs::write(image.path("hooks/root/note"), "").unwrap();
        // A file of Jupyter's wins over the image's settings, and not over these.
        let jupyters = image.path("venv/etc/jupyter");
        fs::create_dir_all(&jupyters).unwrap();
        let other = "c.ServerApp.port = 1\n";
        fs::write(jupyters.join("jupyter_server_config.py"), other).unwrap();
        let hooks = image.path("hooks").display().to_string();
        let script = format!("echo prepared; exec {PROGRAM} jupyter-lab");
        let start = Start::wrapped("sh").args(["-ec", by, "sh", PROGRAM]);
        let start = start.args(options).args(named).args(["--hooks", &hooks]);
        let start = start.env("JUPYTER_PASSWORD", "mine");
        let mut running = start.args(["--", "sh", "-c", &script]).start();
        running.wait_for_line("prepared");
        running.wait_for(&format!("http://localhost:{}", image.port));
        running.wait_for("] ready in ");
        let heard = running.all_heard().join("\n");
        let (_, inner) = heard.split_once("prepared\n").unwrap();
        assert!(!inner.contains("[W "), "{inner}");
        let mut processes = running.processes().into_iter();
        let server = processes.find(|(_, line)| line.contains("bin/jupyter-lab"));
        let (server, _) = server.unwrap();
        let directory = fs::read_link(format!("/proc/{server}/cwd"));
        assert_eq!(directory.unwrap(), image.path("notebooks"));
        // The verbs are of the container.
        let shown = inside(&running, &[&[PROGRAM, "status"], named].concat());
        let shown = text(&shown.stdout);
        assert!(shown.contains("runs          JupyterLab"), "{shown}");
        let restarted = inside(&running, &[&[PROGRAM, "restart"], named].concat());
        assert_eq!(restarted.status.code(), Some(0), "{restarted:?}");
        running.wait_for_next("] ready in ");
    }
}

/// A start with a `/run` that it shares with others, and memory of its own.
fn sharing(run: &str, image: &Image, words: &[&str]) -> Running {
    let script = "mount --bind \"$0\" /run
        mount -t tmpfs -o mode=1777 tmpfs /dev/shm
        exec \"$@\"";
    let start = Start::wrapped("sh").args(["-ec", script, run, PROGRAM]);
    let (options, _) = options(image);
    start.args(options).args(words).start()
}

#[test]
fn labs_that_share_their_run_directory_keep_a_state_each() {
    let images = [(); 4].map(|()| Image::new());
    let run = images[0].path("run");
    fs::create_dir(&run).unwrap();
    let run = run.display().to_string();
    let lab = |image| {
        let mut lab = sharing(&run, image, &["--jupyter-server", "jupyter-lab"]);
        lab.wait_for("] ready in ");
        lab
    };
    let told = "/run/ai-lab belongs to a running start";
    let mut first = lab(&images[0]);
    let second = lab(&images[1]);
    assert!(!first.has_said(told) && second.has_said(told));
    for (lab, image) in [(&first, &images[0]), (&second, &images[1])] {
        let health = inside(lab, &[PROGRAM, "healthcheck"]);
        let healthy = format!("healthy: http://127.0.0.1:{}/api answers\n", image.port);
        assert_eq!(text(&health.stdout), healthy);
    }
    let shown = inside(&first, &[PROGRAM, "config", "show"]);
    let port = format!("server.port = {}", images[0].port);
    assert!(text(&shown.stdout).contains(&port), "{shown:?}");
    // Root does not give the directory to another user either.
    let words = ["--user", "4343", "--group", "4343", "--", "true"];
    let mut other = sharing(&run, &images[2], &words);
    other.wait_for("it belongs to a start of another user");
    assert_eq!(other.end(), 0);
    let health = inside(&first, &[PROGRAM, "healthcheck"]);
    assert_eq!(health.status.code(), Some(0), "{health:?}");
    // Who comes after the first one has its place.
    first.signal(libc::SIGTERM);
    assert_eq!(first.end(), 0);
    assert!(!lab(&images[3]).has_said(told));
}

/// A control group of its own, as each container has one.
struct ControlGroup(PathBuf);

impl ControlGroup {
    fn new() -> Self {
        let all = ["pids", "unified", ""].map(|name| Path::new("/sys/fs/cgroup").join(name));
        let all = all.iter().find(|all| all.join("cgroup.procs").exists());
        let name = format!("ai-lab-test-{}", std::process::id());
        let group = all.unwrap().join(name);
        fs::create_dir(&group).unwrap();
        Self(group)
    }

    /// The words before a program that make it a process of this group.
    fn enter(&self) -> [String; 4] {
        let script = "echo 0 >\"$0/cgroup.procs\"; exec \"$@\"";
        let group = self.0.display().to_string();
        ["sh".into(), "-ec".into(), script.into(), group]
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // The kernel may still be ending what was in it.
        until("it is empty", || fs::remove_dir(&self.0).is_ok());
    }
}

/// As with `docker run --pid container:NAME`.
#[test]
fn verbs_mean_the_start_of_their_own_container() {
    let group = ControlGroup::new();
    let enter = group.enter();
    let enter: Vec<&str> = enter.iter().map(String::as_str).collect();
    let (image, second_image) = (Image::new(), Image::new());
    let mut first = image.server().start();
    first.wait_for("] ready in ");
    let target = first.pid().to_string();
    let script = "mount -t proc proc /proc
        mount -t tmpfs -o mode=755 tmpfs /run
        exec \"$@\"";
    let namespaces = ["nsenter", "--pid", "--target", &target, "--"];
    let own = ["unshare", "--mount", "sh", "-ec", script, "sh", PROGRAM];
    let start = Start::plain_of(enter[0]).args(&enter[1..]).args(namespaces);
    let start = start.args(own).args(second_image.options());
    let mut second = start.args(["--jupyter-server", "jupyter-lab"]).start();
    second.wait_for("] ready in ");

    let target = children(second.pid())[0].to_string();
    let namespaces = ["nsenter", "--pid", "--mount", "--target", &target, "--"];
    let state = second_image.path("state").display().to_string();
    let verb = [PROGRAM, "restart", "--state-dir", &state];
    let words = [&enter[..], &namespaces, &verb].concat();
    let ended = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    second.wait_for_next("] ready in ");
    let state = image.path("state").display().to_string();
    let shown = inside(&first, &[PROGRAM, "status", "--state-dir", &state]);
    let shown = text(&shown.stdout);
    assert!(shown.contains("phase         ready"), "{shown}");
    assert!(!shown.contains("restarts"), "{shown}");
}
