//! The pod that KubeSpawner makes of `examples/kubernetes.py`, and a container that may
//! do as little as that pod. There is no cluster here.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::docker::{Volume, docker_ok, text};
use crate::support::hub::{Hub, NEWEST, path, venv};

/// What KubeSpawner makes: see `pod.py`.
fn made() -> Value {
    let output = Command::new(venv(NEWEST).join("bin/python"))
        .arg(path("tests/support/pod.py"))
        .arg(path("examples/kubernetes.py"))
        .output()
        .unwrap();
    let pod = serde_json::from_slice(&output.stdout);
    pod.unwrap_or_else(|_| panic!("{}", text(&output)))
}

#[test]
fn the_pod_has_nothing_of_roots_and_probes_that_cost_nothing() {
    let made = made();
    let pod = &made["pod"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(pod["containers"].as_array().unwrap().len(), 1);
    assert_eq!(
        container["securityContext"],
        json!({
            "runAsUser": 1000,
            "runAsGroup": 1000,
            "runAsNonRoot": true,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
    assert_eq!(pod["securityContext"], json!({"fsGroup": 1000}));
    assert_eq!(pod["automountServiceAccountToken"], false);

    // Neither is named, so both are the image's.
    assert_eq!(container["command"], Value::Null);
    assert_eq!(container["args"], Value::Null);
    assert_eq!(container["ports"][0]["containerPort"], 8888);

    let asks = json!({"command": ["/usr/local/bin/ai-lab-entrypoint", "healthcheck"]});
    let seconds = |probe: &str| {
        let probe = &container[probe];
        assert_eq!(probe["exec"], asks, "{probe}");
        let times = probe["failureThreshold"].as_u64().unwrap_or(3);
        probe["periodSeconds"].as_u64().unwrap() * times
    };
    // As long as --ready-timeout, as the hub's patience with a start, and longer.
    assert_eq!(seconds("startupProbe"), 120);
    assert_eq!(seconds("readinessProbe"), 15);
    assert_eq!(seconds("livenessProbe"), 120);

    // More than --stop-timeout and --drain-timeout, which are 7 s and 1.5 s.
    assert_eq!(pod["terminationGracePeriodSeconds"], 10);
    assert_eq!(made["grace"], 10);

    assert_eq!(
        pod["volumes"],
        json!([
            {"name": "notebooks", "persistentVolumeClaim": {"claimName": "ai-lab-alice"}},
            {"name": "tmp", "emptyDir": {}},
        ])
    );
    assert_eq!(
        container["volumeMounts"],
        json!([
            {"name": "notebooks", "mountPath": "/home/jupyter/notebooks"},
            {"name": "tmp", "mountPath": "/tmp"},
        ])
    );
}

/// The pod's security context in the words of Docker's API.
fn as_little(made: &Value) -> String {
    let pod = &made["pod"]["spec"];
    let context = &pod["containers"][0]["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false);
    let user = format!("{}:{}", context["runAsUser"], context["runAsGroup"]);
    let grace = &pod["terminationGracePeriodSeconds"];
    let group = &pod["securityContext"]["fsGroup"];
    let dropped = &context["capabilities"]["drop"];
    assert_eq!(context["readOnlyRootFilesystem"], true);
    format!(
        "c.DockerSpawner.extra_create_kwargs = {{'user': '{user}', 'stop_timeout': {grace}}}\n\
         c.DockerSpawner.extra_host_config = {{\n\
         \x20   'read_only': True,\n\
         \x20   'security_opt': ['no-new-privileges'],\n\
         \x20   'cap_drop': {dropped},\n\
         \x20   'group_add': ['{group}'],\n\
         \x20   'tmpfs': {{'/tmp': ''}},\n\
         }}\n"
    )
}

#[test]
fn a_container_that_may_do_no_more_than_the_pod_works() {
    let made = made();
    let volume = Volume::new();
    // What fsGroup does to a new volume.
    let mount = volume.option();
    let group = made["pod"]["spec"]["securityContext"]["fsGroup"].to_string();
    let give =
        format!("chgrp {group} /home/jupyter/notebooks && chmod 2775 /home/jupyter/notebooks");
    let image = crate::support::docker::IMAGE;
    docker_ok(["run", "--rm", &mount, "--entrypoint=sh", image, "-c", &give]);

    let hub = Hub::start(&format!(
        "{}c.DockerSpawner.volumes = {{'{}': '/home/jupyter/notebooks'}}\n",
        as_little(&made),
        volume.0
    ));
    assert_eq!(hub.ask(&["start", "alice"]), "ready");
    assert_eq!(
        hub.ask(&["page", "alice"]),
        "/user/alice/lab/tree/start.ipynb"
    );
    let save = "open('mine.txt', 'w').write('')\nprint(6 * 7)";
    assert_eq!(hub.ask(&["run", "alice", save]), "42");
    let files = hub.ask(&["files", "alice"]);
    assert!(files.contains("mine.txt start.ipynb"), "{files}");

    let container = hub.container("alice");
    // As the kubelet would: with the pod's own user.
    let asked = docker_ok(["exec", &container.name, "ai-lab-entrypoint", "healthcheck"]);
    assert!(asked.starts_with("healthy"), "{asked}");
    let said = docker_ok(["top", &container.name, "-eo", "uid,pid,args"]);
    for process in said.lines().skip(1) {
        assert!(process.trim().starts_with("1000 "), "{said}");
    }
    let format = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}";
    let really = docker_ok(["inspect", "--format", format, &container.name]);
    assert_eq!(really.trim(), "1000:1000 true [ALL]");
    assert_eq!(hub.ask(&["stop", "alice"]), "stopped");
}
