//! The directory that people see and save in: the notebooks, or another one that a command, a file of
//! Jupyter's configuration or a hub names.

use std::fs;
use std::os::unix::fs::chown;

use super::images_values::of_the_image;
use super::rescue::{READY, jupyters};
use crate::support::{Image, PROGRAM, Start, UID};

const PAGE: (&str, &str) = ("JUPYTERHUB_DEFAULT_URL", "/lab/tree/start.ipynb");

/// A directory beside the notebooks; its path.
fn other(image: &Image, uid: u32) -> String {
    let path = image.path("other");
    fs::create_dir(&path).unwrap();
    chown(&path, Some(uid), Some(uid)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn under_a_hub(image: &Image, start: Start, directory: &str) -> Start {
    let url = format!("http://127.0.0.1:{}/user/alice/", image.port);
    let start = start.env("JUPYTERHUB_SERVICE_URL", &url);
    let start = start.env("JUPYTERHUB_API_TOKEN", "x");
    let start = start.env("JUPYTERHUB_CLIENT_ID", "x");
    start.env("JUPYTERHUB_ROOT_DIR", directory)
}

/// A start of the image, whose file names the notebooks, where Jupyter's names another directory.
fn of_a_file(image: &Image, ground: &tempfile::TempDir, directory: &str) -> Start {
    let text = format!("c.ServerApp.root_dir = '{directory}'\n");
    jupyters(image, "jupyter_server_config.py", &text);
    let start = of_the_image(image, ground.path());
    start.args(["--jupyter-server", "jupyter-lab"])
}

/// A start after a script, in a mount namespace of its own.
fn after(script: &str, image: &Image, options: &[&str]) -> Start {
    let directory = image.dir.path().display();
    let script = format!("cd {directory}\n{script}\nexec {PROGRAM} \"$@\"");
    let start = Start::wrapped("unshare").args(["-m", "sh", "-e", "-c", &script, "sh"]);
    start.args(image.options()).args(options)
}

fn is_ready(start: Start) -> Vec<String> {
    let mut running = start.start();
    running.wait_for(READY);
    running.signal(15);
    assert_eq!(running.end(), 0);
    running.everything().1.lines().map(str::to_owned).collect()
}

#[test]
fn one_that_cannot_be_written_is_said_whoever_names_it() {
    let told = |directory: &str, place: &str| {
        format!(
            "{directory} (ServerApp.root_dir from {place}) cannot be written: Permission denied"
        )
    };
    let has = |lines: &[String], told: &str| lines.iter().any(|line| line.contains(told));
    let argument = |directory: &str| ["jupyter-lab".into(), format!("--notebook-dir={directory}")];
    let image = Image::new();
    let directory = other(&image, 0);
    let start = || image.server().args(argument(&directory));
    let by_command = told(&directory, "the server's arguments");
    assert!(has(&is_ready(start()), &by_command));
    let strict = image.server().arg("--warning-as-error");
    let ended = strict.args(argument(&directory)).run();
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains(&by_command), "{}", ended.stderr);
    let by_hub = told(&directory, "JUPYTERHUB_ROOT_DIR");
    let lines = is_ready(under_a_hub(&image, image.server(), &directory));
    assert!(has(&lines, &by_hub), "{lines:?}");
    // A person's file ends no start.
    let ground = tempfile::tempdir_in("/srv").unwrap();
    let lines = is_ready(of_a_file(&image, &ground, &directory).arg("--warning-as-error"));
    let file = image.path("home/.jupyter/jupyter_server_config.py:1");
    let by_file = told(&directory, file.to_str().unwrap());
    assert!(has(&lines, &by_file), "{lines:?}");
    // What can be written, and what has the notebooks in it.
    let image = Image::new();
    let above = image.dir.path().to_str().unwrap().to_owned();
    for directory in [other(&image, UID), above] {
        let start = image.server().arg("--warning-as-error");
        is_ready(start.args(argument(&directory)));
    }
}

/// What is saved in a directory that stays does not go with the container.
#[test]
fn one_that_stays_is_not_told_to_be_lost() {
    let place = format!("volumes/{}/_data", "0af9".repeat(16));
    let script = format!(
        "mkdir -p {place} notebooks\nmount --bind {place} notebooks\nmount --bind home home\n\
         mount -t tmpfs -o uid={UID} tmpfs other"
    );
    let image = Image::new();
    let directory = format!("--notebook-dir={}", other(&image, UID));
    let server = ["--warning-as-error", "jupyter-lab", &directory];
    is_ready(after(&script, &image, &server));
    // One that does not stay, and a mount that a person can use instead.
    let image = Image::new();
    let script = format!(
        "mkdir -p {place} notebooks\nmount --bind {place} notebooks\nmount -t tmpfs tmpfs /home\n\
         mkdir -p /home/jovyan/work\nmount -t tmpfs tmpfs /home/jovyan/work"
    );
    let ended = after(&script, &image, &["--", "true"]).run();
    let told = "with --notebooks, such as /home/jovyan/work)";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}

/// The line with which a dry run starts the server, and the page of a hub.
fn planned(start: Start) -> (String, Option<String>) {
    let ended = start.arg("--dry-run").run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let mut lines = ended.stdout.lines().map(str::trim);
    let page = lines
        .clone()
        .find_map(|line| line.strip_prefix("set JUPYTERHUB_DEFAULT_URL="));
    let server = lines
        .find(|line| line.contains("venv/bin/jupyter"))
        .unwrap();
    (server.to_owned(), page.map(str::to_owned))
}

/// An image with its page in the notebooks.
fn with_a_page() -> Image {
    let image = Image::new();
    fs::create_dir(image.path("notebooks")).unwrap();
    fs::write(image.path("notebooks/start.ipynb"), "{}").unwrap();
    image
}

#[test]
fn people_come_to_a_page_that_is_there() {
    let image = with_a_page();
    let directory = other(&image, UID);
    let ground = tempfile::tempdir_in("/srv").unwrap();
    let start = || of_a_file(&image, &ground, &directory).env(PAGE.0, PAGE.1);
    let elsewhere = " --LabApp.default_url=/lab";
    assert!(planned(start()).0.ends_with(elsewhere));
    // The hub's directory is stronger than a file's.
    let notebooks = image.path("notebooks");
    let (_, page) = planned(under_a_hub(&image, start(), notebooks.to_str().unwrap()));
    assert_eq!(page, None);
    // The image's own file names the page, too, and a person's another one.
    let of_the_venv = image.path("venv/etc/jupyter");
    fs::create_dir_all(&of_the_venv).unwrap();
    let text = format!("c.LabApp.default_url = '{}'\n", PAGE.1);
    fs::write(of_the_venv.join("jupyter_lab_config.py"), text).unwrap();
    assert!(planned(start()).0.ends_with(elsewhere));
    for text in [
        "c.LabApp.default_url = '/lab/tree/mine.ipynb'\n",
        "c.LabApp.default_url = mine()\n",
        "load_subconfig('/etc/corp/site.py')\n",
    ] {
        jupyters(&image, "jupyter_lab_config.py", text);
        let (line, _) = planned(start());
        assert!(!line.contains("default_url"), "{text}: {line}");
    }
    fs::write(image.path("other/start.ipynb"), "{}").unwrap();
    jupyters(&image, "jupyter_lab_config.py", "");
    let (line, _) = planned(start());
    assert!(!line.contains("default_url"), "{line}");
    // `~` is the person's HOME.
    let image = with_a_page();
    fs::rename(image.path("notebooks"), image.path("home/mine")).unwrap();
    let options = image.options();
    let kept = options.chunks(2).filter(|pair| pair[0] != "--notebooks");
    let start = Start::pid1().args(kept.flatten()).env(PAGE.0, PAGE.1);
    let start = start.args(["--notebooks", image.path("home/mine").to_str().unwrap()]);
    let start = start.args(["--jupyter-server", "jupyterhub-singleuser"]);
    let (_, page) = planned(under_a_hub(&image, start, "~"));
    assert_eq!(page.as_deref(), Some("/lab/tree/mine/start.ipynb"));
}

/// `jupyter lab FILE`, where plain Jupyter takes the file's directory for the root directory.
#[test]
fn a_notebook_that_a_command_names_is_opened_wherever_it_is() {
    let image = with_a_page();
    let directory = other(&image, UID);
    fs::write(image.path("other/a.ipynb"), "{}").unwrap();
    let file = format!("{directory}/a.ipynb");
    let root = " --ServerApp.root_dir=";
    let open = |word: &str| {
        let start = image.server().args(["--dry-run", "jupyter-lab", word]);
        let ended = start
            .env(PAGE.0, PAGE.1)
            .under(&["env", "-C", &directory])
            .run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let mut lines = ended.stdout.lines();
        let line = lines.find(|line| line.contains("venv/bin/jupyter"));
        line.unwrap().trim().to_owned()
    };
    for (word, shown) in [
        (&*file, &*file),
        ("a.ipynb", &file),
        ("../other/a.ipynb", "../other/a.ipynb"),
    ] {
        let line = open(word);
        let end = format!(" --LabApp.default_url=/lab {shown}");
        assert!(line.ends_with(&end) && !line.contains(root), "{line}");
    }
    // One in the notebooks, and one that Jupyter does not find, either.
    for word in ["start.ipynb", "none.ipynb"] {
        let line = open(word);
        assert!(
            line.ends_with(&format!(" {word}")) && line.contains(root),
            "{line}"
        );
    }
    // Jupyter takes a directory for the root directory, whatever else names one.
    let line = open(&directory);
    assert!(
        line.ends_with(&format!(" --LabApp.default_url=/lab {directory}")),
        "{line}"
    );
}
