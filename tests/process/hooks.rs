//! Hooks take part in a start, and none can do more than its author was allowed to.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use crate::support::process::{children, until};
use crate::support::{Image, PROGRAM, Start, UID};

/// Hooks where only root can write, up to the root of the file system.
struct Hooks(tempfile::TempDir);

impl Hooks {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/srv").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    fn with(self, name: &str, script: &str) -> Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn start(&self, image: &Image) -> Start {
        self.command(image, "true")
    }

    fn command(&self, image: &Image, script: &str) -> Start {
        self.command_of(Start::pid1(), image, script)
    }

    fn command_of(&self, start: Start, image: &Image, script: &str) -> Start {
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

#[test]
fn a_root_hook_works_where_no_user_can_put_what_it_would_load() {
    let image = Image::new();
    let planted = image.path("home/json.py");
    fs::write(&planted, "print('planted')").unwrap();
    let script = "pwd; python3 -c 'import json'; python3 -m json.tool --help >/dev/null";
    let hooks = Hooks::new().with("root/a", script);
    let home = image.path("home").display().to_string();
    let ended = hooks.start(&image).under(&["env", "--chdir", &home]).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("] a: /\n"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("planted"), "{}", ended.stderr);
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
    for phase in ["root", "user"] {
        let image = Image::new();
        let place = image.path("home/elsewhere");
        let line = format!("echo JUPYTER_CONFIG_DIR={} >$AI_LAB_ENV", place.display());
        let hooks = Hooks::new().with(&format!("{phase}/a"), &line);
        let directory = hooks.0.path().display().to_string();
        let start = image.server().args(["--hooks", &directory]);
        let mut running = start.start();
        running.wait_for("] ready in ");
        let written = fs::read_to_string(place.join("jupyter_server_config.json"));
        assert!(written.unwrap().contains("argon2:"), "{phase}");
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

#[test]
fn they_see_no_secret_and_root_hooks_see_what_is_listed_alone() {
    let image = Image::new();
    // What the shell itself adds is not ours.
    let all = "tr '\\0' '\\n' </proc/$$/environ";
    let hooks = Hooks::new().with("root/a", all).with("user/b", all);
    let given = [
        "env",
        "-i",
        "PATH=/evil:/usr/bin:/bin",
        "JUPYTER_PASSWORD=s3cret",
        "PYTHONPATH=/evil",
        "SOME_INTERPRETER_OF_TOMORROW_LOADS=/evil",
        "HOME=/evil",
        "USER=evil",
        "TERM=xterm",
        "LANG=de_DE.UTF-8",
        "LC_TIME=/evil/locale",
        "TZ=Europe/Berlin",
        "AI_LAB_VERSION=3.2.1",
        "OF_THE_IMAGE=a/b",
        "SECOND_OF_THE_IMAGE=%",
    ];
    let start = Start::pid1().args(["--hook-env", "OF_THE_IMAGE"]);
    let ended = hooks.command_of(start, &image, "true").under(&given).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
    let of = |hook: &str| -> Vec<&str> {
        let lines = ended.stderr.lines();
        let mut lines: Vec<&str> = lines
            .filter_map(|line| line.split_once(hook).map(|(_, said)| said))
            .filter(|line| !line.starts_with("AI_LAB_ENV="))
            .collect();
        lines.sort_unstable();
        lines
    };
    let expected = [
        "AI_LAB_VERSION=3.2.1",
        "HOME=/root",
        "LANG=de_DE.UTF-8",
        "LOGNAME=root",
        "OF_THE_IMAGE=a/b",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SHELL=/bin/sh",
        "TERM=xterm",
        "TZ=Europe/Berlin",
        "USER=root",
    ];
    assert_eq!(of("] a: "), expected, "{}", ended.stderr);
    // A user hook's environment is the user's own business.
    assert!(
        of("] b: ").contains(&"PYTHONPATH=/evil"),
        "{}",
        ended.stderr
    );
    assert!(
        of("] b: ").contains(&"SECOND_OF_THE_IMAGE=%"),
        "{}",
        ended.stderr
    );
}

#[test]
fn variables_that_are_roots_or_secret_cannot_be_named_for_hooks() {
    let image = Image::new();
    for (name, problem) in [
        ("PATH", "is not passed on to hooks"),
        ("AI_LAB_ENV", "is not passed on to hooks"),
        ("JUPYTER_PASSWORD", "is not passed on to hooks"),
        ("A=B", "is not the name of an environment variable"),
        ("1A", "is not the name of an environment variable"),
    ] {
        let start = Start::pid1().args(["--hook-env", name]);
        let ended = Hooks::new().command_of(start, &image, "echo ran").run();
        assert_eq!((ended.code, &*ended.stdout), (78, ""), "{}", ended.stderr);
        assert!(ended.stderr.contains(problem), "{}", ended.stderr);
    }
}

/// A place of the user's with an interpreter in it, and a link to that where only root can
/// write.
fn planted(image: &Image, hooks: &Hooks) -> [String; 2] {
    let real = image.path("home/sh");
    fs::copy("/bin/sh", &real).unwrap();
    let link = hooks.0.path().join("sh-link");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    [real, link].map(|path| path.display().to_string())
}

#[test]
fn a_root_hook_whose_interpreter_others_could_write_is_refused() {
    let image = Image::new();
    let hooks = Hooks::new();
    let [real, link] = planted(&image, &hooks);
    let script = hooks.0.path().join("script").display().to_string();
    fs::write(&script, format!("#!{real}\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let home = image.path("home").display().to_string();
    for line in [
        format!("#!{real}"),
        format!("#! {link} -e"),
        // An interpreter that is a script.
        format!("#!{script}"),
        format!("#!/usr/bin/env {real}"),
        format!("#!/usr/bin/env -S A=1 {real} -e"),
        format!("#!/usr/bin/env -S{link}"),
        // What env would make of this is not followed.
        format!("#!/usr/bin/env -S PATH={home} sh"),
        "#!/usr/bin/env -S -i sh".into(),
        "#!/usr/bin/env -S ${HOME}/sh".into(),
        format!("#!/usr/bin/env -S A='1 {real}' {real}"),
    ] {
        let hooks = Hooks::new().with("root/a", "");
        let path = hooks.0.path().join("root/a");
        fs::write(&path, format!("{line}\necho ran\n")).unwrap();
        let ended = hooks.start(&image).run();
        assert_eq!(ended.code, 78, "{line}: {}", ended.stderr);
        let said = ["can be written by uid 4242", "has env decide what to start"];
        assert!(
            said.iter().any(|said| ended.stderr.contains(said)),
            "{}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("a: ran"), "{}", ended.stderr);
    }
    // One whose interpreter is a script, and so is that one's, and on and on.
    let hooks = Hooks::new();
    let path = |nth: u32| hooks.0.path().join(format!("root/{nth}"));
    fs::create_dir(hooks.0.path().join("root")).unwrap();
    for nth in 0..20 {
        fs::write(path(nth), format!("#!{}\n", path(nth + 1).display())).unwrap();
        fs::set_permissions(path(nth), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let ended = hooks.start(&image).run();
    assert_eq!(ended.code, 78, "{}", ended.stderr);
    let said = "whose interpreter is a script, and so on";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    for line in [
        "#!/bin/sh",
        "#! /usr/bin/env sh",
        "#!/usr/bin/env -S A=1 sh -e",
        "",
    ] {
        let hooks = Hooks::new().with("root/a", "");
        let path = hooks.0.path().join("root/a");
        fs::write(&path, format!("{line}\necho ran\n")).unwrap();
        let ended = hooks.start(&image).run();
        assert!(ended.stderr.contains("a: ran"), "{line}: {}", ended.stderr);
    }
}

#[test]
fn a_root_hook_finds_programs_only_where_root_alone_can_write() {
    let image = Image::new();
    let hooks = Hooks::new().with("root/a", "#!/bin/sh\necho ran");
    let elsewhere = image.path("local");
    fs::create_dir_all(elsewhere.join("bin")).unwrap();
    let script = format!(
        "mount --bind {} /usr/local && exec \"$@\"",
        elsewhere.display()
    );
    let start = || Start::wrapped("sh").args(["-c", &script, "sh", PROGRAM]);
    let ended = hooks.command_of(start(), &image, "true").run();
    assert!(ended.stderr.contains("a: ran"), "{}", ended.stderr);
    for (uid, mode) in [(UID, 0o755), (0, 0o775)] {
        std::os::unix::fs::chown(&elsewhere, Some(uid), None).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(mode)).unwrap();
        let ended = hooks.command_of(start(), &image, "true").run();
        assert_eq!(ended.code, 78, "{}", ended.stderr);
        let said = "it finds programs in its PATH, and /usr/local can be written by";
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
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
fn what_a_root_hook_leaves_running_is_gone_before_the_drop() {
    let image = Image::new();
    let left = "f=$(mktemp -u); mkfifo $f
        setsid sh -c 'trap \"\" TERM; echo left; echo >'$f'; exec sleep 1000' &
        read line <$f; rm $f";
    let hooks = Hooks::new().with("root/a", left);
    let script = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done";
    // As PID 1, and below another one, whose child the orphan would be otherwise.
    let below = Start::wrapped("sh").args(["-c", "\"$@\"; exit", "sh", PROGRAM]);
    for start in [Start::pid1(), below] {
        let ended = hooks.command_of(start, &image, script).run();
        assert!(ended.stderr.contains("a: left"), "{}", ended.stderr);
        assert!(!ended.stdout.contains("sleep"), "{}", ended.stdout);
    }
}

#[test]
fn a_root_hook_that_others_could_write_is_refused() {
    let image = Image::new();
    for (name, mode) in [("root/a", 0o757), ("root", 0o777), ("", 0o777)] {
        let hooks = Hooks::new().with("root/a", "echo ran");
        let path = hooks.0.path().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let ended = hooks.start(&image).run();
        assert_eq!(ended.code, 78, "{name}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("can be written by everyone"),
            "{}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("a: ran"), "{}", ended.stderr);
    }
    // A link to what root alone can write, in a directory where others can put one.
    let hooks = Hooks::new().with("real/a", "echo ran");
    let directory = hooks.0.path().join("root");
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::symlink("../real/a", directory.join("a")).unwrap();
    assert!(hooks.start(&image).run().stderr.contains("a: ran"));
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    let ended = hooks.start(&image).run();
    assert_eq!(ended.code, 78, "{}", ended.stderr);
    assert!(!ended.stderr.contains("a: ran"), "{}", ended.stderr);
}

#[test]
fn what_root_may_not_kill_ends_the_start_in_time() {
    let image = Image::new();
    let left = "f=$(mktemp -u); mkfifo -m 666 $f
        setpriv --reuid 1 --clear-groups sh -c \"echo left >$f; exec sleep 1000\" &
        read line <$f; rm $f";
    let hooks = Hooks::new().with("root/a", left);
    let start = Start::wrapped("setpriv").args(["--bounding-set=-kill", PROGRAM]);
    let ended = hooks.command_of(start, &image, "echo never").run();
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let said = "processes that the root hooks left running could not be killed";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[test]
fn no_verb_writes_as_root_what_will_be_the_users() {
    let image = Image::new();
    let hooks = Hooks::new().with("root/a", "echo up; exec sleep 1000");
    let mut running = hooks.start(&image).start();
    running.wait_for("a: up");
    let target = running.pid().to_string();
    let home = image.path("home");
    let mut asking = std::process::Command::new("nsenter");
    asking.args(["--pid", "--mount", "--target", &target, "--", PROGRAM]);
    asking
        .args(["password", "set", "--state-dir"])
        .arg(image.path("state"))
        .env("HOME", &home);
    asking.stdin(std::process::Stdio::piped());
    asking.stderr(std::process::Stdio::piped());
    let mut asked = asking.spawn().unwrap();
    // It may not wait for what it is to be told.
    let _ = asked.stdin.take().unwrap().write_all(b"of my own\n");
    let ended = asked.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("it is still preparing the start"), "{said}");
    assert!(!home.join(".jupyter").exists(), "{said}");
    running.signal(15);
    assert_eq!(running.end(), 143);
}

#[test]
fn without_root_the_root_hooks_are_told_and_left_out() {
    let image = Image::new();
    let hooks = Hooks::new()
        .with("root/a", "echo ran")
        .with("user/b", "echo ran");
    // Where the user can execute it.
    let program = image.path("venv/bin/ai-lab-entrypoint");
    fs::copy(PROGRAM, &program).unwrap();
    let uid = format!("--reuid={UID}");
    let ended = Start::wrapped("setpriv")
        .args([&uid, "--clear-groups", &program.display().to_string()])
        .args(image.options())
        .args([
            "--hooks",
            &hooks.0.path().display().to_string(),
            "--",
            "true",
        ])
        .run();
    assert!(ended.stderr.contains("b: ran"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("a: ran"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("its root hooks are not run"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_the_file_for_variables_has_become_is_not_followed() {
    for phase in ["root", "user"] {
        for swap in ["mkfifo", "ln -s /proc/self/environ", "mkdir"] {
            let image = Image::new();
            let script = format!("echo A=1 >>$AI_LAB_ENV; rm $AI_LAB_ENV; {swap} $AI_LAB_ENV");
            let hooks = Hooks::new().with(&format!("{phase}/a"), &script);
            let ended = hooks.command(&image, "echo A is $A").run();
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            assert_eq!(ended.stdout, "A is 1\n", "{phase}: {swap}");
        }
    }
}

#[test]
fn a_root_hook_writes_where_no_user_can_swap_the_file() {
    let image = Image::new();
    let hooks = Hooks::new().with("root/a", "echo $AI_LAB_ENV");
    let home = image.path("home").display().to_string();
    // /tmp is sticky.
    for (mode, place) in [("755", "/run"), ("777", "/tmp"), ("1777", "/run")] {
        let run = format!("mount -t tmpfs -o mode={mode} tmpfs /run && exec \"$@\"");
        let start = Start::of_the_machine("sh").args(["-c", &run, "sh", PROGRAM]);
        let start = hooks.command_of(start, &image, "true");
        let ended = start.env("TMPDIR", &home).run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let told = format!(": {place}/.ai-lab-env-");
        assert!(ended.stderr.contains(&told), "{mode}: {}", ended.stderr);
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
