//! A lab that does not start any more is open all the same, for its owner alone, and says what
//! broke; once that is mended, the next start is the usual one.

use std::process::Command;

use crate::support::docker::{self, Container, Volume, docker_ok, text};
use crate::support::hub::Hub;
use crate::support::repeated;

const READY: &str = "] ready in ";
const PASSWORD: &str = "a-password-of-mine";
const SITE: &str = "cd /opt/ai-lab/jupyterenv/lib/python3*/site-packages && ";

const SETTINGS: &str = "settings=~/.jupyter/lab/user-settings/@jupyterlab/apputils-extension && ";

/// A way to break a lab, as the user: how, how it is mended, and what the rescue says of it.
struct Break {
    how: &'static str,
    mend: &'static str,
    said: &'static str,
}

/// Breaks that a restart of the server meets.
const IN_PLACE: [Break; 14] = [
    Break {
        how: "mkdir -p ~/.jupyter && echo 'exit()' >~/.jupyter/jupyter_server_config.py",
        mend: "rm ~/.jupyter/jupyter_server_config.py",
        said: "code 0",
    },
    Break {
        how: "echo 'c.ServerApp.max_body_size = \"much\"' >~/.jupyter/jupyter_server_config.py",
        mend: "rm ~/.jupyter/jupyter_server_config.py",
        said: "max_body_size must be an int",
    },
    Break {
        how: "SITE cp traitlets/__init__.py ~ && echo 'import nothing' >traitlets/__init__.py",
        mend: "SITE mv ~/__init__.py traitlets",
        said: "package nothing is missing",
    },
    Break {
        how: "SITE mv jupyter_server ~",
        mend: "SITE mv ~/jupyter_server .",
        said: "jupyter_server is missing",
    },
    // JupyterLab finds no manager of its extensions, and the server goes on without JupyterLab.
    Break {
        how: "SITE mv jupyterlab-4*.dist-info ~",
        mend: "SITE mv ~/jupyterlab-4*.dist-info .",
        said: "JupyterLab shows no page, because it is damaged",
    },
    Break {
        how: "cd ~/.jupyter && cp jupyter_server_config.json ~ && \
              echo '{\"a\": 1,}' >jupyter_server_config.json",
        mend: "mv ~/jupyter_server_config.json ~/.jupyter",
        said: "jupyter_server_config.json is wrong",
    },
    Break {
        how: "mv /opt/ai-lab/jupyterenv/bin/jupyter-lab ~",
        mend: "mv ~/jupyter-lab /opt/ai-lab/jupyterenv/bin",
        said: "jupyter-lab was not found",
    },
    Break {
        how: "mv /opt/ai-lab/jupyterenv/bin/python ~",
        mend: "mv ~/python /opt/ai-lab/jupyterenv/bin",
        said: "the interpreter that it names",
    },
    Break {
        how: "SITE echo 'import os; os._exit(5)' >ends.py && cd ~/.jupyter && \
              mkdir jupyter_server_config.d && cd jupyter_server_config.d && \
              echo '{\"ServerApp\": {\"jpserver_extensions\": {\"ends\": true}}}' >ends.json",
        mend: "rm -r ~/.jupyter/jupyter_server_config.d",
        said: "code 5",
    },
    Break {
        how: "printf 'import s3contents\\nc.IdentityProvider.token = \"x\"\\n' \
              >~/.jupyter/jupyter_server_config.py",
        mend: "rm ~/.jupyter/jupyter_server_config.py",
        said: "in line 1 (ModuleNotFoundError: No module named 's3contents')",
    },
    Break {
        how: "SETTINGS mkdir -p $settings && echo '{\"theme\": ' >$settings/themes.jupyterlab-settings",
        mend: "rm -r ~/.jupyter/lab/user-settings",
        said: "themes.jupyterlab-settings is damaged",
    },
    Break {
        how: "mkdir -p ~/.local/share/jupyter/labextensions/half && \
              echo '{\"name\": ' >~/.local/share/jupyter/labextensions/half/package.json",
        mend: "rm -r ~/.local/share/jupyter/labextensions",
        said: "half/package.json is damaged",
    },
    Break {
        how: "cp /opt/ai-lab/jupyterenv/share/jupyter/lab/static/index.html ~ && \
              : >/opt/ai-lab/jupyterenv/share/jupyter/lab/static/index.html",
        mend: "mv ~/index.html /opt/ai-lab/jupyterenv/share/jupyter/lab/static",
        said: "index.html is damaged",
    },
    Break {
        how: "cd ~/.local/share/jupyter/runtime && rm jupyter_cookie_secret && \
              mkdir jupyter_cookie_secret",
        mend: "rmdir ~/.local/share/jupyter/runtime/jupyter_cookie_secret",
        said: "is a directory, and a file is expected there",
    },
];

