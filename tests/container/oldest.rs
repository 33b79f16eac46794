//! JupyterLab 4.2, the oldest one that is supported, in an image derived from ours.

use crate::support::docker::{Container, Derived, IMAGE, docker};

#[test]
fn jupyterlab_4_2_works_from_the_welcome_to_a_clean_stop() {
    let image = Derived::new(&format!(
        "FROM {IMAGE}\n\
         RUN /home/jupyter/jupyterenv/bin/pip install --quiet --no-cache-dir 'jupyterlab==4.2.*'\n"
    ));
    let options = ["--health-interval=1s"];
    let container = Container::start_image(&image.0, &options, &["--stop-timeout", "50"]);
    let log = container.wait_for("] ready in ");
    assert!(log.contains("http://localhost:49494\n"), "{log}");
    let lab = ["/home/jupyter/jupyterenv/bin/jupyter-lab", "--version"];
    let version = container.exec_ok("jupyter", &lab);
    assert!(version.starts_with("4.2."), "{version}");
    container.lets(&[("wrong", "out"), ("ailab", "in")]);
    assert_eq!(container.visit(&["run", "ailab", "print(6 * 7)"]), "42");
    let said = container.exec_ok("root", &["ai-lab-entrypoint", "healthcheck"]);
    assert_eq!(said, "healthy: http://127.0.0.1:49494/api answers\n");
    container.until("Docker says healthy", || {
        let format = "{{.State.Health.Status}}";
        let said = docker(["inspect", "--format", format, &container.name]);
        said.stdout.starts_with(b"healthy").then_some(())
    });
    container.exec_ok("jupyter", &["ai-lab-entrypoint", "restart"]);
    container.wait_for_nth("] ready in ", 2);
    assert_eq!(container.visit(&["login", "ailab"]), "in");
    // The server ends by itself, long before it would be killed.
    crate::support::docker::docker_ok(["stop", "--time", "60", &container.name]);
    assert_eq!(container.exit_code(), 0, "{}", container.logs());
    let left = container.changed();
    assert!(!left.contains("kernel-"), "{left}");
}
