//! Hooks take part in a start: their order, output, variables and end.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use crate::support::process::{children, until};
use crate::support::{Image, Start, UID};

/// Hooks where only root can write, up to the root of the file system.
pub struct Hooks(pub tempfile::TempDir);

impl Hooks {
    pub fn new() -> Self {
        let dir = tempfile::tempdir_in("/srv").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    pub fn with(self, name: &str, script: &str) -> Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    pub fn start(&self, image: &Image) -> Start {
        self.command(image, "true")
    }

    pub fn command(&self, image: &Image, script: &str) -> Start {
        self.command_of(Start::pid1(), image, script)
    }

    pub fn command_of(&self, start: Start, image: &Image, script: &str) -> Start {
        let directory = self.0.path().display().to_string();
        let options = image.options();
        let start = start.args(options).args(["--hooks", &directory]);
        start.args(["--", "sh", "-c", script])
    }
}

#[test]
fn they_run_in_name_order_as_root_and_as_the_user_and_are_heard() {
    let image = Image::new();
    let hooks = Hooks::new()
        .with("root/20-b", "echo second as $(id -u) with $PATH")
        .with(
            "root/10-a",
            "echo first as $(id -u) >&2; printf 'no newline'",
        )
        .with("user/a", "echo third as $(id -u)");
    fs::write(hooks.0.path().join("root/README"), "no hook").unwrap();
    let path = "/evil:/usr/bin:/bin";
    let ended = hooks.start(&image).env("PATH", path).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let said: Vec<&str> = ended
        .stderr
        .lines()
        .filter_map(|line| Some(line.split_once("ai-lab] ")?.1))
        .filter(|line| line.starts_with("10-a: ") || line.contains(" as "))
        .collect();
    let third = format!("a: third as {UID}");
    let system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let second = format!("20-b: second as 0 with {system}");
    // The order of one hook's two streams is not kept.
    assert!(said[..2].contains(&"10-a: first as 0") && said[..2].contains(&"10-a: no newline"));
    assert_eq!(
        said[2..],
        [second.as_str(), third.as_str()],
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("README is not executable"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("hooks "),
        "the boot line tells their time"
    );
}

/// The default password is set before the hooks run.
#[test]
fn a_login_that_a_hook_configures_is_the_only_one() {
    let image = Image::new();
    let file = image.path("home/.jupyter/jupyter_server_config");
    let file = file.display();
    let hooks = Hooks::new().with(
        "user/token",
        &format!("echo \"c.IdentityProvider.token = 'x'\" >{file}.py"),
    );
    let directory = hooks.0.path().display().to_string();
    let mut running = image.server().args(["--hooks", &directory]).start();
    running.wait_for("the default password is not set: the configuration has");
    running.wait_for("] ready in ");
    let own = fs::read_to_string(format!("{file}.json")).unwrap();
    assert!(!own.contains("hashed_password"), "{own}");
}

/// The password is applied again after a hook that changed the configuration.
#[test]
fn what_a_hook_leaves_as_it_is_is_reported_once() {
    let image = Image::new();
    let directory = image.path("home/.jupyter");
    fs::create_dir_all(&directory).unwrap();
    fs::write(
        directory.join("jupyter_lab_config.py"),
        "load_subconfig('mine.py')\n",
    )
    .unwrap();
    let file = directory.join("jupyter_config.py");
    let line = format!(
        "echo \"c.GitHubConfig.access_token = ''\" >{}",
        file.display()
    );
    let hooks = Hooks::new().with("user/a", &line);
    let directory = hooks.0.path().display().to_string();
    let start = image.server().args(["--hooks", &directory]);
    let mut running = start.args(["--password", "ailab"]).start();
    running.wait_for("] ready in ");
    running.signal(15);
    running.end();
    let (_, stderr) = running.everything();
    let told = stderr.matches("the default password is not set: ").count();
    assert_eq!(told, 1, "{stderr}");
}

#[test]
fn what_a_hook_says_of_jupyters_configuration_is_where_the_password_goes() {
    for (phase, variable, below) in [
        ("root", "JUPYTER_CONFIG_DIR", ""),
        ("user", "JUPYTER_CONFIG_DIR", ""),
        ("root", "HOME", ".jupyter"),
        ("user", "HOME", ".jupyter"),
    ] {
        let image = Image::new();
        let place = image.path("home/elsewhere");
        let line = format!("echo {variable}={} >$AI_LAB_ENV", place.display());
        let hooks = Hooks::new().with(&format!("{phase}/a"), &line);
        let directory = hooks.0.path().display().to_string();
        let start = image.server().args(["--hooks", &directory]);
        let mut running = start.start();
        running.wait_for("] ready in ");
        let written = place.join(below).join("jupyter_server_config.json");
        let written = fs::read_to_string(written).unwrap_or_default();
        assert!(written.contains("argon2:"), "{variable} of {phase}");
        running.signal(15);
        assert_eq!(running.end(), 0);
        let (_, stderr) = running.everything();
        // It is in force there, which is what the welcome looks for.
        assert!(
            stderr.contains("The default password is \"ailab\"."),
            "{stderr}"
        );
    }
}

#[test]
fn what_they_write_goes_into_the_environment() {
    let image = Image::new();
    let hooks = Hooks::new()
        .with(
            "root/a",
            "echo 'FROM_ROOT=x y=z' >>$AI_LAB_ENV; echo TWICE=1 >>$AI_LAB_ENV",
        )
        .with(
            "user/a",
            "echo \"FROM_USER=$FROM_ROOT!\" >>$AI_LAB_ENV; echo TWICE=2 >>$AI_LAB_ENV",
        );
    let script = "echo $FROM_ROOT; echo $FROM_USER; echo $TWICE; echo ${AI_LAB_ENV-none}";
    let ended = hooks.command(&image, script).run();
    assert_eq!(ended.stdout, "x y=z\nx y=z!\n2\nnone\n", "{}", ended.stderr);
    let hooks = Hooks::new().with("user/a", "echo JUPYTER_PASSWORD=x >$AI_LAB_ENV");
    let ended = hooks.start(&image).run();
    assert_eq!(ended.code, 1);
    assert!(
        ended.stderr.contains("wrote line 1 of $AI_LAB_ENV"),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_hooks_after_it_see_what_one_wrote() {
    let image = Image::new();
    let hooks = Hooks::new()
        .with(
            "root/a",
            "printf 'LANG=C.UTF-8\nNAMED=1\nLD_LIBRARY_PATH=/evil\nPATH=/evil\n' >>$AI_LAB_ENV",
        )
        .with(
            "root/b",
            "echo \"b: $LANG $NAMED ${LD_LIBRARY_PATH-none} $PATH\"",
        )
        .with(
            "user/a",
            "echo \"a: $LD_LIBRARY_PATH\"; echo MINE=1 >>$AI_LAB_ENV",
        )
        .with("user/b", "echo \"b: $MINE\"; echo MINE=2 >>$AI_LAB_ENV");
    let start = Start::pid1().env("LANG", "C").args(["--hook-env", "NAMED"]);
    let ended = hooks.command_of(start, &image, "echo $MINE").run();
    let said = ended.stdout + &ended.stderr;
    let system = "b: C.UTF-8 1 none /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
    for part in [system, "a: /evil\n", "b: 1\n", "2\n"] {
        assert!(said.contains(part), "{part:?} is missing in {said}");
    }
}

/// Writes without end, faster than anybody logs it, and always has a megabyte ahead.
const ENDLESS: &str = "echo up; exec python3 -c \"
import fcntl, os
fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20)
while True: os.write(1, b'more\\n' * 4096)\"";

#[test]
fn one_that_fails_or_hangs_ends_the_start() {
    let image = Image::new();
    for (script, limit, said) in [
        ("echo why; exit 3", "60", "failed with exit code 3"),
        ("kill -9 $$", "60", "failed with signal 9"),
        ("exec sleep 1000", "0.2", "took longer than 0.2 s"),
        (ENDLESS, "0.2", "took longer than 0.2 s"),
    ] {
        for phase in ["root", "user"] {
            let hooks = Hooks::new().with(&format!("{phase}/a"), script);
            let command = hooks.command(&image, "echo never");
            let ended = command.env("AI_LAB_HOOK_TIMEOUT", limit).run();
            assert_eq!(ended.code, 1, "{script}");
            assert!(ended.stderr.contains(said), "{}", ended.stderr);
            assert_eq!(ended.stdout, "");
        }
    }
}

#[test]
fn where_the_log_leaves_its_output_out_a_failed_hook_says_so() {
    let image = Image::new();
    let hooks = Hooks::new().with("user/a", "echo why; exit 3");
    let ended = hooks.start(&image).env("AI_LAB_LOG", "warn").run();
    assert!(!ended.stderr.contains("why"), "{}", ended.stderr);
    let remedy = "--log-level info";
    assert!(ended.stderr.contains(remedy), "{}", ended.stderr);
}

#[test]
fn what_a_hook_says_before_its_end_is_told_to_the_last_word() {
    // As much as a pipe can hold, at once, and gone before it can have been read.
    let script = "exec python3 -c \"
import fcntl, os
fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20)
os.write(1, (b'x' * 1023 + bytes([10])) * 1000 + b'the last word')\"";
    let image = Image::new();
    let ended = Hooks::new().with("user/a", script).start(&image).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let said = ended.stderr.matches("a: xxx").count();
    assert_eq!(said, 1000);
    assert!(ended.stderr.contains("a: the last word\n"));
}

/// Without a reader, SIGPIPE would end it at its first line.
#[test]
fn what_a_user_hook_leaves_running_goes_on_and_is_heard() {
    let image = Image::new();
    let script = "mkfifo ~/go ~/done
        (read line <~/go; echo tick; echo tock >&2; echo alive >~/done; exec sleep 1000) &";
    let hooks = Hooks::new().with("user/a", script);
    let command = "echo >~/go; timeout 20 cat ~/done && exec sleep 1000";
    let mut running = hooks.command(&image, command).start();
    for line in ["alive", "a: tick", "a: tock"] {
        running.wait_for(line);
    }
    running.signal(15);
    assert_eq!(running.end(), 143);
}

#[test]
fn a_hook_runs_although_there_is_no_directory_for_temporary_files() {
    let image = Image::new();
    let hooks = Hooks::new().with("user/a", "echo X=1 >$AI_LAB_ENV");
    let command = hooks.command(&image, "echo $X").env("TMPDIR", "/missing");
    let ended = command.run();
    assert_eq!(ended.stdout, "1\n", "{}", ended.stderr);
}

#[test]
fn a_stop_ends_a_hook_at_once() {
    let image = Image::new();
    let scripts = ["echo up; exec sleep 1000", ENDLESS];
    for (phase, script) in ["root", "user"]
        .map(|phase| scripts.map(|script| (phase, script)))
        .concat()
    {
        let hooks = Hooks::new().with(&format!("{phase}/a"), script);
        let mut running = hooks.start(&image).start();
        running.wait_for("a: up");
        running.signal(15);
        assert_eq!(running.end(), 143);
    }
}

#[test]
fn orphans_that_end_while_a_hook_hangs_are_reaped_then_and_there() {
    // They end all at once, so that one signal stands for many of them.
    let script = |fifo: &str| {
        format!(
            "(for each in $(seq 20); do (read line <{fifo}) & done)
            echo up; exec sleep 1000"
        )
    };
    for phase in ["root", "user"] {
        let image = Image::new();
        let fifo = image.path("home/fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        nix::unistd::chown(&fifo, Some(UID.into()), None).unwrap();
        let hooks = Hooks::new().with(&format!("{phase}/a"), &script(&fifo.display().to_string()));
        let mut running = hooks.start(&image).start();
        running.wait_for("a: up");
        let pid = running.pid();
        until("they are ours", || children(pid).len() == 21);
        let opened = fs::File::options().read(true).write(true).open(&fifo);
        let mut way = opened.unwrap();
        way.write_all(&[b'\n'; 20]).unwrap();
        until("they are gone", || children(pid).len() == 1);
        // The hook hangs still, and a stop ends it.
        running.signal(15);
        assert_eq!(running.end(), 143, "{phase}");
    }
}

#[test]
fn a_dry_run_lists_the_hooks_and_runs_none() {
    let image = Image::new();
    let hooks = Hooks::new()
        .with("root/a", "echo ran")
        .with("user/b", "echo ran");
    let dry = hooks.command_of(Start::pid1().arg("--dry-run"), &image, "true");
    let dry = dry.run();
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    for (phase, name) in [("root", "a"), ("user", "b")] {
        let path = hooks.0.path().join(phase).join(name);
        let listed = format!(
            "{phase} hooks (what they would change is not known)\n  run {}\n",
            path.display()
        );
        assert!(dry.stdout.contains(&listed), "{}", dry.stdout);
    }
    assert!(!dry.stderr.contains("ran"), "{}", dry.stderr);
}