/// Breaks that a start of the container meets.
const FROM_THE_START: [Break; 2] = [
    Break {
        how: "cd ~/.jupyter && cp jupyter_server_config.json ~ && \
              echo '{\"a\": 1,}' >jupyter_server_config.json",
        mend: "mv ~/jupyter_server_config.json ~/.jupyter",
        said: "trailing comma",
    },
    Break {
        how: "echo 'c.ServerApp.root_dir = \"/no/root\"' >~/.jupyter/jupyter_server_config.py",
        mend: "rm ~/.jupyter/jupyter_server_config.py",
        said: "/no/root is not a directory",
    },
];

fn as_user(container: &Container, script: &str) {
    let script = script.replace("SITE ", SITE).replace("SETTINGS ", SETTINGS);
    container.exec_ok("jupyter", &["bash", "-c", &script]);
}

/// Starts the server again; what its state says of a rescue.
fn again(container: &Container, start: &dyn Fn()) -> Option<String> {
    let before = container.logs().matches(READY).count();
    start();
    container.wait_for_nth(READY, before + 1);
    container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    let rescue = container.status()["rescue"].as_str().map(str::to_owned);
    let told = container.exec_ok("root", &["ai-lab-entrypoint", "status"]);
    let row = told.lines().any(|line| line.starts_with("rescue"));
    assert_eq!(row, rescue.is_some(), "{told}");
    rescue
}

/// Meets each break and mends it; nobody but the owner gets in. The start that meets the next break
/// shows what is mended, too: something left over would be in its way.
fn meets(container: &Container, start: &dyn Fn(), breaks: &[Break]) {
    for (at, Break { how, mend, said }) in breaks.iter().enumerate() {
        println!("{how}");
        as_user(container, how);
        let rescue = again(container, start).expect(how);
        assert!(rescue.contains(said), "{how}: {rescue}");
        container.lets(&[(PASSWORD, "in"), ("ailab", "out"), ("", "out")]);
        let up = "ai-lab-entrypoint status >/dev/null && echo u''p";
        assert_eq!(container.visit(&["terminal", PASSWORD, up]), "up", "{how}");
        as_user(container, mend);
        if is_tried_in_full(at, breaks) {
            assert_eq!(again(container, start), None, "{how}");
            assert_eq!(container.visit(&["login", PASSWORD]), "in", "{how}");
        }
    }
}

/// True for the first break and the last, and under `--long` for all: a browser looks at them, and
/// the usual start follows.
fn is_tried_in_full<T>(at: usize, breaks: &[T]) -> bool {
    at == 0 || at + 1 == breaks.len() || repeated(false, true)
}

#[test]
fn whatever_a_person_broke_the_lab_opens_and_can_be_mended() {
    let password = format!("--env=JUPYTER_PASSWORD={PASSWORD}");
    let container = Container::start(&[&password], &[]);
    container.wait_for(READY);
    let restart = || drop(container.exec_ok("jupyter", &["ai-lab-entrypoint", "restart"]));
    meets(&container, &restart, &IN_PLACE);
    let restart = || drop(docker_ok(["restart", &container.name]));
    meets(&container, &restart, &FROM_THE_START);
}

