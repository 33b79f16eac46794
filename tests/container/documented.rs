//! What README.md and docs/*.md tell people to type does what they say: every code block
//! is run here, or it is named here which test runs it. A block nobody knows fails.

use crate::reader::Do::{Builds, ByHand, Detaches, IsBuiltIn, Proves, Says, Serves, Types};
use crate::reader::{Do, Reader};
use crate::support::blocks as pages;
use crate::support::blocks::{Block, blocks, file};
use crate::support::docker::docker;

const WELCOME: &str = "The server for Jupyter has been started successfully.";

const README: &[(&str, Do)] = &[
    (
        "scripts/run",
        Proves(
            "container/one_command.rs",
            "fn in_docker_it_builds_starts_and_ends()",
        ),
    ),
    (
        "scripts/image",
        Proves("../scripts/test", "scripts/image ai-lab:test"),
    ),
    (
        "docker run --rm -p 127.0.0.1:49494:49494 -v ai-lab-notebooks:/home/jupyter/notebooks ai-lab:dev",
        Serves(
            "ailab",
            &["The default password is \"ailab\".", "4 installed"],
        ),
    ),
    (
        "docker run -d --name ai-lab -p 49494:49494 -v",
        Detaches("choose one"),
    ),
    (
        "docker logs ai-lab",
        Says(&[WELCOME, "4 current", "ready, for ", "ai-lab\n"]),
    ),
    (
        "c.DockerSpawner.image = \"ai-lab:dev\"",
        Proves("container/hub.rs", "fn an_image_and_no_cmd_is_enough("),
    ),
];

const USERS: &[(&str, Do)] = &[
    (
        "docker run --rm -p 127.0.0.1:8888:8888 -v",
        Serves("ailab", &["http://localhost:8888"]),
    ),
    (
        "docker run --rm -p 127.0.0.1:49494:49494 -v \"$PWD\":",
        Serves(
            "ailab",
            &["Adopted the owner of /home/jupyter/notebooks: 1234:1234"],
        ),
    ),
    (
        "docker run --rm -p 127.0.0.1:49494:49494 -v ai-lab-notebooks:/home/jupyter/notebooks \\",
        Serves("ailab", &["Enabled access to /var/run/docker.sock"]),
    ),
    (
        "docker run --rm -it",
        Types(&[("$ ", "id -un; pwd; exit\n")], &["jupyter\n/\n"]),
    ),
    (
        "docker run --rm -v \"$PWD\":/home/jupyter/notebooks -w",
        Says(&["Writing ", "to start.ipynb"]),
    ),
    (
        "docker run --rm -v ai-lab-notebooks:/home/jupyter/notebooks ai-lab:dev --dry-run",
        Says(&["/opt/ai-lab/jupyterenv/bin/jupyter-lab"]),
    ),
    (
        "{",
        Proves("container/dev_container.rs", "--group-add=1000"),
    ),
    (
        "docker exec -it ai-lab ai-lab-entrypoint password set",
        Types(
            &[
                ("New password: ", "of my own\n"),
                ("Repeat the password: ", "of my own\n"),
                ("Restart? [y/N] ", "n\n"),
            ],
            &["the password is set"],
        ),
    ),
    (
        "docker exec -it ai-lab ai-lab-entrypoint password check",
        Types(
            &[
                ("Password: ", "of my own\n"),
                ("Password: ", "of my own\n"),
                ("Repeat the password: ", "of my own\n"),
            ],
            &["this is the effective password", "argon2:$argon2id$v=19$"],
        ),
    ),
    (
        "docker exec ai-lab ai-lab-entrypoint notebooks status",
        Says(&["start.ipynb", "restored", "start.yours.ipynb"]),
    ),
    ("docker stop ai-lab", Says(&["ai-lab\nai-lab\n"])),
];

