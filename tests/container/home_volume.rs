//! HOME on a volume, as hubs have it: the venv and the default notebooks are the image's all
//! the same, under their old names, too.

use std::fs;

use crate::support::docker::{Container, Volume, mounted, run};

const READY: &str = "] ready in ";
const HOME: &str = "/home/jupyter";

/// What a hub's configuration from the time of the predecessor names.
const OLD: [&str; 6] = [
    "--venv=/home/jupyter/jupyterenv",
    "--notebook-defaults=/home/jupyter/notebook-defaults",
    "--notebooks=/home/jupyter/work",
    "--jupyter-server=/home/jupyter/jupyterenv/bin/jupyter-lab",
    "--port=49494",
    "--password=ailab",
];

/// Works in it as a person does, and says how many kilobytes HOME has then.
fn used(container: &Container) -> u32 {
    let log = container.wait_for(READY);
    assert!(
        log.contains("/notebook-defaults to /home/jupyter/work"),
        "{log}"
    );
    let prefix = "cd \"$(python -c 'import sys; print(sys.prefix)')\" && pwd -P";
    let prefix = container.exec_ok("jupyter", &["bash", "-lc", prefix]);
    assert_eq!(prefix, "/opt/ai-lab/jupyterenv\n");
    assert_eq!(container.visit(&["login", "ailab"]), "in");
    assert_eq!(
        container.visit(&["run", "ailab", "import numpy; print(6 * 7)"]),
        "42"
    );
    // Packages are the container's, wherever HOME is.
    let script = "pip uninstall --yes --quiet ipywidgets && ! python -c 'import ipywidgets' 2>&1";
    container.exec_ok("jupyter", &["bash", "-lc", script]);
    let size = container.exec_ok("jupyter", &["du", "-sk", HOME]);
    size.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn an_empty_volume_stays_small_and_a_new_container_has_all_packages_again() {
    let volume = Volume::new();
    let mount = format!("--volume={}:{HOME}", volume.0);
    for command in [&["--notebooks=/home/jupyter/work"][..], &OLD] {
        let container = Container::start(&[&mount], command);
        assert!(used(&container) < 5_000);
        container.exec_ok("jupyter", &["touch", "/home/jupyter/work/mine.txt"]);
        assert_eq!(container.stop(), 0);
    }
    let look = ["ls", "/home/jupyter/work/mine.txt"];
    assert_eq!(run(&[&mount], &look).0, 0);
}

#[test]
fn an_empty_directory_of_the_host_works_with_the_old_line() {
    let home = tempfile::tempdir().unwrap();
    let mount = format!("--volume={}:{HOME}", home.path().display());
    let container = Container::start(&[&mount], &OLD);
    used(&container);
    assert_eq!(container.stop(), 0);
    assert!(!home.path().join("jupyterenv").exists());
}

#[test]
fn a_volume_that_an_older_image_has_filled_gets_the_new_venv_and_defaults() {
    let home = tempfile::tempdir().unwrap();
    let mount = format!("--volume={}:{HOME}", home.path().display());
    for name in ["jupyterenv/bin", "notebook-defaults"] {
        fs::create_dir_all(home.path().join(name)).unwrap();
    }
    fs::write(home.path().join("notebook-defaults/old.ipynb"), "{}").unwrap();
    let container = Container::start(&[&mount], &["--notebooks=/home/jupyter/work"]);
    used(&container);
    assert!(!home.path().join("work/old.ipynb").exists());
    assert_eq!(container.stop(), 0);
    // What is named is used, with a word.
    let line = [
        "--notebook-defaults=/home/jupyter/notebook-defaults",
        "true",
    ];
    let (code, _, stderr) = run(&[&mount], &line);
    assert_eq!(code, 0, "{stderr}");
    let stale =
        "/home/jupyter/notebook-defaults is a copy in a volume, which no newer image updates";
    assert!(stderr.contains(stale), "{stderr}");
}

#[test]
fn notebooks_that_go_with_the_container_beside_a_home_that_stays_are_told() {
    let volume = Volume::new();
    let mount = format!("--volume={}:{HOME}", volume.0);
    let told = " is mounted, but the notebooks are in /home/jupyter/notebooks, a volume without";
    let elsewhere = format!("--volume={}:/home/jovyan/work", volume.0);
    for (mount, inside) in [
        (&mount, "/home/jupyter/work"),
        (&elsewhere, "/home/jovyan/work"),
    ] {
        let (_, _, stderr) = run(&[mount], &["true"]);
        assert!(stderr.contains(told), "{stderr}");
        let remedy = format!("with --notebooks, such as {inside})");
        assert!(stderr.contains(&remedy), "{stderr}");
    }
    let work = format!("--volume={}:/work", volume.0);
    let lab = Container::start(&[&work], &[]);
    assert!(lab.wait_for(READY).contains(&format!("/work{told}")));
    let both = Volume::new();
    let notebooks = both.option();
    let (_file, settings) = mounted("", "/home/jupyter/.jupyter/custom.css");
    let inside = format!("--volume={}:/home/jupyter/notebooks/data", volume.0);
    for options in [
        &[][..],
        &[&settings],
        &[&inside],
        // A command works where it likes.
        &[&work],
        &[&notebooks],
        &[&mount, &notebooks],
    ] {
        let options: Vec<&str> = options.iter().map(|option| option.as_str()).collect();
        let (code, _, stderr) = run(&options, &["--warning-as-error", "--", "true"]);
        assert_eq!((code, stderr.contains(told)), (0, false), "{stderr}");
    }
}