/// What a person at the address gets, with or without TLS.
fn api(container: &Container, scheme: &str) -> String {
    let url = format!("{scheme}://127.0.0.1:{}/api", container.port());
    let words = ["-sk", "-o", "/dev/null", "-w", "%{http_code}", &url];
    text(&Command::new("curl").args(words).output().unwrap())
}

#[test]
fn a_certificate_that_is_gone_is_replaced_and_the_login_never_goes_without_one() {
    let container = Container::start(&[], &[]);
    container.wait_for(READY);
    let restart = || drop(docker_ok(["restart", &container.name]));
    let in_place = || drop(container.exec_ok("jupyter", &["ai-lab-entrypoint", "restart"]));
    for (how, start, said) in [
        (
            "file=/no/cert",
            &restart as &dyn Fn(),
            "/no/cert cannot be read",
        ),
        // Jupyter starts with such a file, and ends each connection.
        (
            "file=~/cert; echo 'of mine' >$file",
            &in_place,
            "cert cannot be used: it has no certificate",
        ),
    ] {
        let name = "mkdir -p ~/.jupyter && \
                    echo \"c.ServerApp.certfile = '$file'\" >~/.jupyter/jupyter_server_config.py";
        as_user(&container, &format!("{how}; {name}"));
        let rescue = again(&container, start).unwrap();
        assert!(rescue.contains(said), "{rescue}");
        assert_eq!(
            (api(&container, "https"), api(&container, "http")),
            ("200".into(), "000".into())
        );
    }
    as_user(&container, "rm ~/.jupyter/jupyter_server_config.py");
    assert_eq!(again(&container, &restart), None);
    assert_eq!(api(&container, "http"), "200");
}

#[test]
fn a_default_password_opens_no_rescue_and_a_token_of_the_log_does() {
    let container = Container::start(&[], &["jupyter-lab", "--no-such-option"]);
    let log = container.wait_for(READY);
    assert!(
        log.contains("terminated with error code 2 before it was ready"),
        "{log}"
    );
    assert!(!log.contains("The default password is"), "{log}");
    assert_eq!(container.visit(&["login", "ailab"]), "out");
    let (_, token) = log.split_once("http://localhost:49494/?token=").unwrap();
    let token = token.split_whitespace().next().unwrap();
    assert_eq!(token.len(), 48);
    let at = |page: &str| format!("http://127.0.0.1:{}{page}?token={token}", container.port());
    let words = ["-s", "-o", "/dev/null", "-w", "%{redirect_url}", &at("/")];
    let first = text(&Command::new("curl").args(words).output().unwrap());
    assert!(first.contains("/what-broke.md"), "{first}");
    // Whoever has a page open, or a bookmark, comes to another one.
    for page in ["/lab/tree/start.ipynb", "/"] {
        assert_eq!(seen(&at(page), "", "no-such-option"), "seen", "{page}");
    }
}