const OPERATORS: &[(&str, Do)] = &[
    (
        "docker exec ai-lab ai-lab-entrypoint status --json",
        Says(&["\"boot\"", "\"claim\"", "\"server\""]),
    ),
    (
        "docker run -d --name ai-lab -p 127.0.0.1:49494:49494 ai-lab:dev",
        Proves("container/readiness.rs", "--ServerApp.base_url=/deep/er/"),
    ),
    ("location /lab1/ {", ByHand("Tried with nginx")),
    (
        "docker run -d --name ai-lab --stop-timeout 30",
        Detaches("ailab"),
    ),
    (
        "docker exec ai-lab ai-lab-entrypoint restart",
        Says(&["the server is being restarted"]),
    ),
    (
        "docker exec ai-lab ai-lab-entrypoint healthcheck",
        Says(&["healthy: http://127.0.0.1:49494/api answers"]),
    ),
    (
        "docker run --rm --env AI_LAB_LOG_FORMAT=json",
        Says(&["\",\"level\":\"info\",\"logger\":\"ai-lab\",\"message\":\"Disabled coredumps\"}"]),
    ),
    (
        "docker exec ai-lab ai-lab-entrypoint config show",
        Says(&["port = 49494"]),
    ),
    (
        "docker run -d --name ai-lab -p 49494:49494 -v \"$PWD/password.txt\"",
        Detaches("of a file"),
    ),
    (
        "docker run --rm ai-lab:dev --version",
        Says(&["ai-lab-entrypoint 0."]),
    ),
];

const IMAGES: &[(&str, Do)] = &[
    ("FROM ai-lab:dev", Builds),
    ("#!/bin/sh", IsBuiltIn),
    (
        "docker run --rm my-ai-lab config check",
        Says(&[
            "nothing is wrong",
            "install: ours.ipynb",
            "hooks/user/10-threads",
        ]),
    ),
];

const HUB: &[(&str, Do)] = &[
    (
        "c.DockerSpawner.image",
        Proves("container/hub.rs", "fn an_image_and_no_cmd_is_enough("),
    ),
    (
        "scripts/image",
        Proves("container/hub.rs", "fn the_lines_of_the_page_start_a_hub()"),
    ),
    (
        "FROM ai-lab:dev",
        Proves("container/hub_old.rs", "jupyterhub==5.2.1"),
    ),
    (
        "Mount(",
        ByHand("NFS volumes without a hub: `tests/other_world/nfs`"),
    ),
    (
        "docker secret create",
        Proves(
            "container/hub_swarm.rs",
            "fn a_secret_is_the_password_of_a_single_service()",
        ),
    ),
];

const POD: Do = Proves(
    "container/kubernetes.rs",
    "fn every_field_of_the_example_and_of_the_page_is_one_of_kubernetes()",
);

const KUBERNETES: &[(&str, Do)] = &[
    ("kubectl apply", ByHand("No cluster was at hand.")),
    ("# spec of a pod", POD),
    ("# spec of a pod", POD),
    ("kubectl get pod", ByHand("No cluster was at hand.")),
    ("# spec of a pod", POD),
    ("# spec of a pod", POD),
    ("# spec of a pod", POD),
    ("hub:", ByHand("checked once with the schema of the chart")),
];

const MIGRATING: &[(&str, Do)] = &[(
    "docker run --rm -p 127.0.0.1:49494:49494 -v ai-lab-notebooks:/root/notebooks",
    Serves("ailab", &["The server runs as root", "to /root/notebooks"]),
)];

/// Takes hours, and is therefore not run with the tests.
const BY_SCRIPT: Do = Proves(
    "../scripts/by-hand",
    "(\"contributing\", \"faults\", \"growth\", \"releasing\")",
);

const CONTRIBUTING: &[(&str, Do)] = &[
    ("cargo doc --open", BY_SCRIPT),
    ("scripts/test --quick", BY_SCRIPT),
    ("cargo test --test process exit_codes", BY_SCRIPT),
    ("scripts/own-engine", BY_SCRIPT),
    ("scripts/fuzz 10", BY_SCRIPT),
    ("scripts/other-world", BY_SCRIPT),
    ("AI_LAB_WRITE_DOCS=1", BY_SCRIPT),
    ("scripts/bench --quick", BY_SCRIPT),
    ("scripts/profile", BY_SCRIPT),
    ("scripts/first-minutes", BY_SCRIPT),
];

const FAULTS: &[(&str, Do)] = &[
    ("scripts/faults 600s", BY_SCRIPT),
    ("AI_LAB_SEED=7", BY_SCRIPT),
    ("scripts/daemon-restart", BY_SCRIPT),
];

