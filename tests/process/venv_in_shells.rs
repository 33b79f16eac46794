//! The image's scripts give the venv's programs to the lab's users and to those who can gain no
//! rights, and to nobody else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::Image;

/// What a shell of this account finds: by the image's link, and by a login shell's PATH.
fn found(image: &Image, options: &[&str]) -> [String; 2] {
    let top = env!("CARGO_MANIFEST_DIR");
    let script = format!(
        "printf 'alice:x:4343:4343::/:/bin/sh\\njupyter-4344:x:4344:4343::/:/bin/sh\\n' >>{0}/passwd
        mount --bind {0}/passwd /etc/passwd
        mount --bind {top}/image/system {0}/system
        mount --bind {top}/image/system/usr/local/lib /usr/local/lib
        exec setpriv --regid 4343 --clear-groups \"$@\"",
        image.dir.path().display()
    );
    let _ = fs::create_dir(image.path("system"));
    fs::copy("/etc/passwd", image.path("passwd")).unwrap();
    let said = |program: &[&str]| {
        let output = Command::new("unshare")
            .args(["-m", "sh", "-ec", &script, "sh"])
            .args(options)
            .args(program)
            .env("JUPYTER_VENV", image.path("venv"))
            .env_remove("VIRTUAL_ENV")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let link = image.path("jupyter");
    let _ = std::os::unix::fs::symlink("system/usr/local/lib/ai-lab/in-venv", &link);
    let profile = image.path("system/etc/profile.d/ai-lab.sh");
    let login = format!(". {}; jupyter", profile.display());
    [
        said(&["sh", link.to_str().unwrap()]),
        said(&["bash", "-c", &login]),
    ]
}

#[test]
fn who_has_rights_of_their_own_runs_nothing_that_users_can_write() {
    let image = Image::new();
    let program = image.path("venv/bin/jupyter");
    fs::write(&program, "#!/bin/sh\necho the venv\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for (options, expected) in [
        (&["--reuid=4343"][..], ""),
        (&["--reuid=4343", "--no-new-privs"], "the venv\n"),
        (&["--reuid=4344"], "the venv\n"),
        // Without a name.
        (&["--reuid=4345"], "the venv\n"),
        (&["--reuid=0", "--no-new-privs"], ""),
    ] {
        assert_eq!(found(&image, options), [expected; 2], "{options:?}");
    }
}
