//! A server has https with a certificate that is made and kept, or with a named one, whose key
//! nobody but root can read.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::process::Command;

use crate::support::certificate::{Pair, fingerprint, shown_at};
use crate::support::{Image, Running, Start, UID};

const FINGERPRINT: &str = " has the SHA-256 fingerprint ";

/// Waits for the fingerprint that a start tells, and sees that the server has that certificate.
fn ready(running: &mut Running, image: &Image) -> String {
    let line = running.wait_for(FINGERPRINT);
    running.wait_for(&format!("https://localhost:{}", image.port));
    running.wait_for("] ready in ");
    let told = line.split(' ').next_back().unwrap();
    assert_eq!(told, shown_at(image.port));
    told.into()
}

fn ended(mut running: Running) -> String {
    running.signal(libc::SIGTERM);
    assert_eq!(running.end(), 0);
    running.everything().1
}

/// A certificate, and its key in a file that is root's alone.
fn secret(image: &Image, pair: &Pair) -> [String; 2] {
    let files = [
        ("cert.pem", &pair.certificate, 0o644),
        ("key.pem", &pair.key, 0o400),
    ];
    files.map(|(name, text, mode)| {
        let path = image.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path.display().to_string()
    })
}

fn named(image: &Image, [certificate, key]: &[String; 2]) -> Start {
    let start = image.server().args(["--tls-cert", certificate]);
    start.args(["--tls-key", key])
}

fn kept(image: &Image) -> PathBuf {
    image.path("home/.jupyter/ai-lab-tls.pem")
}

#[test]
fn the_certificate_that_is_made_is_kept_and_is_the_users_alone() {
    let image = Image::new();
    let mut running = image.server().args(["--tls", "auto"]).start();
    let first = ready(&mut running, &image);
    let data = fs::metadata(kept(&image)).unwrap();
    assert_eq!((data.uid(), data.mode() & 0o777), (UID, 0o600));
    assert_eq!(
        fingerprint(&fs::read_to_string(kept(&image)).unwrap()),
        first
    );
    // In place, too.
    running.signal(libc::SIGHUP);
    running.wait_for("] ready in ");
    assert_eq!(shown_at(image.port), first);
    ended(running);
    // `start.sh` of the Docker Stacks has this variable, and makes another one each time.
    let mut running = image.server().env("GEN_CERT", "yes").start();
    assert_eq!(ready(&mut running, &image), first);
    let environment = fs::read_to_string(format!("/proc/{}/environ", running.main_pid()));
    assert!(!environment.unwrap().contains("GEN_CERT"));
    ended(running);
}

#[test]
fn a_key_of_roots_reaches_the_server_and_no_file() {
    let image = Image::new();
    let pair = Pair::new();
    let files = secret(&image, &pair);
    let mut running = named(&image, &files).start();
    assert_eq!(ready(&mut running, &image), fingerprint(&pair.certificate));
    let server = running.main_pid();
    let line = fs::read_to_string(format!("/proc/{server}/cmdline")).unwrap();
    let place = line
        .split('\0')
        .find_map(|word| word.strip_prefix("--ServerApp.keyfile="));
    let place = place.unwrap().replace("self", &server.to_string());
    let data = fs::metadata(&place).unwrap();
    assert_eq!((data.uid(), data.mode() & 0o777), (UID, 0o400));
    let as_user = |script: &str| {
        let user = ["--reuid", "--regid"].map(|option| format!("{option}={UID}"));
        let mut command = Command::new("setpriv");
        command
            .args(user)
            .args(["--clear-groups", "sh", "-c", script]);
        command.output().unwrap()
    };
    assert!(!as_user(&format!("cat {}", files[1])).status.success());
    let written = as_user(&format!("chmod 600 {place} && ! echo x >{place}"));
    assert!(written.status.success(), "{written:?}");
    // Who has the server's rights has its key: it is not hidden from itself.
    assert!(as_user(&format!("cat {place}")).status.success());
    running.signal(libc::SIGHUP);
    running.wait_for("] ready in ");
    assert_eq!(shown_at(image.port), fingerprint(&pair.certificate));
    ended(running);
    // Nothing was made, and what root read is nowhere else.
    assert!(!kept(&image).exists());
    let words = ["-rl", pair.key.lines().nth(1).unwrap()];
    let found = Command::new("grep")
        .args(words)
        .arg(image.dir.path())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&found.stdout),
        format!("{}\n", files[1])
    );
}

#[test]
fn one_file_may_have_both() {
    let image = Image::new();
    let pair = Pair::new();
    let file = image.path("both.pem").display().to_string();
    fs::write(&file, pair.both()).unwrap();
    let mut running = image.server().args(["--tls-cert", &file]).start();
    assert_eq!(ready(&mut running, &image), fingerprint(&pair.certificate));
    ended(running);
}

