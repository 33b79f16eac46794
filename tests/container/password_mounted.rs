//! Configuration that people mount, or that a derived image brings: it is in force as with
//! plain jupyter-lab, and the published default password never opens the door beside it.
//! Proven at the login page and in kernels of the real JupyterLab.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use sha2::Digest;
use tempfile::TempDir;

use crate::support::docker::{Container, IMAGE, Volume, docker, docker_ok, mounted, run};
use crate::support::{few, get, repeated};

pub const READY: &str = "] ready in ";
pub const HOME: &str = "/home/jupyter";
pub const JUPYTER: &str = "/home/jupyter/.jupyter";
pub const READ_ONLY: [&str; 2] = ["--read-only", "--tmpfs=/tmp"];

/// A hash of "mine" that takes no time.
fn hash() -> String {
    let digest = sha2::Sha256::digest("mine");
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256::{hex}")
}

pub fn python() -> String {
    format!(
        "c = get_config()  # noqa\nc.PasswordIdentityProvider.hashed_password = '{}'\n",
        hash()
    )
}

fn json() -> String {
    format!(
        r#"{{"IdentityProvider": {{"hashed_password": "{}"}}}}"#,
        hash()
    )
}

/// A directory of root's with these files.
pub fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    open(directory.path());
    directory
}

