//! What the image sets by itself yields to Jupyter's configuration, also where only Jupyter can tell
//! what that sets, and holds where it sets nothing.

use std::fs;
use std::path::Path;

use super::rescue::jupyters;
use crate::support::{Image, Output, Start};

/// A dry run with this configuration of Jupyter's, where the image's own file names port and
/// directory.
fn planned(text: &str, port: Option<&str>) -> Output {
    let image = Image::new();
    jupyters(&image, "jupyter_server_config.py", text);
    // Where nobody but root can write, as far up as it goes.
    let ground = tempfile::tempdir_in("/srv").unwrap();
    let start = of_the_image(&image, ground.path()).arg("--dry-run");
    let start = start.args(["--jupyter-server", "jupyter-lab"]);
    let start = port
        .into_iter()
        .fold(start, |start, port| start.env("JUPYTER_PORT", port));
    let ended = start.run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended
}

/// A start with port and directory of the image's own file, which is made in `ground`.
pub fn of_the_image(image: &Image, ground: &Path) -> Start {
    let file = ground.join("settings.toml");
    let (notebooks, port) = (image.path("notebooks"), image.port);
    let lines = format!("notebooks.directory = {notebooks:?}\nserver.port = {port}\n");
    fs::write(&file, lines).unwrap();
    let options = image.options();
    let pairs = options.chunks(2);
    let kept = pairs.filter(|pair| !["--notebooks", "--ip", "--port"].contains(&&*pair[0]));
    let start = Start::pid1().args(kept.flatten());
    start.args(["--config", file.to_str().unwrap()])
}

/// The classes for which the server's line has these traits.
fn classes(plan: &str) -> [Option<&str>; 3] {
    let line = plan.lines().find(|line| line.contains("port_retries"));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    ["ip", "port", "root_dir"].map(|name| {
        let end = format!("App.{name}=");
        let (class, _) = words.iter().find_map(|word| word.split_once(&end))?;
        Some(class.trim_start_matches(['-', '\'']))
    })
}

#[test]
fn a_value_of_the_image_yields_where_only_jupyter_knows_another_one() {
    const IMAGES: Option<&str> = Some("Server");
    // Jupyter prefers a value for the class itself, wherever it is from.
    const YIELDS: Option<&str> = Some("Jupyter");
    let conditional = "if x:\n    c.ServerApp.port = 9999\n    c.ServerApp.ip = '127.0.0.1'\n";
    for (text, expected) in [
        ("", [IMAGES; 3]),
        ("c.ServerApp.ip = '127.0.0.1'", [None, IMAGES, IMAGES]),
        ("c.ServerApp.port = int('1')", [IMAGES, None, IMAGES]),
        (conditional, [YIELDS, YIELDS, IMAGES]),
        (
            "if x:\n    c.ServerApp.root_dir = '/'",
            [IMAGES, IMAGES, YIELDS],
        ),
        (
            "c.ServerApp.port = 1\nif x:\n    c.ServerApp.port = 2",
            [IMAGES, None, IMAGES],
        ),
        ("load_subconfig('/etc/corp/site.py')", [YIELDS; 3]),
        (
            "c.ServerApp.ip = '127.0.0.1'\nexec(open('x').read())",
            [None, YIELDS, YIELDS],
        ),
    ] {
        let plan = planned(text, None);
        assert_eq!(classes(&plan.stdout), expected, "{text}: {}", plan.stdout);
    }
}

/// Also where the image happens to have the same.
#[test]
fn a_value_that_a_person_chose_does_not_yield() {
    for port in ["49494", "49495"] {
        for text in ["c.ServerApp.port = 8888", "load_subconfig('x')"] {
            let plan = planned(text, Some(port));
            assert_eq!(classes(&plan.stdout)[1], Some("Server"), "{text}");
            let told = "environment variable JUPYTER_PORT wins over ServerApp.port in";
            let configured = text.contains("port");
            assert_eq!(plan.stderr.contains(told), configured, "{}", plan.stderr);
        }
    }
}

/// How kernels are reached where the image's file is read by a server with these variables, as Jupyter
/// reads it.
fn transport(image: &Image, variables: &[(&str, &str)]) -> String {
    let code = "import sys\n\
                from types import SimpleNamespace as Any\n\
                sys.modules['jupyter_server'], sys.prefix = sys, sys.argv[1]\n\
                names = 'KernelManager', 'FileContentsManager', 'LanguageServerManager'\n\
                c = Any(**{name: Any() for name in names})\n\
                exec(open(sys.argv[2]).read(), {'c': c})\n\
                print(c.KernelManager.transport)";
    // The machine may have kernels of its own.
    let script = "for place in /usr/local/share /usr/share/jupyter; do\n\
                  [ ! -d $place ] || mount -t tmpfs tmpfs $place\ndone\nexec python3 -c \"$@\"";
    let start = Start::wrapped("unshare").args(["-m", "sh", "-e", "-c", script, "sh", code]);
    let start = start.args([image.path("venv").to_str().unwrap(), IMAGES_FILE]);
    let start = start.env("HOME", image.path("home").to_str().unwrap());
    let variables = variables.iter();
    let ended = variables
        .fold(start, |start, (name, value)| start.env(name, value))
        .run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stdout.trim().to_owned()
}

const IMAGES_FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/image/system/etc/jupyter/jupyter_config.py"
);

/// R's kernel and others know TCP alone.
#[test]
fn kernels_use_tcp_wherever_one_of_another_language_is() {
    let image = Image::new();
    let kernel = |place: &str| {
        let directory = image.path(place);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("kernel.json"), "{}").unwrap();
        directory
    };
    kernel("venv/share/jupyter/kernels/python3");
    let path = |name: &str| image.path(name).display().to_string();
    let list = format!("{}:{}:", path("none"), path("listed"));
    let (data, share) = (path("data"), path("share"));
    assert_eq!(transport(&image, &[("JUPYTER_PATH", &list)]), "ipc");
    for (place, variables) in [
        ("listed/kernels/ir", &[("JUPYTER_PATH", &*list)][..]),
        ("data/kernels/ir", &[("JUPYTER_DATA_DIR", &data)]),
        ("share/jupyter/kernels/ir", &[("XDG_DATA_HOME", &share)]),
        (
            "home/.local/share/jupyter/kernels/ir",
            &[("XDG_DATA_HOME", ""), ("JUPYTER_PATH", "")],
        ),
        ("home/.ipython/kernels/ir", &[]),
    ] {
        let directory = kernel(place);
        assert_eq!(transport(&image, variables), "tcp", "{place}");
        fs::remove_dir_all(directory).unwrap();
    }
}

/// A file that cannot be evaluated may configure a login, and then no default password is set.
#[test]
fn the_images_own_file_of_jupyters_can_be_evaluated() {
    let image = Image::new();
    let text = fs::read_to_string(IMAGES_FILE).unwrap();
    jupyters(&image, "jupyter_config.py", &text);
    let mut running = image.server().start();
    running.wait_for("Successfully changed the password of Jupyter server.");
}
