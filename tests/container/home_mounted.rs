//! What people mount in HOME for kernels and JupyterLab: it is read, and a volume is the user's.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::password_mounted::{
    HOME, JUPYTER, READ_ONLY, READY, directory, lets, owner, python, volume,
};
use crate::support::docker::{Container, Volume, mounted, run};
use crate::support::few;

const STARTUP: (&str, &str) = ("log-mine.py", "mine = 'it ran'\n");

#[test]
fn startup_files_of_ipython_run_in_a_kernel() {
    let host = directory(&[STARTUP]);
    let place = format!("{HOME}/.ipython/profile_default/startup");
    let rw = volume(host.path(), &place);
    let ro = format!("{rw}:ro");
    // Without root it is as with `matplotlibrc`.
    for options in few(
        1,
        &[
            &[&*ro][..],
            &[&rw],
            &[&ro, "--user=1234"],
            &[&ro, READ_ONLY[0], READ_ONLY[1]],
        ],
    ) {
        let container = Container::start(options, &[]);
        container.wait_for(READY);
        let said = container.visit(&["run", "ailab", "print(mine)"]);
        assert_eq!(said, "it ran", "{options:?}: {}", container.logs());
    }
    assert_eq!(fs::metadata(host.path()).unwrap().uid(), 0);
    // Its configuration, too, where all of it is read-only.
    let all = directory(&[
        (
            "profile_default/ipython_config.py",
            "c.InteractiveShellApp.exec_lines = ['x = 1']\n",
        ),
        ("profile_default/startup/log-mine.py", "mine = 'it ran'\n"),
    ]);
    let mount = format!("{}:ro", volume(all.path(), &format!("{HOME}/.ipython")));
    let container = Container::start(&[&mount], &[]);
    container.wait_for(READY);
    assert_eq!(
        container.visit(&["run", "ailab", "print(mine, x)"]),
        "it ran 1"
    );
}

#[test]
fn a_matplotlibrc_is_read() {
    const LOOK: &str = "import matplotlib; print(matplotlib.rcParams['lines.linewidth'])";
    let place = format!("{HOME}/.config/matplotlib");
    let (_file, alone) = mounted("lines.linewidth: 7\n", &format!("{place}/matplotlibrc"));
    let host = directory(&[("matplotlibrc", "lines.linewidth: 7\n")]);
    let whole = format!("{}:ro", volume(host.path(), &place));
    for options in few(
        1,
        &[
            &[whole.as_str(), "--user=1234"][..],
            &[&whole],
            &[alone.as_str()],
        ],
    ) {
        let container = Container::start(options, &[]);
        container.wait_for(READY);
        let said = container.visit(&["run", "ailab", LOOK]);
        assert_eq!(said, "7.0", "{options:?}: {}", container.logs());
    }
}

#[test]
fn what_is_in_local_is_found_and_a_new_volume_there_is_the_users() {
    const LOOK: &str = "from jupyter_client.kernelspec import KernelSpecManager; \
                        print('mine' in KernelSpecManager().find_kernel_specs())";
    let spec = r#"{"argv": ["python3"], "display_name": "mine", "language": "python"}"#;
    let host = directory(&[("share/jupyter/kernels/mine/kernel.json", spec)]);
    let mount = format!("{}:ro", volume(host.path(), &format!("{HOME}/.local")));
    for options in few(1, &[&[mount.as_str()][..], &[&mount, "--user=1234"]]) {
        let container = Container::start(options, &[]);
        container.wait_for(READY);
        assert_eq!(
            container.visit(&["run", "ailab", LOOK]),
            "True",
            "{}",
            container.logs()
        );
    }
    let new = Volume::new();
    let container = Container::start(&[&format!("--volume={}:{HOME}/.local", new.0)], &[]);
    lets(&container, &[("ailab", "in")]);
    assert_eq!(owner(&container, &format!("{HOME}/.local")), "jupyter");
    assert!(
        !container.logs().contains("cannot be written in HOME"),
        "{}",
        container.logs()
    );
}

#[test]
fn settings_of_jupyterlab_are_read_where_they_cannot_be_written() {
    let name = "@jupyterlab/apputils-extension/themes.jupyterlab-settings";
    let map = directory(&[(&format!("lab/user-settings/{name}"), r#"{"theme": "mine"}"#)]);
    let mount = format!("{}:ro", volume(map.path(), JUPYTER));
    let container = Container::start(&[&mount], &[]);
    container.wait_for(READY);
    let look = format!(
        "import os; print(open(os.environ['JUPYTER_CONFIG_DIR'] + '/lab/user-settings/{name}').read())"
    );
    assert_eq!(
        container.visit(&["run", "ailab", &look]),
        r#"{"theme": "mine"}"#
    );
}

/// A dry run says the same, and changes nothing.
#[test]
fn a_dry_run_tells_what_would_be_handed_over() {
    let (_file, mount) = mounted(&python(), &format!("{JUPYTER}/jupyter_server_config.py"));
    let (code, plan, log) = run(&[&mount], &["--dry-run"]);
    assert_eq!(code, 0, "{log}");
    assert!(plan.contains(&format!("hand over {JUPYTER}\n")), "{plan}");
    assert!(plan.contains("leave it as it is"), "{plan}");
    assert!(!plan.contains("cannot be written in HOME"), "{plan}");
}