fn open(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn volume(from: &Path, to: &str) -> String {
    format!("--volume={}:{to}", from.display())
}

/// These passwords let in, or not.
pub fn lets(container: &Container, passwords: &[(&str, &str)]) {
    container.wait_for(READY);
    container.lets(passwords);
}

/// "mine" opens the door and the default does not; nor does the log name it.
fn mine(container: &Container) {
    lets(container, &[("mine", "in"), ("ailab", "out")]);
    let log = container.logs();
    assert!(!log.contains("The default password"), "{log}");
}

/// What plain jupyter-lab does with the same mounts.
fn plain(options: &[&str]) -> Container {
    let program = "--entrypoint=/opt/ai-lab/jupyterenv/bin/jupyter-lab";
    let fixed = [program, "--env=HOME=/home/jupyter", "--no-healthcheck"];
    let user: &[&str] = match options.iter().any(|option| option.starts_with("--user")) {
        true => &[],
        false => &["--user=jupyter"],
    };
    let line = ["--ip=*", "--port=49494", "--no-browser"];
    let container = Container::start(&[&fixed, user, options].concat(), &line);
    container.wait_for("is running at");
    // It says so a moment before it answers.
    let port = container.port();
    container.until("it answers", || {
        (get(port, "/api") == Some(200)).then_some(())
    });
    container
}

/// The same for us and for plain jupyter-lab.
fn as_with_plain_jupyter(options: &[&str]) -> Container {
    let container = Container::start(options, &[]);
    mine(&container);
    plain(options).lets(&[("mine", "in"), ("ailab", "out")]);
    container
}

/// The same. It is the plain one's own doing that a long run looks at again.
fn as_with_plain_jupyter_again(options: &[&str]) -> Container {
    if repeated(false, true) {
        return as_with_plain_jupyter(options);
    }
    let container = Container::start(options, &[]);
    mine(&container);
    container
}

pub fn owner(container: &Container, path: &str) -> String {
    let said = container.exec_ok("root", &["stat", "--format=%U", path]);
    said.trim().to_owned()
}

#[test]
fn a_python_file_mounted_by_itself_is_in_force() {
    let (_file, mount) = mounted(&python(), &format!("{JUPYTER}/jupyter_server_config.py"));
    let container = as_with_plain_jupyter(&[&mount]);
    // Docker made the directory; settings of JupyterLab belong into it.
    assert_eq!(owner(&container, JUPYTER), "jupyter");
    let log = container.logs();
    assert!(
        log.contains(&format!("Handed over to jupyter: {JUPYTER}")),
        "{log}"
    );
    assert!(!log.contains("cannot be written in HOME"), "{log}");
    assert!(log.contains("jupyter_server_config.py:2"), "{log}");
}

#[test]
fn so_it_is_without_root_and_on_a_read_only_root_file_system() {
    let (_file, mount) = mounted(&python(), &format!("{JUPYTER}/jupyter_server_config.py"));
    for user in few(1, &["--user=1234:0", "--user=1234"]) {
        mine(&Container::start(&[&mount, user], &[]));
    }
    mine(&Container::start(
        &[&[mount.as_str()][..], &READ_ONLY].concat(),
        &[],
    ));
}

/// As Kubernetes makes a ConfigMap: files that are links through a link.
#[test]
fn a_config_map_is_in_force() {
    let map = directory(&[("..1/jupyter_server_config.py", &python())]);
    symlink("..1", map.path().join("..data")).unwrap();
    let file = "jupyter_server_config.py";
    symlink(format!("..data/{file}"), map.path().join(file)).unwrap();
    let mount = format!("{}:ro", volume(map.path(), JUPYTER));
    as_with_plain_jupyter_again(&[&mount]);
    let [read_only, tmpfs] = READ_ONLY;
    for options in few(
        1,
        &[
            &["--user=1234", read_only, tmpfs][..],
            &["--user=1234"],
            &["--user=1234:0"],
            &READ_ONLY,
        ],
    ) {
        let options = [&[mount.as_str()], *options].concat();
        mine(&Container::start(&options, &[]));
    }
}

#[test]
fn a_forced_password_beats_what_is_mounted() {
    // `password_traps` has the other ones, in a directory of the user's.
    let all = [
        (
            "jupyter_server_config.json",
            format!(
                r#"{{"ServerApp": {{"PasswordIdentityProvider": {{"hashed_password": "{}"}}}}}}"#,
                hash()
            ),
        ),
        ("jupyter_server_config.py", python()),
        ("jupyter_server_config.json", json()),
        (
            "jupyter_lab_config.py",
            format!("c.ServerApp.password = '{}'\n", hash()),
        ),
    ];
    for (name, content) in few(1, &all) {
        let map = directory(&[(name, content)]);
        let mount = format!("{}:ro", volume(map.path(), JUPYTER));
        let options = [mount.as_str(), "--env=JUPYTER_PASSWORD=forced"];
        let container = Container::start(&options, &[]);
        lets(
            &container,
            &[("forced", "in"), ("mine", "out"), ("ailab", "out")],
        );
    }
}

#[test]
fn a_json_file_mounted_by_itself_is_read_and_beaten() {
    let place = format!("{JUPYTER}/jupyter_server_config.json");
    let (_file, mount) = mounted(&json(), &place);
    as_with_plain_jupyter_again(&[&mount]);
    let options = [mount.as_str(), "--env=JUPYTER_PASSWORD=forced"];
    let container = Container::start(&options, &[]);
    lets(
        &container,
        &[("forced", "in"), ("mine", "out"), ("ailab", "out")],
    );

    // Where it has none, the default is in force, and the rest of it, too.
    let (_file, mount) = mounted(r#"{"ServerApp": {"base_url": "/lab-of/"}}"#, &place);
    let container = Container::start(&[&mount], &[]);
    let log = container.wait_for(READY);
    assert!(log.contains("The default password is \"ailab\"."), "{log}");
    assert!(log.contains("/lab-of/"), "{log}");
}

#[test]
fn a_new_volume_is_the_users_and_keeps_the_password() {
    let kept = Volume::new();
    let mount = format!("--volume={}:{JUPYTER}", kept.0);
    let container = Container::start(&[&mount], &[]);
    lets(&container, &[("ailab", "in")]);
    assert_eq!(owner(&container, JUPYTER), "jupyter");
    let script = "printf chosen | ai-lab-entrypoint password set";
    container.exec_ok("jupyter", &["sh", "-c", script]);
    drop(container);
    let container = Container::start(&[&mount], &[]);
    lets(&container, &[("chosen", "in"), ("ailab", "out")]);
}

#[test]
fn a_directory_of_roots_on_the_host_is_read_and_left_as_it_is() {
    let host = directory(&[("jupyter_server_config.py", &python())]);
    let before = fs::read_dir(host.path()).unwrap().count();
    let container = as_with_plain_jupyter_again(&[&volume(host.path(), JUPYTER)]);
    assert!(
        container
            .logs()
            .contains(".jupyter cannot be written in HOME")
    );
    let data = fs::metadata(host.path()).unwrap();
    assert_eq!(
        (data.uid(), fs::read_dir(host.path()).unwrap().count()),
        (0, before)
    );
    // The default is not written beside a configuration without one either.
    fs::write(
        host.path().join("jupyter_server_config.py"),
        "c.ServerApp.port_retries = 0\n",
    )
    .unwrap();
    let container = Container::start(&[&volume(host.path(), JUPYTER)], &[]);
    lets(&container, &[("ailab", "in")]);
    assert_eq!(fs::read_dir(host.path()).unwrap().count(), before);
}

#[test]
fn a_directory_of_somebody_elses_is_left_alone() {
    let host = directory(&[("jupyter_server_config.py", &python())]);
    chown(host.path(), Some(4321), Some(4321)).unwrap();
    mine(&Container::start(&[&volume(host.path(), JUPYTER)], &[]));
    assert_eq!(fs::metadata(host.path()).unwrap().uid(), 4321);
}

#[test]
fn what_a_derived_image_brings_is_in_force() {
    let context = directory(&[
        (
            "Dockerfile",
            &format!("FROM {IMAGE}\nCOPY config {JUPYTER}\n"),
        ),
        ("config/jupyter_server_config.py", &python()),
        ("config/lab/user-settings/x", "{}"),
    ]);
    let image = format!("{}-derived", crate::support::docker::name());
    docker_ok([
        "build",
        "--quiet",
        "--tag",
        &image,
        context.path().to_str().unwrap(),
    ]);
    {
        let container = Container::start_image(&image, &[], &[]);
        mine(&container);
        for place in [JUPYTER, &format!("{JUPYTER}/lab/user-settings")] {
            assert_eq!(owner(&container, place), "jupyter", "{place}");
        }
        let file = format!("{JUPYTER}/jupyter_server_config.py");
        assert_eq!(owner(&container, &file), "root", "only the directories");
        mine(&Container::start_image(&image, &["--user=1234"], &[]));
    }
    docker(["rmi", "--force", &image]);
}

#[test]
fn the_systems_configuration_keeps_the_default_out() {
    for place in [
        "/etc/jupyter",
        "/usr/local/etc/jupyter",
        "/opt/ai-lab/jupyterenv/etc/jupyter",
    ] {
        let (_file, mount) = mounted(&python(), &format!("{place}/jupyter_server_config.py"));
        mine(&Container::start(&[&mount], &[]));
    }
}

#[test]
fn a_token_keeps_the_default_out() {
    let place = format!("{JUPYTER}/jupyter_server_config.py");
    let (_file, mount) = mounted("c.IdentityProvider.token = 'mine'\n", &place);
    let line = ["jupyter-lab", "--IdentityProvider.token=mine"];
    // The process test `passwords` has the file and the line.
    for (option, line) in few(
        1,
        &[
            ("--env=JUPYTER_TOKEN=mine", &[][..]),
            (&mount, &[]),
            ("--env=NO_TOKEN=", &line),
        ],
    ) {
        mine(&Container::start(&[option], line));
    }
}

#[test]
fn what_only_python_can_judge_closes_the_door() {
    let place = format!("{JUPYTER}/jupyter_server_config.py");
    let content = format!(
        "for name in ['ServerApp']:\n    c[name].password = '{}'\n",
        hash()
    );
    let (_file, mount) = mounted(&content, &place);
    let container = as_with_plain_jupyter_again(&[&mount]);
    let log = container.logs();
    assert!(
        log.contains(&format!("{place}:1 (`for`) cannot be evaluated")),
        "{log}"
    );
    assert!(log.contains("docker run --env JUPYTER_PASSWORD="), "{log}");
    let (code, _, log) = run(&[&mount], &["--warning-as-error"]);
    assert!(
        code == 1 && log.contains("cannot be evaluated"),
        "{code}: {log}"
    );

    let (_file, mount) = mounted("if True: pass\n", &place);
    let container = Container::start(&[&mount], &[]);
    lets(&container, &[("ailab", "out"), ("", "out")]);
    assert!(
        container.logs().contains("?token="),
        "Jupyter made one: {}",
        container.logs()
    );
}

/// An empty token turns authentication off in plain Jupyter.
#[test]
fn an_empty_token_needs_an_empty_password_beside_it_to_open_the_door() {
    let place = format!("{JUPYTER}/jupyter_server_config.py");
    let (_file, mount) = mounted("c.IdentityProvider.token = ''\n", &place);
    let container = Container::start(&[&mount], &[]);
    lets(&container, &[("wrong", "out"), ("ailab", "in")]);
    let both = "c.IdentityProvider.token = ''\nc.PasswordIdentityProvider.hashed_password = ''\n";
    let (_file, mount) = mounted(both, &place);
    let container = Container::start(&[&mount], &[]);
    let log = container.wait_for(READY);
    assert!(log.contains("authentication is turned off by "), "{log}");
}

#[test]
fn a_variable_that_is_there_and_empty_ends_the_start() {
    for name in [
        "JUPYTER_PASSWORD",
        "JUPYTER_PASSWORD_FILE",
        "JUPYTER_PASSWORD_HASH",
    ] {
        let (code, _, log) = run(&[&format!("--env={name}=")], &[]);
        assert_eq!(code, 78, "{log}");
        assert!(
            log.contains(name) && log.contains("Compose") && log.contains("${…}"),
            "{log}"
        );
    }
}
