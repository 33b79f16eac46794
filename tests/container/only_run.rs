//! Tutorials that a person runs in JupyterLab and saves are updated by the next image, and their
//! outputs can be brought back; an edited one stays.

use crate::support::docker::{Container, Derived, IMAGE, Volume};

const NOTEBOOKS: &str = "/home/jupyter/notebooks";
const PYTHON: &str = "/opt/ai-lab/jupyterenv/bin/python";

/// An image whose tutorials have one cell more.
fn newer() -> Derived {
    let more = "import json, pathlib; [path.write_text(json.dumps({**book, 'cells': book['cells'] \
                + [dict(book['cells'][0], id='new', source=['What is new'])]})) \
                for path in pathlib.Path('/opt/ai-lab/notebook-defaults').glob('*.ipynb') \
                for book in [json.loads(path.read_text())]]";
    Derived::new(&format!(
        "FROM {IMAGE}\nUSER root\nENV AI_LAB_VERSION=99.0.0\nRUN {PYTHON} -c \"{more}\"\n"
    ))
}

#[test]
fn what_was_run_in_jupyterlab_is_updated_and_what_was_edited_stays() {
    let volume = Volume::new();
    let options = [&*volume.option(), "--env=JUPYTER_TOKEN=x"];
    let first = Container::start(&options, &[]);
    first.wait_for("] ready in ");
    let script = include_bytes!("../support/run_and_save.py");
    first.put("/tmp/run_and_save.py", script, 0o755);
    let words = [PYTHON, "/tmp/run_and_save.py", "49494", "x"];
    let names = ["start.ipynb", "EDITED:data.ipynb"];
    let said = first.exec_ok("jupyter", &[&words[..], &names].concat());
    assert!(!said.contains(": 0 with outputs"), "{said}");
    let status = first.exec_ok("jupyter", &["ai-lab-entrypoint", "notebooks", "status"]);
    for state in [
        "  data.ipynb         changed by you\n",
        "  start.ipynb        only run by you\n",
    ] {
        assert!(status.contains(state), "{status}");
    }
    let read = |container: &Container, name: &str| {
        let text = container.read(&format!("{NOTEBOOKS}/{name}"));
        text.unwrap_or_else(|| panic!("{name} is not there"))
    };
    let [ran, edited] = ["start.ipynb", "data.ipynb"].map(|name| read(&first, name));
    first.stop();
    drop(first);

    let newer = newer();
    let second = Container::start_image(&newer.0, &options, &[]);
    let log = second.wait_for("] ready in ");
    assert!(log.contains(", 1 replaced after you ran them ("), "{log}");
    assert!(
        log.contains("New in your notebooks: 3 updated, 1 newer than yours."),
        "{log}"
    );
    assert!(read(&second, "start.ipynb").contains("What is new"));
    assert_eq!(read(&second, "data.ipynb"), edited);
    let news = read(&second, "0 What is new.md");
    assert!(
        news.contains("- start.ipynb\n") && news.contains("- data.ipynb\n"),
        "{news}"
    );

    let restore = ["ai-lab-entrypoint", "notebooks", "restore", "--kept"];
    let said = second.exec_ok("jupyter", &restore);
    assert!(said.starts_with("start.ipynb: your copy of "), "{said}");
    assert_eq!(read(&second, "start.ipynb"), ran);
}