/// A person who asked for https has it, or is told.
#[test]
fn https_that_is_turned_off_is_told() {
    let without = |text: &str, argument: &[&str], strict: bool| {
        let image = Image::new();
        fs::create_dir(image.path("home/.jupyter")).unwrap();
        let own = image.path("home/.jupyter/jupyter_server_config.py");
        fs::write(own, text).unwrap();
        // Where nobody but root can write, as far up as it goes.
        let ground = tempfile::tempdir_in("/srv").unwrap();
        let file = ground.path().join("settings.toml");
        fs::write(&file, "[server]\ntls = \"auto\"\n").unwrap();
        let start = image.server().args(["--config", file.to_str().unwrap()]);
        let start = start.args(argument);
        if strict {
            let ended = start.arg("--warning-as-error").run();
            return (ended.code, ended.stderr);
        }
        let mut running = start.start();
        running.wait_for("] ready in ");
        let state = fs::read_to_string(image.path("state/state.json")).unwrap();
        ended(running);
        (0, state)
    };
    let own = "c.ServerApp.certfile = ''";
    for (text, argument, said) in [
        (
            own,
            &[][..],
            "the server has no https: ServerApp.certfile is empty in ",
        ),
        (
            "c.ServerApp.certfile = x()",
            &[],
            "the server may have no https: only Jupyter knows",
        ),
        (
            "",
            &["--jupyter-arg", "--certfile="],
            "the server has no https",
        ),
    ] {
        let (_, state) = without(text, argument, false);
        assert!(state.contains(said), "{text}: {state}");
    }
    let (code, log) = without("", &["--jupyter-arg", "--certfile="], true);
    assert_eq!(code, 1, "{log}");
}

#[test]
fn a_link_of_the_users_does_not_make_root_read_what_it_names() {
    let image = Image::new();
    let pair = Pair::new();
    let [certificate, key] = secret(&image, &pair);
    fs::create_dir(image.path("notebooks")).unwrap();
    chown(image.path("notebooks"), Some(UID), Some(UID)).unwrap();
    let link = image.path("notebooks/key.pem");
    symlink(&key, &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(UID), Some(UID)).unwrap();
    let link = link.display().to_string();
    let refused = named(&image, &[certificate.clone(), link])
        .arg("--dry-run")
        .run();
    assert_eq!(refused.code, 78, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("others than root could have made"),
        "{}",
        refused.stderr
    );
    // Nothing of a file that is no key is told.
    let shadow = image.path("shadow").display().to_string();
    fs::write(&shadow, "root:$y$secret:1:0:::::\n-----BEGIN $y$secret\n").unwrap();
    let refused = named(&image, &[certificate, shadow]).arg("--dry-run").run();
    assert_eq!(refused.code, 78, "{}", refused.stderr);
    assert!(!refused.stderr.contains("secret"), "{}", refused.stderr);
}

#[test]
fn a_dry_run_says_what_a_start_does_and_makes_nothing() {
    let image = Image::new();
    let auto = || image.server().args(["--tls", "auto"]);
    let plan = auto().arg("--dry-run").run();
    assert_eq!(plan.code, 0, "{}", plan.stderr);
    let line = format!("with a new certificate in {}\n", kept(&image).display());
    assert!(plan.stdout.contains(&line), "{}", plan.stdout);
    assert!(!kept(&image).exists());
    let mut running = auto().start();
    ready(&mut running, &image);
    let line = fs::read_to_string(format!("/proc/{}/cmdline", running.main_pid())).unwrap();
    let mut words = line
        .split('\0')
        .filter(|word| word.starts_with("--ServerApp"));
    assert!(
        words.all(|word| plan.stdout.contains(word)),
        "{line}\n{}",
        plan.stdout
    );
    ended(running);
    let plan = auto().arg("--dry-run").run();
    let line = format!("with the certificate in {}\n", kept(&image).display());
    assert!(plan.stdout.contains(&line), "{}", plan.stdout);
}

/// Each rollout of a Deployment has another name, which nobody types; a name of the network counts.
#[test]
fn pods_with_one_home_have_one_certificate() {
    let image = Image::new();
    let named = |host: &str| {
        let script = format!("hostname {host} && exec \"$@\"");
        let start = Start::wrapped("unshare").args(["--uts", "sh", "-c", &script, "sh"]);
        let start = start.arg(crate::support::PROGRAM).args(image.options());
        let start = start.args(["--jupyter-server", "jupyter-lab", "--tls", "auto"]);
        let mut running = start.args(["--password", "ailab"]).start();
        let told = ready(&mut running, &image);
        (told, ended(running).contains(" is replaced: "))
    };
    let (first, _) = named("ai-lab-7d9f8c6b5-x2x4z");
    assert_eq!(named("ai-lab-7d9f8c6b5-k8qqp"), (first.clone(), false));
    let (of_the_network, replaced) = named("lab.example.org");
    assert!(replaced && of_the_network != first);
}
