//! A chosen password is nowhere that the user of the server, or a reader of the log,
//! could find it: no log, argv, environment, file or memory.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::support::docker::{Container, docker_ok, run};
use crate::support::repeated;

const READY: &str = "] ready in ";
const CONFIG: &str = "/home/jupyter/.jupyter/jupyter_server_config.json";

/// Reads needles from stdin, then everything that this user may read: all of `/proc`
/// with the memory of every process but its own, and each file younger than PID 1.
/// Says where a needle was, and in the end how much it looked at.
const SEARCH: &str = r"
import os, stat, sys
needles = [line.encode() for line in sys.stdin.read().split()]
memory = sys.argv[1] == 'memory'
seen = files = 0

def search(path, data):
    if any(needle in data for needle in needles): print('found in', path)

def processes():
    for pid in filter(str.isdigit, os.listdir('/proc')):
        if int(pid) != os.getpid(): yield pid

for pid in processes():
    for place, _, names in os.walk(f'/proc/{pid}', onerror=None):
        if '/fd' in place or '/map_files' in place or '/net' in place: continue
        for name in names:
            path = f'{place}/{name}'
            if name in ('mem', 'pagemap', 'clear_refs') or os.path.islink(path): continue
            try:
                with open(path, 'rb') as file: data = file.read(1 << 20)
            except OSError: continue
            seen += name == 'environ'
            search(path, data)
    if not memory: continue
    try:
        regions = open(f'/proc/{pid}/maps').read().splitlines()
        with open(f'/proc/{pid}/mem', 'rb') as file:
            for region in regions:
                where, mode, *_ = region.split()
                start, end = (int(number, 16) for number in where.split('-'))
                if not mode.startswith('rw'): continue
                try:
                    file.seek(start)
                    search(f'the memory of {pid}', file.read(end - start))
                except (OSError, ValueError): pass
        print('memory of', open(f'/proc/{pid}/comm').read().strip())
    except OSError: pass

born = os.stat('/proc/1').st_mtime - 1
for place, directories, names in os.walk('/'):
    if place == '/': directories[:] = [d for d in directories if d not in ('proc', 'sys')]
    for name in names:
        path = f'{place}/{name}'
        try:
            data = os.lstat(path)
            if not stat.S_ISREG(data.st_mode) or data.st_mtime < born: continue
            with open(path, 'rb') as file: search(path, file.read())
            files += 1
        except OSError: pass
print('environments', seen)
print('files', files)
";

