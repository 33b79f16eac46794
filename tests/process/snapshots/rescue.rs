//! A rescue, and a lab that is rescued because it shows no page.

use std::fs;

use super::golden::{compare, lived, lived_in, ours};
use super::serving::{TERM, bare, configured, ended, ready};
use crate::support::{Image, PROGRAM, Running, Start};

fn lab_file(image: &Image, name: &str, text: &str) {
    let path = image.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_lab_without_a_page() {
    let extension = "venv/share/jupyter/labextensions/x/package.json";
    for (name, file, text) in [
        ("lab-without-a-page-json", extension, "{"),
        ("lab-without-a-page-name", extension, "{}"),
        (
            "lab-without-a-page-script",
            "venv/share/jupyter/lab/static/index.html",
            "{{page_config.fullStaticUrl}}/main.0.js?v=0",
        ),
        (
            "lab-without-a-page-settings",
            "home/.jupyter/lab/user-settings/x/y.jupyterlab-settings",
            "{",
        ),
    ] {
        let broken = |image: &Image| {
            lab_file(image, "venv/share/jupyter/lab/schemas/x/y.json", "{}");
            lab_file(image, "venv/share/jupyter/lab/static/index.html", "x");
            lab_file(image, file, text);
            bare(image)
        };
        lived(name, broken, ready);
    }
}

/// A server that dies and is rescued.
fn rescued(image: &Image) -> Start {
    image.rescued(bare(image))
}

#[test]
fn a_rescue() {
    lived(
        "rescue-token",
        |image| rescued(image).env("JUPYTER_TOKEN", "x"),
        ready,
    );
    lived(
        "rescue-password",
        |image| rescued(image).env("JUPYTER_PASSWORD", "x"),
        ready,
    );
    let page = |name| {
        move |running: &mut Running, image: &Image| {
            running.wait_for("ready in ");
            let private = fs::read_dir(image.path("home"))
                .unwrap()
                .map(|found| found.unwrap().path());
            let pages = private.map(|path| path.join("what-broke.md"));
            let page = pages.into_iter().find(|page| page.exists()).unwrap();
            compare(name, &ours(&fs::read_to_string(page).unwrap(), image));
            running.signal(TERM);
            running.end()
        }
    };
    lived_in("rescue-random-token", rescued, page("rescue-page"));
    lived_in(
        "rescue-hub",
        |image| {
            let url = format!("http://127.0.0.1:{}/user/alice/", image.port);
            let start = rescued(image).env("JUPYTERHUB_SERVICE_URL", &url);
            let start = start.env("JUPYTERHUB_API_TOKEN", "x");
            start.env("JUPYTERHUB_CLIENT_ID", "x")
        },
        page("rescue-page-hub"),
    );
    lived(
        "rescue-of-a-lab-without-a-page",
        |image| {
            lab_file(image, "venv/share/jupyter/lab/static/index.html", "");
            rescued(image).env("JUPYTER_PASSWORD", "x")
        },
        ready,
    );
    let unread = "[E TIME ServerApp] Exception while loading config file ";
    let quoted = |image: &Image, text: &str| {
        configured(image, text);
        let file = image.path("home/.jupyter/jupyter_server_config.py");
        let said = format!("{unread}{}\n    NameError: x", file.display());
        fs::write(image.path("home/quoted"), said).unwrap();
    };
    lived(
        "rescue-of-a-configuration",
        |image| {
            quoted(image, "c.ServerApp.base_url = '/x/'\n");
            let start = rescued(image).env("FAKE", "quotes");
            start.env("JUPYTER_PASSWORD", "x")
        },
        |running| {
            running.wait_for("This is a rescue");
            ready(running)
        },
    );
    let without_lab = |image: &Image| {
        let said = "[W TIME ServerApp] jupyterlab | extension failed loading with message: x";
        fs::write(image.path("home/quoted"), said).unwrap();
        rescued(image)
            .env("FAKE", "quotes")
            .env("JUPYTER_PASSWORD", "x")
    };
    lived("rescue-without-jupyterlab", without_lab, |running| {
        running.wait_for("This is a rescue");
        ready(running)
    });
    lived(
        "lab-without-a-page-not-loaded",
        |image| without_lab(image).args(["--rescue", "never"]),
        ready,
    );
    lived(
        "configuration-not-read",
        |image| {
            quoted(image, "c.A.b = 1\n");
            bare(image).env("FAKE", "quotes")
        },
        ready,
    );
    lived(
        "server-without-a-login",
        |image| {
            let said = "[W TIME ServerApp] All authentication is disabled.\n\
                        [W TIME ServerApp] WARNING: The Jupyter server is listening on all IP \
                        addresses and not using authentication.";
            fs::write(image.path("home/quoted"), said).unwrap();
            bare(image).env("FAKE", "quotes")
        },
        ready,
    );
    lived(
        "rescue-nowhere",
        |image| {
            let script = "mount -t tmpfs tmpfs /dev/shm -o ro";
            let inner = format!("ip link set lo up\n{script}\nexec {PROGRAM} \"$@\"");
            let start =
                Start::wrapped("unshare").args(["-n", "-m", "sh", "-e", "-c", &inner, "sh"]);
            let start = start.args(image.options()).args(image.rescue());
            let start = start.args(["--jupyter-server", "jupyter-lab"]);
            start.env("FAKE", "dies").env("TMPDIR", "/proc")
        },
        ended,
    );
}
