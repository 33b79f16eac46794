//! The binary as it is in the image.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::docker::{Container, docker_ok, run, run_image};
use crate::support::repeated;

const PATH: &str = "/usr/local/bin/ai-lab-entrypoint";

/// A file's bytes, from a container that never ran.
fn in_the_image(path: &str) -> Vec<u8> {
    let container = Container::create(&[], &[]);
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy");
    docker_ok([
        "cp",
        &format!("{}:{path}", container.name),
        copy.to_str().unwrap(),
    ]);
    std::fs::read(copy).unwrap()
}

/// Neither a loader nor a library: no variable says what else runs, and nothing has to be
/// there (elf(5)).
#[test]
fn it_asks_for_no_loader_and_no_library() {
    let bytes = in_the_image(PATH);
    let word = |at: usize, size: usize| {
        let bytes = bytes[at..at + size].iter().rev();
        bytes.fold(0, |word, byte| word << 8 | usize::from(*byte))
    };
    let (table, size, count) = (word(32, 8), word(54, 2), word(56, 2));
    assert!(count > 0);
    for header in (0..count).map(|number| table + number * size) {
        const DYNAMIC: usize = 2;
        const INTERPRETER: usize = 3;
        let (offset, length) = (word(header + 8, 8), word(header + 32, 8));
        match word(header, 4) {
            INTERPRETER => panic!("it names a loader"),
            DYNAMIC => {
                let tags = (offset..offset + length).step_by(16);
                let needed = tags.filter(|tag| word(*tag, 8) == 1);
                assert_eq!(needed.count(), 0, "it needs libraries");
            }
            _ => {}
        }
    }
}

#[test]
fn it_tells_from_which_commit_it_was_built() {
    let parts = ["--", ".cargo", "Cargo.toml", "Cargo.lock", "src"];
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        let output = git.args(words).args(parts).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    };
    let changed = git(&["status", "--porcelain"]);
    let commit = git(&["log", "-1", "--format= (%h, %cs)", "--abbrev=12"]);
    // What is not committed has no name.
    let commit = if changed.is_empty() { &commit } else { "" };
    let (code, stdout, _) = run(&[], &["--version"]);
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!("ai-lab-entrypoint {version}{commit}\n");
    assert_eq!((code, stdout), (0, expected));
}

/// An image that is removed with what is in it.
struct Foreign(String);

impl Foreign {
    /// An image with nothing but busybox and what is needed to name a user.
    fn busybox() -> Self {
        let tree = tempfile::tempdir().unwrap();
        for name in ["bin", "etc", "tmp"] {
            std::fs::create_dir(tree.path().join(name)).unwrap();
        }
        let put = |name: &str, text: &str| std::fs::write(tree.path().join(name), text).unwrap();
        put(
            "etc/passwd",
            "root:x:0:0::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\n",
        );
        put("etc/group", "root:x:0:\nwww-data:x:33:\n");
        std::fs::copy("/bin/busybox", tree.path().join("bin/busybox")).unwrap();
        for name in ["sh", "id", "cat"] {
            std::os::unix::fs::symlink("busybox", tree.path().join("bin").join(name)).unwrap();
        }
        let name = crate::support::docker::name();
        let script = format!("tar -C \"$0\" -c . | docker import - {name}");
        let mut import = Command::new("sh");
        let import = import.args(["-ec", &script]).arg(tree.path());
        assert!(import.status().unwrap().success());
        Self(name)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        crate::support::docker::docker(["image", "rm", "--force", &self.0]);
    }
}

/// Images without a C library, and with services of accounts that only a loaded module could
/// ask; in a long run they have an older C library than the image's, too.
#[test]
fn it_runs_in_any_image() {
    let debian = repeated("debian:trixie-slim", "debian:bookworm-slim");
    let mut based = Command::new("scripts/image");
    let based = based.args(["--base", debian]).output().unwrap();
    assert!(
        based.status.success(),
        "{}",
        crate::support::docker::text(&based)
    );
    let copy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&copy, in_the_image(PATH)).unwrap();
    std::fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    // Nobody writes it any more, or it could not be executed.
    let copy = copy.into_temp_path();
    let program = format!("--volume={}:/entry:ro", copy.display());
    let fixed = [program.as_str(), "--network=none", "--entrypoint=/entry"];
    let services = "passwd: files systemd sss\ngroup: files systemd sss\n";
    let (_services, services) = crate::support::docker::mounted(services, "/etc/nsswitch.conf");
    let accounts = "root:x:0:0::/root:/bin/bash\nwww-data:x:1000:1000::/home/ubuntu:/bin/bash\n";
    let (_accounts, accounts) = crate::support::docker::mounted(accounts, "/etc/passwd");
    let ours = [
        "--user=www-data",
        "--home=/tmp",
        "--notebooks=/tmp/notebooks",
    ];
    let busybox = Foreign::busybox();
    for (image, options, uid) in [
        (debian, vec![], 33),
        (debian, vec![&*services, &*accounts], 1000),
        (&*busybox.0, vec![], 33),
    ] {
        let options = [&fixed[..], &options].concat();
        let run = |words: &[&str]| run_image(image, &options, &[&ours, words].concat());
        let (code, stdout, stderr) = run(&["--dry-run", "--", "id", "-un"]);
        assert_eq!(code, 0, "{image}: {stderr}");
        assert!(stdout.contains("/tmp/notebooks"), "{image}: {stdout}");
        let (code, stdout, stderr) = run(&["--", "sh", "-c", "id -un; id -u; cat /proc/1/comm"]);
        assert_eq!(code, 0, "{image}: {stderr}");
        assert_eq!(
            stdout,
            format!("www-data\n{uid}\nai-lab-entrypoi\n"),
            "{image}"
        );
    }
}

/// Anybody who builds the same has the same bytes, wherever that is.
#[test]
fn it_tells_nothing_of_where_it_was_built() {
    let bytes = in_the_image(PATH);
    for place in [
        "/usr/local/cargo",
        "/root/",
        "/build/",
        env!("CARGO_MANIFEST_DIR"),
    ] {
        let mut windows = bytes.windows(place.len());
        assert!(!windows.any(|window| window == place.as_bytes()), "{place}");
    }
}

#[test]
fn its_licences_come_with_it() {
    for name in ["LICENSE", "THIRD-PARTY-LICENSES"] {
        let ours = std::fs::read(name).unwrap();
        let theirs = in_the_image(&format!("/usr/local/share/doc/ai-lab-entrypoint/{name}"));
        assert!(ours == theirs, "{name} is another one");
    }
}