/// What a search by the user for these words says.
pub fn search(container: &Container, needles: &[&str], memory: bool) -> String {
    // What `docker exec` would give to the search itself is emptied.
    let mut child = Command::new("docker")
        .args(["exec", "--interactive", "--user=jupyter"])
        .args(["--env=JUPYTER_PASSWORD=", "--env=JUPYTER_PASSWORD_HASH="])
        .args([&container.name, "python3", "-c", SEARCH])
        .arg(if memory { "memory" } else { "no memory" })
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(needles.join("\n").as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The number after a word of what the search said.
fn number(said: &str, word: &str) -> usize {
    let mut lines = said.lines().filter_map(|line| line.strip_prefix(word));
    lines.next().unwrap().trim().parse().unwrap()
}

/// Words that nobody else has.
fn random() -> String {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    format!("pw-{}", uuid.trim())
}

/// The hash that is in force, from the place where it belongs.
fn stored_hash(container: &Container) -> String {
    let text = String::from_utf8(container.file(CONFIG)).unwrap();
    let (_, rest) = text.split_once("\"hashed_password\": \"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

/// What somebody with Docker sees of the container, without its configuration.
fn told(container: &Container) -> String {
    let words = ["exec", "--user=jupyter", "--env=JUPYTER_PASSWORD="];
    let verb = |verb| {
        let words = words.into_iter().chain([container.name.as_str()]);
        docker_ok(words.chain(["ai-lab-entrypoint", verb]))
    };
    let format = "{{json .State}}";
    [
        container.logs(),
        docker_ok(["top", &container.name, "-eo", "pid,args"]),
        docker_ok(["inspect", "--format", format, &container.name]),
        verb("status"),
        verb("healthcheck"),
    ]
    .concat()
}

/// The password and its hash are nowhere that they should not be.
fn kept_secret(container: &Container, password: &str) {
    container.wait_for(READY);
    let hash = stored_hash(container);
    let said = search(container, &[password], true);
    assert!(!said.contains("found in"), "{said}");
    assert!(
        said.contains("memory of jupyter-lab"),
        "it was read: {said}"
    );
    assert_eq!(container.visit(&["login", password]), "in");

    container.visit(&["kernel", password]);
    let said = search(container, &[password, &hash], false);
    let found: Vec<&str> = said.lines().filter(|l| l.starts_with("found")).collect();
    assert_eq!(found, [format!("found in {CONFIG}")], "{hash}");
    assert!(
        number(&said, "environments") >= 2,
        "Jupyter's and a kernel's: {said}"
    );
    assert!(number(&said, "files") >= 3, "{said}");
    let mode = container.exec_ok("jupyter", &["stat", "-c", "%a %U", CONFIG]);
    assert_eq!(mode, "600 jupyter\n");
    let told = told(container);
    assert!(told.contains("jupyter-lab") && told.contains("healthy"));
    for secret in [password, &hash] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

#[test]
fn a_password_of_the_environment_is_kept_secret() {
    let password = random();
    let variable = format!("--env=JUPYTER_PASSWORD={password}");
    let loud = "--env=AI_LAB_LOG=trace";
    for user in [&[][..], &["--user", "jupyter"]] {
        let options = [&[variable.as_str(), loud], user].concat();
        let container = Container::start(&options, &[]);
        kept_secret(&container, &password);
        // It is there to be found: this machine's root sees it, in PID 1 alone.
        let listed = docker_ok(["top", &container.name, "-eo", "pid"]);
        let holders = listed.split_whitespace().skip(1).filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let text = String::from_utf8_lossy(&environment).into_owned();
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let first = status
                .lines()
                .any(|l| l.starts_with("NSpid") && l.ends_with("\t1"));
            assert!(first || !text.contains(&password), "process {pid}: {text}");
            text.contains(&password)
        });
        assert_eq!(holders.count(), 1, "{listed}");
    }
}

#[test]
fn a_password_of_a_file_is_kept_secret() {
    let password = random();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{password}\n")).unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o400)).unwrap();
    let mount = format!(
        "--volume={}:/run/secrets/password:ro",
        file.path().display()
    );
    let variable = "--env=JUPYTER_PASSWORD_FILE=/run/secrets/password";
    let container = Container::start(&[&mount, variable, "--env=AI_LAB_LOG=trace"], &[]);
    kept_secret(&container, &password);
    assert!(
        !container
            .exec("jupyter", &["cat", "/run/secrets/password"])
            .0
    );
}

#[test]
fn a_hash_is_kept_as_secret_as_a_password() {
    let (password, salt) = (random(), "c0ffee");
    let digest = Sha256::digest(format!("{password}{salt}"));
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let variable = format!("--env=JUPYTER_PASSWORD_HASH=sha256:{salt}:{digest}");
    let container = Container::start(&[&variable, "--env=AI_LAB_LOG=trace"], &[]);
    kept_secret(&container, &password);
    assert_eq!(stored_hash(&container), format!("sha256:{salt}:{digest}"));
}

#[test]
fn an_error_about_a_password_does_not_tell_it() {
    let password = random();
    let spaced = format!("--env=JUPYTER_PASSWORD= {password}");
    let plain = format!("--env=JUPYTER_PASSWORD={password}");
    let hash = format!("--env=JUPYTER_PASSWORD_HASH=argon2:{password}");
    let loud = "--env=AI_LAB_LOG=trace";
    for options in [&[&spaced, loud][..], &[&hash, loud], &[&plain, &hash, loud]] {
        let (code, stdout, stderr) = run(options, &["true"]);
        assert_eq!(code, 78, "{stderr}");
        assert!(stderr.contains("JUPYTER_PASSWORD"), "{stderr}");
        assert!(
            !stdout.contains(&password) && !stderr.contains(&password),
            "{stderr}"
        );
    }
}

/// Watches for new processes, and reads each one's environment as soon as it is there.
const WATCH: &str = r"
import os, sys
print('watching', flush=True)
known = set(os.listdir('/proc'))
while True:
    for pid in set(os.listdir('/proc')) - known:
        if not pid.isdigit(): continue
        try:
            while True:
                with open(f'/proc/{pid}/environ', 'rb') as file: data = file.read()
                if b'JUPYTER_PASSWORD=pw-' in data: print('caught', flush=True)
        except OSError: pass
";

#[test]
fn a_verb_cannot_be_watched_for_the_password_as_it_starts() {
    let password = random();
    let variable = format!("--env=JUPYTER_PASSWORD={password}");
    // Without root the verbs are the user's from their first moment on.
    for user in [&["--user", "jupyter"][..], &[]] {
        let options = [&[variable.as_str(), "--no-healthcheck"], user].concat();
        let container = Container::start(&options, &["python3", "-c", WATCH]);
        container.wait_for("watching\n");
        for _ in 0..repeated(10, 20) {
            // As Docker runs the image's HEALTHCHECK: as the container's user.
            let words = ["exec", &container.name, "ai-lab-entrypoint", "healthcheck"];
            docker_ok(words);
        }
        let (said, _) = container.streams();
        assert_eq!(said, "watching\n", "{user:?}");
    }
}
