//! What `docs/kubernetes.md` and `examples/kubernetes.yaml` say: every field is one of
//! Kubernetes's, and the pod runs with Podman, which plays a part of those fields. There is no
//! cluster here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::podman::Podman;
use crate::support::blocks::blocks;
use crate::support::docker::{IMAGE, docker_ok, text};
use crate::support::hub::{path, venv};
use crate::support::process::until;

/// What knows the fields of Kubernetes and their types.
const VALIDATE: &[&str] = &["kubernetes-validate==1.37.0"];

/// The fields that the page names in its text only.
const NAMED: &str = "\
os: {name: linux}
hostUsers: false
shareProcessNamespace: true
enableServiceLinks: false
containers:
  - name: ai-lab
    lifecycle: {stopSignal: SIGTERM}
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: FallbackToLogsOnError
";

/// Returns the example with the image of the tests and without what this machine lacks: a
/// network for Podman's users, and control groups that are theirs.
fn example() -> String {
    let mut text = fs::read_to_string(path("examples/kubernetes.yaml")).unwrap();
    for (part, instead) in [
        ("image: ai-lab:dev", format!("image: localhost/{IMAGE}")),
        (
            "          ports:\n            - name: http\n              containerPort: 49494\n",
            String::new(),
        ),
        (
            "          resources:\n            requests: {cpu: 250m, memory: 512Mi}\n            \
             limits: {memory: 2Gi}\n",
            String::new(),
        ),
    ] {
        assert_eq!(text.matches(part).count(), 1, "{part}");
        text = text.replace(part, &instead);
    }
    text
}

fn validate(directory: &Path, name: &str, yaml: &str) -> (bool, String) {
    let file = directory.join(name);
    fs::write(&file, yaml).unwrap();
    let output = Command::new(venv(VALIDATE).join("bin/kubernetes-validate"))
        .arg("--strict")
        .arg(file)
        .output()
        .unwrap();
    (output.status.success(), text(&output))
}

/// Returns a pod with this spec.
fn pod(spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: pod\nspec:\n{spec}")
}

#[test]
fn every_field_of_the_example_and_of_the_page_is_one_of_kubernetes() {
    let directory = tempfile::tempdir().unwrap();
    let example = fs::read_to_string(path("examples/kubernetes.yaml")).unwrap();
    let (ok, said) = validate(directory.path(), "example.yaml", &example);
    assert!(ok, "{said}");
    assert_eq!(said.matches(" passed for resource ").count(), 4, "{said}");

    let mut specs = blocks("docs/kubernetes.md");
    specs.retain(|block| block.first_line() == "# spec of a pod");
    assert_eq!(specs.len(), 5, "{specs:?}");
    for spec in specs.iter().map(|block| &*block.text).chain([NAMED]) {
        let (ok, said) = validate(directory.path(), "pod.yaml", &pod(spec));
        assert!(ok, "{said}{spec}");
    }

    let wrong = example.replace("fsGroupChangePolicy", "fsGroupChange");
    let (ok, said) = validate(directory.path(), "wrong.yaml", &wrong);
    assert!(!ok && said.contains("fsGroupChange"), "{said}");
}

