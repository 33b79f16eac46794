//! What is run for the user, and why it cannot be: hooks and commands.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::degraded::{after, usual};
use super::golden::{lived, start};
use crate::support::{Image, Start};

#[test]
fn hooks_and_their_ends() {
    let hook = |image: &Image, phase: &str, mode: u32, text: &str| {
        let directory = image.path("hooks").join(phase);
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("10-x");
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
        let hooks = image.path("hooks").display().to_string();
        usual(image, &["--hooks", &hooks, "--hook-timeout", "600"])
    };
    start("hook-says", |image| hook(image, "user", 0o755, "echo said"));
    start("hook-fails", |image| hook(image, "user", 0o755, "exit 3"));
    start("hook-not-executable", |image| {
        hook(image, "user", 0o644, "")
    });
    start("hook-writes-nonsense", |image| {
        hook(image, "user", 0o755, "echo nonsense >> \"$AI_LAB_ENV\"")
    });
    start("hook-writes-a-name", |image| {
        hook(image, "user", 0o755, "echo '1=x' >> \"$AI_LAB_ENV\"")
    });
    for (name, text) in [
        (
            "hook-writes-too-much",
            "head -c 70000 /dev/zero >\"$AI_LAB_ENV\"",
        ),
        ("hook-writes-nul", "printf 'A=\\000\\n' >\"$AI_LAB_ENV\""),
        ("hook-writes-ours", "echo AI_LAB_LOG=x >\"$AI_LAB_ENV\""),
    ] {
        start(name, |image| hook(image, "user", 0o755, text));
    }
    start("hook-dry-run", |image| {
        let hooks = image.path("hooks").display().to_string();
        drop(hook(image, "user", 0o755, ""));
        usual(image, &["--hooks", &hooks, "--dry-run"])
    });
    start("hook-too-long", |image| {
        let hooks = image.path("hooks").display().to_string();
        drop(hook(image, "user", 0o755, "exec sleep 600"));
        usual(image, &["--hooks", &hooks, "--hook-timeout", "0"])
    });
    start("hook-without-interpreter", |image| {
        let start = hook(image, "user", 0o755, "");
        fs::write(image.path("hooks/user/10-x"), "#!/nonexistent/sh\n").unwrap();
        start
    });
    start("hook-of-windows", |image| {
        let start = hook(image, "user", 0o755, "");
        fs::write(image.path("hooks/user/10-x"), "#!/bin/sh -e\r\n").unwrap();
        start
    });
    // Root hooks are where root alone can write.
    let of_root = |text: &str| {
        format!(
            "mount -t tmpfs -o mode=755 tmpfs /media\nmkdir /media/root\n\
             cat >/media/root/10-x <<'END'\n#!/bin/sh\n{text}\nEND\nchmod 755 /media/root/10-x\n"
        )
    };
    start("hook-without-a-place", |image| {
        let places = "mount -t tmpfs -o mode=777 tmpfs /run\n\
                      mount -t tmpfs -o ro tmpfs /dev/shm\nmount -o remount,bind,ro /";
        after(&(of_root("") + places), image, &["--hooks", "/media"])
    });
    start("hook-leaves-a-service", |image| {
        let script = of_root("sleep 600 & until grep -q sleep /proc/$!/comm; do :; done");
        after(&script, image, &["--hooks", "/media"])
    });
    start("hooks-are-closed", |image| {
        fs::create_dir_all(image.path("hooks/user")).unwrap();
        let closed = fs::Permissions::from_mode(0o700);
        fs::set_permissions(image.path("hooks/user"), closed).unwrap();
        usual(image, &["--hooks", image.path("hooks").to_str().unwrap()])
    });
    start("hooks-are-a-file", |image| {
        fs::create_dir(image.path("hooks")).unwrap();
        fs::write(image.path("hooks/user"), "").unwrap();
        usual(image, &["--hooks", image.path("hooks").to_str().unwrap()])
    });
}

#[test]
fn commands_that_cannot_be_run() {
    let run = |name: &str, command: &'static str| {
        start(name, |image| {
            fs::write(image.path("plain"), "x").unwrap();
            fs::write(image.path("lost"), "#!/nonexistent/python\n").unwrap();
            fs::write(image.path("windows"), "#!/bin/sh -e\r\n").unwrap();
            fs::write(image.path("binary"), [0x7f, b'E', b'L', b'F', 9]).unwrap();
            // For a loader that is not here.
            let program = fs::read("/bin/true").unwrap();
            let at = program.windows(4).position(|part| part == b"/ld-").unwrap();
            let (before, after) = program.split_at(at);
            let moved = [before, b"/no-", &after[4..]].concat();
            fs::write(image.path("loaderless"), moved).unwrap();
            for name in ["lost", "windows", "binary", "loaderless"] {
                let mode = fs::Permissions::from_mode(0o755);
                fs::set_permissions(image.path(name), mode).unwrap();
            }
            let command = command.replace('@', image.dir.path().to_str().unwrap());
            Start::pid1().args(image.options()).args(["--", &command])
        });
    };
    run("command-not-in-path", "no-such-program");
    run("command-not-there", "/nonexistent");
    run("command-not-executable", "@/plain");
    run("command-is-a-directory", "@/home");
    run("command-without-interpreter", "@/lost");
    run("command-of-windows", "@/windows");
    run("command-of-no-architecture", "@/binary");
    run("command-without-loader", "@/loaderless");
    run("command-mistyped-verb", "helthcheck");
    run("command-is-an-init", "@/tini");
    run("command-misplaced-verb", "status");
    run("command-is-an-option", "--port");
    run("command-of-git-bash", "C:/Program Files/Git/usr/bin/bash");
    run("command-for-help", "help");
}

#[test]
fn nothing_is_run() {
    start("command-of-another-image", |image| {
        let command = ["--dry-run", "--", "start-notebook.sh", "--debug"];
        Start::pid1().args(image.options()).args(command)
    });
    start("idle-dry-run", |image| {
        Start::pid1().args(image.options()).arg("--dry-run")
    });
    lived(
        "stopped-before",
        |image| image.server_with_pending(libc::SIGTERM),
        |running| running.end(),
    );
}
