//! The table of `docs/users.md`, *When something does not work*: each trouble is brought
//! about, and what people then see has the words by which they look for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::support::blocks as pages;
use crate::support::certificate::Pair;
use crate::support::docker::{Container, Volume, run};

/// Words of other programs, not of this project's.
const OTHERS: [&str; 11] = [
    "address already in use",
    "port is already allocated",
    "No user exists for uid 1001",
    "cannot find name for user ID",
    "can't start new thread",
    "Blocking Cross Origin",
    "Permission denied",
    "conda: not found",
    "sudo: not found",
    "could not select device driver",
    "dubious ownership",
];

/// A directory that everybody can write, mounted at `place`.
struct Mounted(tempfile::TempDir, String);

impl Mounted {
    fn new(place: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path(), 0o777);
        let option = format!("--volume={}:{place}", directory.path().display());
        Self(directory, option)
    }

    fn write(&self, name: &str, content: &str) {
        let place = self.0.path().join(name);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        open(place.parent().unwrap(), 0o777);
        fs::write(&place, content).unwrap();
        open(&place, 0o755);
    }
}

fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The words of the table's first column.
fn words() -> Vec<String> {
    let page = pages::file("docs/users.md");
    let (_, table) = page.split_once("| What you see |").unwrap();
    let rows = table.lines().skip(2).take_while(|row| row.starts_with('|'));
    let cells = rows.map(|row| row.split('|').nth(1).unwrap());
    let quoted = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    quoted.map(str::to_owned).collect()
}