#[test]
fn a_hub_brings_people_to_the_page_that_says_what_broke() {
    let hub = Hub::start(
        "c.DockerSpawner.remove = False\n\
         c.Spawner.default_url = '/lab/tree/start.ipynb'",
    );
    assert_eq!(hub.ask(&["start", "alice"]), "ready");
    let container = hub.container("alice");
    let [exits, _, package, ..] = &IN_PLACE;
    // The hub's server goes on without JupyterLab.
    let lab = Break {
        how: "SITE mv jupyterlab ~",
        mend: "SITE mv ~/jupyterlab .",
        said: "JupyterLab shows no page, because it is damaged",
    };
    let program = Break {
        how: "mv /opt/ai-lab/jupyterenv/bin/jupyterhub-singleuser ~",
        mend: "mv ~/jupyterhub-singleuser /opt/ai-lab/jupyterenv/bin",
        said: "jupyterhub-singleuser was not found",
    };
    let spawn = || {
        assert_eq!(hub.ask(&["stop", "alice"]), "stopped");
        assert_eq!(hub.ask(&["start", "alice"]), "ready");
    };
    let breaks = [exits, package, &lab, &program];
    for (at, Break { how, mend, said }) in breaks.into_iter().enumerate() {
        as_user(&container, how);
        let rescue = again(&container, &spawn).expect(how);
        assert!(rescue.contains(said), "{how}: {rescue}");
        let page = hub.ask(&["page", "alice"]);
        assert!(page.contains("/what-broke.md"), "{how}: {page}");
        // The hub decides who gets in, as always.
        assert_eq!(hub.ask(&["peek", "bob", "alice"]), "403", "{how}");
        let in_full = is_tried_in_full(at, &breaks);
        if in_full {
            assert_eq!(seen(&hub.page("alice"), "alice", said), "seen", "{how}");
        }
        as_user(&container, mend);
        if in_full {
            assert_eq!(again(&container, &spawn), None, "{how}");
        }
    }
}

/// A disk of its own for HOME, which a container can fill.
struct SmallDisk {
    device: String,
    volume: Volume,
    _image: tempfile::NamedTempFile,
}

impl SmallDisk {
    fn new() -> Self {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(4 << 20).unwrap();
        let file = image.path().to_str().unwrap();
        command("mkfs.ext4", &["-q", "-F", "-N", "64", file]);
        let device = command("losetup", &["--find", "--show", file]);
        let volume = Volume(docker::name());
        let device_option = format!("device={device}");
        let words = [
            "volume",
            "create",
            "--opt",
            "type=ext4",
            "--opt",
            &device_option,
        ];
        docker_ok(words.iter().chain([&volume.0.as_str()]));
        Self {
            device,
            volume,
            _image: image,
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        command("losetup", &["--detach", &self.device]);
    }
}

fn command(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program}: {}", text(&output));
    text(&output).trim().to_owned()
}

/// Without room, or without an inode, for everything that is kept in HOME.
#[test]
fn a_full_home_locks_nobody_out() {
    for (full, room) in [
        ("head -c 9000000 /dev/zero >~/big", "rm ~/big"),
        ("mkdir ~/many && touch ~/many/{1..64}", "rm -r ~/many"),
    ] {
        let disk = SmallDisk::new();
        let volume = format!("--volume={}:/home/jupyter", disk.volume.0);
        let password = format!("--env=JUPYTER_PASSWORD={PASSWORD}");
        let container = Container::start(&[&volume, &password], &[]);
        container.wait_for(READY);
        let restart = || drop(docker_ok(["restart", &container.name]));
        let (ok, said) = container.exec("jupyter", &["bash", "-c", full]);
        assert!(!ok && said.contains("No space left on device"), "{said}");
        // It is no rescue: what broke could be seen before.
        assert_eq!(again(&container, &restart), None, "{full}");
        let degradations = container.status()["degradations"].to_string();
        assert!(
            degradations.contains("No space left on device"),
            "{degradations}"
        );
        assert_eq!(container.visit(&["login", PASSWORD]), "in", "{full}");
        let free = format!("{room}; echo u''p");
        assert_eq!(container.visit(&["terminal", PASSWORD, &free]), "up");
        assert_eq!(again(&container, &restart), None, "{full}");
        let degradations = container.status()["degradations"].to_string();
        assert!(!degradations.contains("No space left"), "{degradations}");
        drop(container);
    }
}

/// A person at the browser: see `rescued.py`.
fn seen(url: &str, login: &str, cause: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/rescued.py");
    let output = Command::new(crate::browser::python())
        .args([script, url, login, cause])
        .output()
        .unwrap();
    text(&output).trim().to_owned()
}
