//! A server that answers, and whose lab shows no page, is rescued: something of JupyterLab's is
//! damaged.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::rescue::{READY, rescue_of};
use super::rescued::{deaf, of_a_hub, saying, stopped};
use crate::support::{Image, Start};

/// Such a server answers, and has no page.
#[test]
fn a_server_without_jupyterlab_is_rescued_and_another_server_is_not() {
    let said = "[I 2026-11-29 22:34:50.899 ServerApp] jupyterlab | extension was successfully linked.\n\
                [W 2026-11-29 22:34:50.900 ServerApp] jupyterlab | extension failed loading with \
                message: NotImplementedError()\n    Traceback (most recent call last):\n    NotImplementedError: x\n\
                [I 2026-11-29 22:34:50.901 ServerApp] nbclassic | extension was successfully loaded.";
    let what = "JupyterLab shows no page, because it is damaged, or a setting of it is wrong \
                (NotImplementedError: x)";
    for hub in [false, true] {
        let image = Image::new();
        let start = saying(&image, said);
        let mut running = match hub {
            true => of_a_hub(&image, start).start(),
            false => start.start(),
        };
        running.wait_for("the server is ended: it runs without JupyterLab");
        running.wait_for("This is a rescue");
        running.wait_for(READY);
        let rescue = rescue_of(&image).to_string();
        assert!(rescue.contains(what), "{rescue}");
        stopped(running);
    }
    // A rescue that lacks it, too, is better than nothing, and stays.
    let image = Image::new();
    let mut running = saying(&image, said).env("FAKE_RESCUE", "quotes").start();
    running.wait_for("This is a rescue");
    running.wait_for(READY);
    stopped(running);
    // Jupyter ends with 0 if it is ended, and nobody had a server.
    let image = Image::new();
    let python = image.path("rescue/bin/python");
    let start = saying(&image, said);
    fs::set_permissions(python, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(start.run().code, 1);
    for words in [&["--rescue", "never"][..], &["--", "jupyter-server"]] {
        let image = Image::new();
        let bin = image.path("venv/bin");
        fs::copy(bin.join("jupyter-lab"), bin.join("jupyter-server")).unwrap();
        let mut running = saying(&image, said).args(words).start();
        running.wait_for(what);
        running.wait_for(READY);
        assert!(rescue_of(&image).is_null());
        stopped(running);
    }
}

/// A file of JupyterLab's in an image that has these.
fn lab_file(image: &Image, name: &str, text: &str) {
    let path = image.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

const EXTENSIONS: &str = "home/.local/share/jupyter/labextensions";
const INDEX: &str = "venv/share/jupyter/lab/static/index.html";
const THEMES: &str =
    "home/.jupyter/lab/user-settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings";

fn lab(image: &Image) -> Start {
    let schema = "venv/share/jupyter/lab/schemas/@jupyterlab/apputils-extension/themes.json";
    lab_file(image, schema, "{}");
    lab_file(
        image,
        INDEX,
        "<script src=\"{{page_config.fullStaticUrl}}/main.0.js?v=0\">",
    );
    lab_file(image, "venv/share/jupyter/lab/static/main.0.js", "x");
    // A person's own comments, and settings of an extension that is gone, do no harm.
    lab_file(image, THEMES, "// mine\n{'theme': \"it's {\", }");
    let gone = "home/.jupyter/lab/user-settings/gone/x.jupyterlab-settings";
    lab_file(image, gone, "{");
    // Nor does what JupyterLab does not find, or finds under a name that it knows already.
    let extension = |name: &str| format!("{EXTENSIONS}/{name}/package.json");
    lab_file(image, &format!("{EXTENSIONS}/README.md"), "x");
    lab_file(image, &extension("@a/.half"), "{");
    lab_file(
        image,
        &extension("twice"),
        "{\"name\": \"twice\", \"version\": \"1\"}",
    );
    let second = "venv/share/jupyter/labextensions/twice/package.json";
    lab_file(image, second, "{\"name\": \"twice\"}");
    lab_file(image, &extension("of-root"), "{");
    let of_root = image.path(EXTENSIONS).join("of-root");
    fs::set_permissions(of_root, fs::Permissions::from_mode(0o700)).unwrap();
    deaf(image)
}

/// A full disk leaves such files; the server starts, and answers each page with an error.
#[test]
fn a_lab_without_a_page_is_rescued() {
    let [whole, gone] = ["whole", "gone"].map(|name| format!("{EXTENSIONS}/{name}/package.json"));
    for (name, text, said) in [
        (THEMES, "{\"theme\": ", "it is incomplete, or no JSON"),
        (THEMES, "\0\0\0\0", "it is incomplete, or no JSON"),
        (&gone, "{\"name\": \"gone\",", "it is not valid JSON"),
        (
            &gone.replace("gone", "@a/b"),
            "{\"name\": \"x\"}",
            "it has no \\\"version\\\"",
        ),
        (
            &whole.replace("package", "install"),
            "",
            "it is not valid JSON",
        ),
        (INDEX, "", "it is empty"),
        ("venv/share/jupyter/lab/static/main.0.js", "", "it is empty"),
    ] {
        let image = Image::new();
        let mut running = lab(&image).start();
        running.wait_for(READY);
        assert!(rescue_of(&image).is_null());
        lab_file(&image, &whole, "{\"name\": \"whole\", \"version\": \"1\"}");
        lab_file(&image, name, text);
        running.signal(libc::SIGHUP);
        running.wait_for("This is a rescue");
        running.wait_for(READY);
        stopped(running);
        // The next start sees it, too.
        let sees = |said: &str| {
            let mut running = deaf(&image).start();
            running.wait_for(READY);
            let rescue = rescue_of(&image).to_string();
            for part in [said, &image.path(name).display().to_string()] {
                assert!(rescue.contains(part), "{part}: {rescue}");
            }
            stopped(running);
        };
        sees(said);
        if name.contains("/static/") {
            fs::remove_file(image.path(name)).unwrap();
            sees("it is missing");
        }
        let mut running = deaf(&image).args(["--rescue", "never"]).start();
        running.wait_for("JupyterLab shows no page");
        running.wait_for(READY);
        assert!(rescue_of(&image).is_null());
        stopped(running);
    }
}

/// Under a hub, people may come to RStudio, or to the classic notebook.
#[test]
fn a_server_with_another_first_page_needs_no_page_of_jupyterlab() {
    let image = Image::new();
    drop(lab(&image));
    lab_file(&image, THEMES, "{");
    let other = ["--jupyter-arg", "--ServerApp.default_url=/tree"];
    let mut running = deaf(&image).args(other).start();
    running.wait_for(READY);
    assert!(rescue_of(&image).is_null());
    stopped(running);
}