#[test]
fn people_see_the_words_of_the_table() {
    const NOTEBOOKS: &str = "/home/jupyter/notebooks";
    let volume = Volume::new();
    let mount = volume.option();
    let read_only = format!("{mount}:ro");
    let full = format!("--mount=type=tmpfs,destination={NOTEBOOKS},tmpfs-size=8192");
    let made_by_root = format!("--mount=type=tmpfs,destination={NOTEBOOKS}");
    let socket = Mounted::new("/sockets");
    let _listener = UnixListener::bind(socket.0.path().join("s")).unwrap();
    open(&socket.0.path().join("s"), 0o600);
    let newer = Mounted::new(NOTEBOOKS);
    newer.write(".ai-lab/manifest.sha256", "# ai-lab notebooks 99\n");
    let config = Mounted::new("/config");
    config.write(
        "jupyter_server_config.json",
        "{\n  \"IdentityProvider\": {,\n",
    );
    let python = Mounted::new("/python");
    python.write("jupyter_server_config.py", "if True: pass\n");
    let eater = Mounted::new("/eater");
    eater.write("jupyter_server_config.py", "x = bytearray(1 << 30)\n");
    let venv = |start: &str| {
        let venv = Mounted::new("/opt/ai-lab/jupyterenv");
        venv.write("bin/jupyter-lab", start);
        venv
    };
    let lost = venv("#!/nowhere/python\n");
    // EM_M32 of elf(5), of which there are none any more.
    let foreign = venv("\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x01\0");
    let taken = "import os, socket
listener = socket.create_server(('', 49494))
listener.set_inheritable(True)
os.execvp('ai-lab-entrypoint', ['ai-lab-entrypoint', 'jupyter-lab'])";

    let home = Mounted::new("/home/jupyter");
    home.write("jupyterenv/bin/python", "");
    let data = Mounted::new("/home/jupyter/notebooks/data");
    data.write("table.csv", "");
    open(data.0.path(), 0o755);

    let live = Mounted::new("/live");
    std::os::unix::fs::symlink("../archive/cert.pem", live.0.path().join("cert.pem")).unwrap();

    let pair = Mounted::new("/pair");
    pair.write("cert.pem", &Pair::new().certificate);
    pair.write("key.pem", &Pair::new().key);

    let passwords = [
        "--env=JUPYTER_PASSWORD=a",
        "--env=JUPYTER_PASSWORD_FILE=/none",
    ];
    let both = [
        "only one of them can be effective; remove all but one",
        "cannot be read: No such file or directory",
    ];
    let other = [
        "the interpreter that it names, ",
        " does not: it may be made for another image or directory",
    ];
    let closed = "--docker-socket=/sockets/s";
    let end: &[&str] = &["true"];
    let server: &[&str] = &[];
    let mut seen = Vec::new();
    for (options, command, code, words) in [
        (&passwords[..], end, 78, &both[..]),
        (
            &["--env=JUPYTER_PASSWORD="],
            end,
            78,
            &["the variable is there and empty"],
        ),
        (
            &[&socket.1],
            &[closed, "true"],
            0,
            &["No rw permissions for group in"],
        ),
        (
            &["--user=1234", &mount],
            end,
            0,
            &["nothing can be saved there"],
        ),
        (
            &[&read_only],
            end,
            0,
            &["is read-only: the notebook defaults were left alone"],
        ),
        (&[&full], end, 0, &["the volume is full"]),
        (
            &[&made_by_root],
            &["--volume-owner=adopt", "true"],
            1,
            &["it belongs to root (uid 0)"],
        ),
        (
            &[&newer.1],
            end,
            0,
            &["was written by a newer version of this program"],
        ),
        (
            &[&config.1, "--env=JUPYTER_CONFIG_DIR=/config"],
            end,
            1,
            &["is not valid JSON"],
        ),
        (
            &[
                &eater.1,
                "--env=JUPYTER_CONFIG_DIR=/eater",
                "--memory=400m",
                "--memory-swap=400m",
            ],
            &["--rescue", "never", "jupyter-lab"],
            137,
            &["out of memory:", "The reason:"],
        ),
        (
            &[&python.1, "--env=JUPYTER_CONFIG_DIR=/python"],
            end,
            0,
            &["the default password is not set: ", " cannot be evaluated"],
        ),
        (&[&lost.1], server, 127, &other),
        (
            &[&foreign.1],
            server,
            126,
            &["is made for another kind of processor"],
        ),
        (
            &[&home.1],
            end,
            0,
            &["is mounted, but the notebooks are in"],
        ),
        (
            &[&home.1],
            &["--venv=/home/jupyter/jupyterenv", "true"],
            0,
            &["is a copy in a volume, which no newer image updates"],
        ),
        (&[&data.1], end, 0, &["is mounted, and cannot be written"]),
        (
            &[&live.1],
            &[
                "jupyter-lab",
                "--keyfile=/k",
                "--certfile=/live/cert.pem",
                "--notebook-dir=/n",
            ],
            78,
            &[
                "settings: ServerApp.keyfile (from ",
                " cannot be read",
                "ServerApp.root_dir (from ",
                " is not a directory",
                "): ",
                "is a link to ",
                ", which is not here",
            ],
        ),
        (
            &[&pair.1],
            &["--tls-cert=/pair/cert.pem", "--tls-key=/pair/key.pem"],
            78,
            &["its private key does not belong to the certificate"],
        ),
        (
            &["--env=JUPYTER_PASSWORD_FILE=/tmp"],
            end,
            78,
            &["it is a directory (an engine makes one"],
        ),
        (
            &[],
            &["jupyter", "notebook"],
            127,
            &["jupyter-notebook was not found"],
        ),
        (&[], &["--NotebookApp.token="], 2, &["unexpected argument"]),
        (&[], &["--notebooks=C:/x"], 78, &["is a path of Windows"]),
        (
            &["--entrypoint=python3", "--ulimit=nofile=400:400"],
            &["-c", taken],
            1,
            &[
                "kernels may not start",
                "port 49494 is not available",
                "terminated with error code 1",
            ],
        ),
    ] {
        let (ended, stdout, stderr) = run(options, command);
        assert_eq!(ended, code, "{options:?} {command:?}: {stdout}{stderr}");
        for part in words {
            assert!(stderr.contains(part), "{part:?} is missing in {stderr}");
            seen.push((*part).to_owned());
        }
    }
    let wrong = Mounted::new("/wrong");
    wrong.write(
        "jupyter_server_config.py",
        "c.ServerApp.max_body_size = undefined_name\n",
    );
    let themes = "lab/user-settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings";
    wrong.write(themes, "{\"theme\": ");
    let options = [
        &wrong.1,
        "--env=JUPYTER_CONFIG_DIR=/wrong",
        "--env=AI_LAB_RESCUE=never",
        "--env=AI_LAB_PASSWORD=mine",
        "--env=JUPYTER_PROT=8888",
    ];
    let command = ["jupyter-lab", "--ServerApp.password=mine"];
    let container = Container::start(&options, &command);
    for part in [
        "is not a hash, so nobody can log in with it",
        "sets no password here",
        "is not a setting and has no effect",
        "JupyterLab shows no page",
        "none of its settings is effective",
    ] {
        container.wait_for(part);
        seen.push(part.to_owned());
    }
    for written in words() {
        // An ellipsis stands for a name.
        for part in written.split('…') {
            let known = seen.iter().any(|seen| seen == part);
            assert!(known || OTHERS.contains(&part), "who says {part:?}?");
        }
    }
}
