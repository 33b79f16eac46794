//! No hook can do more than its author was allowed to: what root hooks see, load, write and leave
//! behind.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use crate::hooks::Hooks;
use crate::support::{Image, PROGRAM, Start, UID};

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
        let said = [
            "can be written by uid 4242",
            "leaves the choice of the interpreter to env",
        ];
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

#[test]
fn what_a_root_hook_leaves_running_is_gone_before_the_drop() {
    let image = Image::new();
    let left = "f=$(mktemp -u); mkfifo $f
        setsid sh -c 'trap \"\" TERM; echo left; echo >'$f'; exec sleep 1000' &
        read line <$f; rm $f; until grep -q sleep /proc/$!/comm; do :; done";
    let hooks = Hooks::new().with("root/a", left);
    let script = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done";
    // As PID 1, and below another one, whose child the orphan would be otherwise.
    let below = Start::wrapped("sh").args(["-c", "\"$@\"; exit", "sh", PROGRAM]);
    for start in [Start::pid1(), below] {
        let ended = hooks.command_of(start, &image, script).run();
        assert!(ended.stderr.contains("a: left"), "{}", ended.stderr);
        assert!(!ended.stdout.contains("sleep"), "{}", ended.stdout);
        let told = "the root hooks left sleep running";
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
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
    // Where both can be written by everyone, as volumes of Kubernetes.
    let open =
        "for place in /run /tmp; do mount -t tmpfs -o mode=777 tmpfs $place; done; exec \"$@\"";
    let start = Start::of_the_machine("sh").args(["-c", open, "sh", PROGRAM]);
    let ended = hooks.command_of(start, &image, "true").run();
    let told = ": /dev/shm/.ai-lab-env-";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}
