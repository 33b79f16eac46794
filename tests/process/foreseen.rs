//! What a start would not do as asked, a dry run tells in the same words: about defaults
//! that the user cannot read, a record or a seal that does not count, and who stays above.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use crate::support::process::until;
use crate::support::{Image, PROGRAM, Start, UID};

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What ended it, without its time.
fn said(stderr: &str) -> Option<&str> {
    let last = stderr.lines().rfind(|line| line.starts_with("[E "))?;
    Some(last.split_once("] ").unwrap().1)
}

#[test]
fn what_is_not_as_asked_ends_a_strict_dry_run_as_it_ends_a_start() {
    for (what, part) in [
        ("unreadable", "could not read 1 entry, first start.ipynb"),
        ("unlisted", "could not read 1 entry, first deep: Permission"),
        ("closed", "cannot open or create the notebooks directory"),
        ("damaged", "notebook defaults is damaged (line 1)"),
        ("newer", "was written by a newer version"),
        ("seal", "the seal of the notebook defaults is not used"),
        ("unwritable", "uid 4242 may not write to the notebooks"),
        ("line", "is left out: the password of the environment"),
        ("above", "remains a parent process of this one, as root"),
    ] {
        let image = Image::new();
        let mut volume = image.path("notebooks");
        let default = image.path("defaults/start.ipynb");
        match what {
            "unreadable" => mode(&default, 0o600),
            "unlisted" => {
                fs::create_dir(image.path("defaults/deep")).unwrap();
                fs::write(image.path("defaults/deep/file"), "").unwrap();
                mode(&image.path("defaults/deep"), 0o700);
            }
            "closed" => {
                fs::create_dir(image.path("closed")).unwrap();
                mode(&image.path("closed"), 0o700);
                volume = image.path("closed/notebooks");
            }
            "damaged" | "newer" => {
                fs::create_dir_all(volume.join(".ai-lab")).unwrap();
                let text = match what {
                    "newer" => "# ai-lab notebooks 99\n",
                    _ => "rubbish\n",
                };
                fs::write(volume.join(".ai-lab/manifest.sha256"), text).unwrap();
            }
            "seal" => {
                fs::create_dir(image.path("defaults/.ai-lab")).unwrap();
                let seal = image.path("defaults/.ai-lab/manifest.sha256");
                fs::write(seal, "rubbish\n").unwrap();
                // What is there is compared.
                fs::create_dir(&volume).unwrap();
                fs::copy(&default, volume.join("start.ipynb")).unwrap();
            }
            "unwritable" => {
                fs::create_dir(&volume).unwrap();
                mode(&volume, 0o555);
            }
            _ => {}
        }
        let command: &[&str] = match what {
            "line" => &[
                "jupyter-lab",
                "--PasswordIdentityProvider.hashed_password=argon2:x",
            ],
            _ => &["true"],
        };
        let run = |more: &[&str]| {
            let start = match what {
                "above" => Start::plain(),
                _ => Start::pid1(),
            };
            let start = start.args(image.options()).args(more);
            let start = start.args(["--notebooks", volume.to_str().unwrap()]);
            let start = start.args(["--warning-as-error", "--"]).args(command);
            match what {
                "line" => start.env("JUPYTER_PASSWORD", "of my own").run(),
                _ => start.run(),
            }
        };
        let (dry, real) = (run(&["--dry-run"]), run(&[]));
        assert_eq!((dry.code, real.code), (1, 1), "{what}: {}", dry.stdout);
        assert_eq!(said(&dry.stderr), said(&real.stderr), "{what}");
        assert!(dry.stderr.contains(part), "{what}: {part}: {}", dry.stderr);
    }
}

/// Without CAP_DAC_OVERRIDE root cannot write where the user will.
#[test]
fn what_root_may_not_write_the_user_may() {
    let image = Image::new();
    let volume = image.path("notebooks");
    fs::create_dir(&volume).unwrap();
    chown(&volume, Some(UID + 1), Some(UID + 1)).unwrap();
    let run = |more: &[&str]| {
        Start::wrapped("setpriv")
            .args(["--bounding-set", "-dac_override,-dac_read_search", "--"])
            .arg(PROGRAM)
            .args(image.options())
            .args(more)
            .args(["--warning-as-error", "--", "true"])
            .run()
    };
    let dry = run(&["--dry-run"]);
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    assert!(dry.stdout.contains("install: start.ipynb\n"));
    let real = run(&[]);
    assert_eq!(real.code, 0, "{}", real.stderr);
    assert!(volume.join("start.ipynb").exists());
}

#[test]
fn a_dry_run_that_reads_long_files_can_be_stopped() {
    let image = Image::new();
    fs::create_dir(image.path("notebooks")).unwrap();
    // As long as the default, so that it may be the default.
    for directory in ["notebooks", "defaults"] {
        let long = fs::File::create(image.path(directory).join("start.ipynb")).unwrap();
        long.set_len(1 << 40).unwrap();
    }
    let start = Start::pid1().args(image.options());
    let mut running = start.args(["--dry-run", "--", "true"]).start();
    let io = format!("/proc/{}/io", running.pid());
    until("it reads the file", || {
        let io = fs::read_to_string(&io).unwrap_or_default();
        let read = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        read.is_some_and(|read| read.parse::<u64>().unwrap() > 1 << 24)
    });
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 128 + libc::SIGTERM);
}
