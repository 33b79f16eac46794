//! A Dev Container of VS Code with `overrideCommand: false`, as docs/users.md has it. VS Code is not
//! here: the test does to the image and types what its Dev Containers do.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use crate::support::docker::{Container, Derived, IMAGE};

/// The person on the machine, whose ids VS Code gives to the user of the image.
const PERSON: u32 = 1234;

/// What runs in place of the entrypoint, and becomes it.
const SHELL: &str = "echo Container started\ntrap \"exit 0\" 15\nexec \"$@\"\n\
                     while sleep 1 & wait $!; do :; done";

#[test]
fn the_lab_runs_beside_vs_code_on_the_persons_own_files() {
    let image = Derived::new(&format!(
        "FROM {IMAGE}\n\
         RUN sed -i 's/^jupyter:x:1000:1000:/jupyter:x:{PERSON}:{PERSON}:/' /etc/passwd \
         && sed -i 's/^jupyter:x:1000:/jupyter:x:{PERSON}:/' /etc/group \
         && chown -R {PERSON}:{PERSON} /home/jupyter\n"
    ));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.py"), "").unwrap();
    for path in [folder.path(), &folder.path().join("mine.py")] {
        chown(path, Some(PERSON), Some(PERSON)).unwrap();
    }
    let mount = format!(
        "--volume={}:/home/jupyter/notebooks",
        folder.path().display()
    );
    let options = ["--entrypoint=/bin/sh", "--group-add=1000", &mount];
    let entrypoint = ["/usr/local/bin/ai-lab-entrypoint", "jupyter-lab"];
    let command = [&["-c", SHELL, "-"][..], &entrypoint].concat();
    let container = Container::start_image(&image.0, &options, &command);
    container.wait_for("] ready in ");

    let comm = container.exec_ok("root", &["cat", "/proc/1/comm"]);
    assert_eq!(comm, "ai-lab-entrypoi\n");
    // What VS Code's own processes and terminals do, and what a notebook does.
    let packages = "/opt/ai-lab/jupyterenv/lib/python3*/site-packages";
    let typed = format!("cd /home/jupyter/notebooks; touch typed; test -w {packages}");
    container.exec_ok("jupyter", &["sh", "-euc", &typed]);
    let code = format!(
        "import glob, os; open('run', 'w').close(); \
         print(os.access(glob.glob('{packages}')[0], os.W_OK))"
    );
    assert_eq!(container.visit(&["run", "ailab", &code]), "True");
    for name in ["mine.py", "typed", "run", "start.ipynb"] {
        let owner = fs::metadata(folder.path().join(name)).unwrap().uid();
        assert_eq!(owner, PERSON, "{name}");
    }
    assert_eq!(container.stop(), 0);
}
