//! Rootless Podman, with the API socket of the user whose containers they are in the
//! place of Docker's.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::process::{Child, Command};

use super::kubernetes;
use crate::support::docker::{IMAGE, archive, name, text};
use crate::support::process::until;

/// An ordinary user of this machine who has nothing but the image and an API service.
pub struct Podman {
    user: String,
    uid: u32,
    pub home: tempfile::TempDir,
    service: Option<Child>,
}

impl Podman {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let user = name();
        let made = Command::new("useradd")
            .args(["--no-create-home", "--home-dir"])
            .arg(home.path())
            .arg(&user)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made));
        let known = Command::new("id").args(["-u", &user]).output().unwrap();
        let uid = text(&known).trim().parse().unwrap();
        chown(home.path(), Some(uid), Some(uid)).unwrap();
        let mut podman = Self {
            user,
            uid,
            home,
            service: None,
        };
        podman.load();
        let socket = podman.socket();
        let serve = ["system", "service", "--time=0"];
        let address = format!("unix://{}", socket.display());
        let service = podman.command(&serve).arg(address).spawn().unwrap();
        podman.service = Some(service);
        until("the service listens", || {
            fs::metadata(&socket).is_ok_and(|data| data.file_type().is_socket())
        });
        podman
    }

    /// Brings the image over from Docker.
    fn load(&self) {
        let loaded = self.command(&["load"]).stdin(archive()).output().unwrap();
        assert!(loaded.status.success(), "{}", text(&loaded));
    }

    fn socket(&self) -> std::path::PathBuf {
        self.home.path().join("podman.sock")
    }

    /// `podman` as the user, with an environment of the user's. runc, which Docker
    /// brings along, knows the older hierarchies of cgroups, too.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        let (uid, home) = (self.uid, self.home.path());
        command
            .args([format!("--reuid={uid}"), format!("--regid={uid}")])
            .args(["--clear-groups", "env", "--ignore-environment"])
            .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["HOME", "XDG_RUNTIME_DIR"].map(|key| format!("{key}={}", home.display())))
            .args(["podman", "--storage-driver=overlay", "--runtime=runc"])
            .args(words)
            .current_dir(home);
        command
    }

    pub fn run(&self, words: &[&str]) -> (i32, String, String) {
        let output = self.command(words).output().unwrap();
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
        (output.status.code().unwrap(), stdout, stderr)
    }

    pub fn ok(&self, words: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(words);
        assert_eq!(code, 0, "podman {words:?}: {stdout}{stderr}");
        stdout
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if let Some(mut service) = self.service.take() {
            let _ = service.kill();
            let _ = service.wait();
        }
        // What holds the user's namespaces: a process of Podman's that does nothing.
        let uid = self.uid.to_string();
        let _ = Command::new("pkill").args(["-KILL", "-u", &uid]).status();
        let _ = Command::new("userdel")
            .args(["--force", &self.user])
            .output();
    }
}

/// One user for all of it, who has to copy and load the image once.
#[test]
fn its_user_can_do_there_what_is_done_under_docker_and_in_kubernetes() {
    let podman = Podman::new();
    socket_and_server(&podman);
    directory_of_the_users(&podman);
    kubernetes::defaults_of_an_image(&podman);
    kubernetes::the_example(&podman);
}

fn socket_and_server(podman: &Podman) {
    let socket = podman.socket();
    // The mode that systemd gives it; by hand it is 0600.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o660)).unwrap();
    let mount = format!("--volume={}:/var/run/docker.sock", socket.display());
    let name = name();
    let run = [
        "run",
        "--network=none",
        "--no-healthcheck",
        "--name",
        &name,
        &mount,
    ];

    // A command of the container's user sees the containers of Podman's user.
    let command = ["--rm", IMAGE, "docker", "ps", "--format", "{{.Names}}"];
    let (code, stdout, stderr) = podman.run(&[&run[..], &command].concat());
    assert_eq!((code, stdout.trim()), (0, &*name), "{stderr}");
    assert!(stderr.contains("Enabled access to /var/run/docker.sock"));
    assert!(stderr.contains("/var/run/docker.sock belongs to gid 0"));

    // The server: ready, without a process of root, and it ends in order.
    podman.ok(&[&run[..], &["--detach", IMAGE]].concat());
    until("it is ready", || {
        let (_, stdout, stderr) = podman.run(&["logs", &name]);
        (stdout + &stderr).contains("] ready in ")
    });
    let health = podman.ok(&["exec", &name, "ai-lab-entrypoint", "healthcheck"]);
    assert!(health.starts_with("healthy"), "{health}");
    let exec = ["exec", "--user=jupyter", &name];
    let seen = podman.ok(&[&exec[..], &["docker", "ps", "--format={{.Names}}"]].concat());
    assert_eq!(seen.trim(), name);
    let uids = "cat /proc/[0-9]*/status | grep ^Uid";
    let uids = podman.ok(&[&exec[..], &["sh", "-c", uids]].concat());
    assert!(uids.lines().count() > 2, "{uids}");
    for line in uids.lines() {
        assert_eq!(line, "Uid:\t1000\t1000\t1000\t1000");
    }
    podman.ok(&["stop", &name]);
    let code = podman.ok(&["inspect", "--format={{.State.ExitCode}}", &name]);
    assert_eq!(code.trim(), "0");

    // What the container did left the socket as it was.
    let socket = fs::metadata(&socket).unwrap();
    assert_eq!((socket.uid(), socket.mode() & 0o7777), (podman.uid, 0o660));
}

/// It stays the user's when the ids are kept.
fn directory_of_the_users(podman: &Podman) {
    let notebooks = podman.home.path().join("notebooks");
    fs::create_dir(&notebooks).unwrap();
    chown(&notebooks, Some(podman.uid), Some(podman.uid)).unwrap();
    let mount = format!("--volume={}:/home/jupyter/notebooks", notebooks.display());
    let run = ["run", "--rm", "--network=none", "--no-healthcheck"];
    let own = [&run[..], &["--userns=keep-id", &mount, IMAGE, "id", "-u"]].concat();
    assert_eq!(podman.ok(&own), format!("{}\n", podman.uid));
    let made = fs::read_dir(&notebooks).unwrap();
    let made: Vec<u32> = made
        .map(|entry| entry.unwrap().metadata().unwrap().uid())
        .collect();
    assert!(made.len() > 4, "{made:?}");
    assert!(made.iter().all(|uid| *uid == podman.uid), "{made:?}");

    // Without, the owner is root in there, who is never taken on.
    let adopt = [&run[..], &[&mount, IMAGE, "--volume-owner=adopt", "id"]].concat();
    let (code, _, stderr) = podman.run(&adopt);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("it belongs to root (uid 0)"), "{stderr}");

    // Or else it is handed over, to an id that only this user's namespaces have.
    let (code, _, stderr) = podman.run(&[&run[..], &[&mount, IMAGE, "true"]].concat());
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("no longer belong to you"), "{stderr}");
    assert!(fs::metadata(&notebooks).unwrap().uid() > podman.uid);
    let (_, _, again) = podman.run(&[&run[..], &[&mount, IMAGE, "true"]].concat());
    assert!(!again.contains("no longer belong to you"), "{again}");
}