const GROWTH: &[(&str, Do)] = &[("scripts/growth", BY_SCRIPT)];

const RELEASING: &[(&str, Do)] = &[
    ("scripts/release", BY_SCRIPT),
    ("scripts/image ai-lab:0.1.0", BY_SCRIPT),
];

const PAGES: &[(&str, &[(&str, Do)])] = &[
    ("README.md", README),
    ("docs/contributing.md", CONTRIBUTING),
    ("docs/faults.md", FAULTS),
    ("docs/figures.md", &[]),
    ("docs/growth.md", GROWTH),
    ("docs/images.md", IMAGES),
    ("docs/jupyterhub.md", HUB),
    ("docs/kubernetes.md", KUBERNETES),
    ("docs/limits.md", &[]),
    ("docs/migrating.md", MIGRATING),
    ("docs/operators.md", OPERATORS),
    ("docs/releasing.md", RELEASING),
    ("docs/security.md", &[]),
    ("docs/users.md", USERS),
];

#[test]
fn no_block_of_any_page_is_unknown() {
    let known: Vec<&str> = PAGES.iter().map(|(page, _)| *page).collect();
    assert_eq!(
        pages::pages(),
        known.into_iter().map(str::to_owned).collect::<Vec<_>>()
    );
    for (page, rows) in PAGES {
        let blocks = blocks(page);
        let firsts: Vec<&str> = blocks.iter().map(Block::first_line).collect();
        let rows_firsts: Vec<&str> = rows.iter().map(|(first, _)| *first).collect();
        assert_eq!(
            firsts.len(),
            rows.len(),
            "{page}: {firsts:#?}, known: {rows_firsts:#?}"
        );
        for (first, (known, what)) in firsts.iter().zip(*rows) {
            assert!(
                first.starts_with(known),
                "{page}: {first:?} is not {known:?}"
            );
            match what {
                Proves(test, words) => {
                    assert!(
                        file(&format!("tests/{test}")).contains(words),
                        "{test}: {words}"
                    );
                }
                ByHand(words) => assert!(file(page).contains(words), "{page}: {words}"),
                _ => {}
            }
        }
    }
}

/// Types every block of a page, in its order.
fn follow(page: &str, before: impl Fn(&Reader, &Block)) -> Reader {
    let reader = Reader::new();
    let (_, rows) = PAGES.iter().find(|(name, _)| *name == page).unwrap();
    for (block, (_, what)) in blocks(page).iter().zip(*rows) {
        before(&reader, block);
        reader.follow(block, what);
    }
    reader
}

#[test]
fn what_the_readme_says() {
    let reader = follow("README.md", |_, _| {});
    assert_eq!(reader.ai_lab.exit_code(), 0);
}

#[test]
fn what_users_are_told() {
    let reader = follow("docs/users.md", |reader, block| {
        if block.text.contains("notebooks status") {
            reader.have_ai_lab();
            let mine = "echo mine >/home/jupyter/notebooks/start.ipynb";
            reader.ai_lab.exec_ok("jupyter", &["sh", "-c", mine]);
        }
    });
    use std::os::unix::fs::MetadataExt;
    let brought = reader.directory.path().join("start.ipynb");
    assert_eq!(std::fs::metadata(brought).unwrap().uid(), 1234);
    assert!(!docker(["inspect", &reader.ai_lab.name]).status.success());
}

#[test]
fn what_operators_are_told() {
    let reader = follow("docs/operators.md", |_, _| {});
    assert_eq!(reader.ai_lab.stop(), 0);
}

#[test]
fn what_authors_of_images_are_told() {
    let reader = follow("docs/images.md", |_, _| {});
    let shown = "echo threads: $OMP_NUM_THREADS; ls /home/jupyter/notebooks; \
                 /opt/ai-lab/jupyterenv/bin/python3 -c 'import tabulate'";
    let said = reader
        .ai_lab
        .exec_ok("root", &["ai-lab-entrypoint", "sh", "-ec", shown]);
    assert!(!said.contains("threads: \n"), "{said}");
    assert!(said.contains("ours.ipynb"), "{said}");
}

#[test]
fn what_those_who_come_from_elsewhere_are_told() {
    follow("docs/migrating.md", |_, _| {});
}
