//! Who the server runs as, and what it gets of the Docker socket, where that is not as asked.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;

use super::degraded::{after, usual};
use super::golden::start;
use crate::support::{Image, PROGRAM, Start, UID};

/// A socket with this gid and mode.
pub fn socket(image: &Image, gid: u32, mode: u32) -> String {
    let path = image.path("docker.sock");
    // The listener may go; the node stays.
    drop(UnixListener::bind(&path).unwrap());
    chown(&path, Some(0), Some(gid)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.display().to_string()
}

#[test]
fn the_socket() {
    for (name, gid, mode) in [
        ("socket-no-rw", 5000, 0o600),
        ("socket-of-a-system-group", 6, 0o660),
    ] {
        // An account that every image has.
        let daemon = ["--user", "daemon", "--docker-socket"];
        start(name, |image| {
            usual(image, &[&daemon[..], &[&socket(image, gid, mode)]].concat())
        });
    }
    start("socket-is-no-socket", |image| {
        usual(
            image,
            &["--docker-socket", image.dir.path().to_str().unwrap()],
        )
    });
    start("socket-dry-run", |image| {
        let socket = socket(image, 55_555, 0o660);
        // A group that no machine has, whoever is in its group docker.
        let options = ["--user", "daemon", "--dry-run", "--docker-group", "engine"];
        usual(
            image,
            &[&options[..], &["--docker-socket", &socket]].concat(),
        )
    });
    start("access-to-nothing", |image| {
        usual(image, &["--grant-access", "/dev/nothing"])
    });
    start("group-file-mounted", |image| {
        let socket = socket(image, 55_555, 0o660);
        let script = "cp /etc/group group\nmount --bind group /etc/group";
        after(
            script,
            image,
            &["--user", "daemon", "--docker-socket", &socket],
        )
    });
    start("group-has-the-users-gid", |image| {
        let socket = socket(image, 55_555, 0o660);
        let options = [
            "--user",
            "daemon",
            "--docker-group",
            "root",
            "--docker-socket",
            &socket,
        ];
        usual(image, &options)
    });
}

#[test]
fn who_the_server_runs_as() {
    start("root-stays", |image| {
        let path = |name| image.path(name).display().to_string();
        let words = [
            "--notebooks",
            &path("notebooks"),
            "--state-dir",
            &path("state"),
        ];
        Start::pid1().args(words).args(["--", "true"])
    });
    start("directory-of-others", |image| {
        let directory = image.dir.path().join("theirs");
        std::fs::create_dir(&directory).unwrap();
        let script = format!("chmod 777 \"$0\" && cd \"$0\" && exec {PROGRAM} \"$@\"");
        let shell = Start::wrapped("unshare").args(["-pf", "--mount-proc", "sh", "-c", &script]);
        let shell = shell.args([directory.to_str().unwrap()]);
        shell.args(image.options()).arg("--dry-run")
    });
    for (name, path) in [
        ("path-of-others", "$0:$PATH"),
        ("path-with-an-empty-element", ":$PATH"),
    ] {
        start(name, |image| {
            let directory = image.dir.path().join("theirs");
            std::fs::create_dir(&directory).unwrap();
            let script = format!("chmod 777 \"$0\" && PATH={path} && exec {PROGRAM} \"$@\"");
            let shell = Start::wrapped("sh").args(["-c", &script, directory.to_str().unwrap()]);
            shell.args(image.options()).args(["--", "/bin/true"])
        });
    }
    start("state-holds-other-things", |image| {
        std::fs::create_dir(image.path("state")).unwrap();
        std::fs::write(image.path("state/tool"), "").unwrap();
        Start::pid1().args(image.options()).args(["--", "true"])
    });
    start("access-behind-a-link", |image| {
        let link = image.dir.path().join("theirs");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(4242), None).unwrap();
        let granted = ["--grant-access", link.to_str().unwrap()];
        Start::pid1()
            .args(image.options())
            .args(granted)
            .args(["--", "true"])
    });
    start("root-above", |image| {
        let script = format!("{PROGRAM} \"$@\"; exit $?");
        let shell = Start::wrapped("sh").args(["-c", &script, "ai-lab-sh"]);
        shell.args(image.options()).args(["--", "true"])
    });
    start("root-without-setpcap", |image| {
        let shell = ["setpriv", "--bounding-set=-setpcap", "--inh-caps=-all"];
        let drops = [&shell[..], &["--", PROGRAM]].concat();
        let start = Start::wrapped(drops[0]).args(&drops[1..]);
        start.args(image.options()).args(["--", "true"])
    });
    start("root-cannot-be-dropped", |image| {
        let start = Start::wrapped("setpriv").args(["--bounding-set=-setuid", "--", PROGRAM]);
        start.args(image.options()).args(["--", "true"])
    });
    start("notebooks-root-may-not-get-to", |image| {
        let above = image.path("above");
        fs::create_dir(&above).unwrap();
        fs::set_permissions(&above, fs::Permissions::from_mode(0o700)).unwrap();
        chown(&above, Some(UID), Some(UID)).unwrap();
        let no_override = [
            "--bounding-set=-dac_override,-dac_read_search",
            "--",
            PROGRAM,
        ];
        let start = Start::wrapped("setpriv").args(no_override);
        let volume = above.join("notebooks").display().to_string();
        let start = start.args(image.options()).args(["--notebooks", &volume]);
        start.args(["--", "true"])
    });
    start("notebooks-cannot-be-made", |image| {
        let user = UID.to_string();
        let as_user = ["--clear-groups", "--reuid", &user, "--regid", &user, "--"];
        let start = Start::wrapped("setpriv").args(as_user).arg(PROGRAM);
        start.args(image.options()).args(["--", "true"])
    });
    start("home-named-in-vain", |image| {
        let (home, file) = (image.path("home"), image.path("x.toml"));
        let text = format!("[user]\nname = \"{UID}\"\nhome = \"{}\"\n", home.display());
        fs::write(&file, text).unwrap();
        let user = UID.to_string();
        let as_user = ["--clear-groups", "--reuid", &user, "--regid", &user, "--"];
        let start = Start::wrapped("setpriv").args(as_user).arg(PROGRAM);
        let start = start.args(["--config", file.to_str().unwrap()]);
        let start = start.args(["--state-dir", home.join("state").to_str().unwrap()]);
        start.args(["--", "true"]).env("HOME", "/work")
    });
    start("password-in-the-environment-above", |image| {
        fs::create_dir(image.path("notebooks")).unwrap();
        chown(image.path("notebooks"), Some(UID), Some(UID)).unwrap();
        let user = UID.to_string();
        let as_user = ["--clear-groups", "--reuid", &user, "--regid", &user, "--"];
        let start = Start::wrapped("setpriv").args(as_user);
        let start = start.args(["tini", "--", PROGRAM]).args(image.options());
        start.args(["--", "true"]).env("JUPYTER_PASSWORD", "mine")
    });
    start("started-without-root", |image| {
        fs::create_dir_all(image.path("hooks/root")).unwrap();
        fs::write(image.path("hooks/root/10-x"), "").unwrap();
        fs::create_dir(image.path("notebooks")).unwrap();
        chown(image.path("notebooks"), Some(UID), Some(UID)).unwrap();
        let ids = [format!("--reuid={UID}"), format!("--regid={UID}")];
        let words = ["--clear-groups", "--", PROGRAM];
        Start::wrapped("setpriv")
            .args(ids)
            .args(words)
            .args(image.options())
            .args([
                "--hooks",
                image.path("hooks").to_str().unwrap(),
                "--",
                "true",
            ])
    });
}