pub fn the_example(podman: &Podman) {
    let directory = podman.home.path();
    let file = directory.join("pod.yaml");
    let play = |yaml: &str| {
        fs::write(&file, yaml).unwrap();
        podman.ok(&["play", "kube", "--network=none", file.to_str().unwrap()]);
    };
    let name = "ai-lab-pod-0-ai-lab";
    let code = || podman.ok(&["inspect", "--format={{.State.ExitCode}}", name]);

    play(&example());
    until("it is ready", || {
        let (_, stdout, stderr) = podman.run(&["logs", name]);
        (stdout + &stderr).contains("] ready in ")
    });
    // Podman has made its own health check of the liveness probe.
    podman.ok(&["healthcheck", "run", name]);
    let ask = "id; cat /proc/1/status; ls /home/jupyter/notebooks; touch /home/jupyter/x";
    let (_, said, stderr) = podman.run(&["exec", name, "sh", "-c", ask]);
    for part in [
        "uid=1000(jupyter) gid=1000(jupyter) groups=1000(jupyter)\n",
        "CapPrm:\t0000000000000000\n",
        "CapBnd:\t0000000000000000\n",
        "NoNewPrivs:\t1\n",
        "Seccomp:\t2\n",
        "start.ipynb\n",
    ] {
        assert!(said.contains(part), "{part:?} is missing in {said}");
    }
    assert!(stderr.contains("Read-only file system"), "{stderr}");
    podman.ok(&["pod", "stop", "--time=10", "ai-lab-pod-0"]);
    assert_eq!(code().trim(), "0");
    podman.ok(&["pod", "rm", "ai-lab-pod-0"]);
    podman.ok(&["volume", "rm", "ai-lab-notebooks"]);

    // The file of the kubelet, which everybody may write, and a setting that is wrong.
    let words = directory.join("termination-log");
    fs::write(&words, "").unwrap();
    fs::set_permissions(&words, fs::Permissions::from_mode(0o666)).unwrap();
    let failing = example()
        .replace(
            "          env:\n",
            "          env:\n            - name: AI_LAB_STOP_TIMEOUT\n              value: soon\n",
        )
        .replace(
            "          volumeMounts:\n",
            "          volumeMounts:\n            - name: words\n              mountPath: /dev/termination-log\n",
        )
        .replace(
            "      volumes:\n",
            &format!(
                "      restartPolicy: Never\n      volumes:\n        - name: words\n          \
                 hostPath: {{path: {}, type: File}}\n",
                words.display()
            ),
        );
    play(&failing);
    podman.ok(&["wait", name]);
    assert_eq!(code().trim(), "78");
    let said = fs::read_to_string(&words).unwrap();
    assert!(
        said.contains("AI_LAB_STOP_TIMEOUT") && said.contains("\"soon\""),
        "{said}"
    );
}

/// The volume is read-only and nothing in it is the user's, as the kubelet mounts one.
pub fn defaults_of_an_image(podman: &Podman) {
    let directory = podman.home.path();
    fs::write(directory.join("course.ipynb"), "{}").unwrap();
    fs::write(
        directory.join("Containerfile"),
        "FROM scratch\nCOPY course.ipynb /\n",
    )
    .unwrap();
    let place = directory.to_str().unwrap();
    podman.ok(&[
        "build",
        "--isolation=chroot",
        "--tag=localhost/course",
        place,
    ]);
    let run = [
        "run",
        "--rm",
        "--network=none",
        "--no-healthcheck",
        "--user=1000:1000",
        "--cap-drop=ALL",
        "--mount=type=image,source=localhost/course,destination=/opt/course",
        "--env=NOTEBOOK_DEFAULTS=/opt/course",
        IMAGE,
        "cat",
        "/home/jupyter/notebooks/course.ipynb",
    ];
    let (code, stdout, stderr) = podman.run(&run);
    assert_eq!((code, &*stdout), (0, "{}"), "{stderr}");
    assert!(stderr.contains("notebooks: 1 installed"), "{stderr}");
}

/// The variables that Kubernetes makes of Services, here of two with names that mean something.
#[test]
fn the_variables_of_services_change_nothing() {
    let mut options = vec!["run".to_owned(), "--rm".into(), "--user=1000:1000".into()];
    for service in ["AI_LAB", "JUPYTER", "NOTEBOOKS"] {
        for (name, value) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "80"),
            ("SERVICE_PORT_HTTP", "80"),
            ("PORT", "tcp://10.0.0.1:80"),
            ("PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("PORT_80_TCP_PROTO", "tcp"),
            ("PORT_80_TCP_PORT", "80"),
            ("PORT_80_TCP_ADDR", "10.0.0.1"),
        ] {
            options.push(format!("--env={service}_{name}={value}"));
        }
    }
    options.extend([IMAGE, "ai-lab-entrypoint", "config", "show", "--origin"].map(str::to_owned));
    let shown = docker_ok(options.iter().map(String::as_str));
    let of_a_service = |line: &&str| line.contains("10.0.0.1") || line.contains("_PORT");
    assert_eq!(shown.lines().find(of_a_service), None, "{shown}");
}
