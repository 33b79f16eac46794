//! The table of causes: what the log of a server shows, and what to tell about it.

use crate::death::cause::{Cause, row};

const FREE_SPACE: &str = "Free some space on its disk (`docker system df` shows what Docker uses), \
                          or raise the limit of its volume";
const INSTALL: &str = "Start a new container of the image, or install that package again with \
                       `pip install --force-reinstall`";
const RENAME: &str = "Rename that file, or take its directory out of PYTHONPATH";
const NO_MEMORY: &str = "the server found no memory for what it was to do";
const MORE_MEMORY: &str =
    "Give the container more memory (`docker run --memory`; in Kubernetes, limits.memory)";
const NO_PROCESS: &str = "no process or thread can be started any more";
const MORE_PROCESSES: &str = "Raise the limit of the container (`docker run --pids-limit`; or `--ulimit nproc`, which counts \
     the processes of this uid on the whole machine), or end processes";
const OPTIONS: &str = "Correct the options that follow the name of the server, in a new container; \
                       `jupyter-lab --help-all` lists them";
const CONFIGURATION: &str =
    "Correct the option or the line of Jupyter's configuration that sets it";
const NOT_MOUNTED: &str = "the file system of {0} is not there any more";
const MOUNT: &str = "Start a new container; if it says the same, the server of that file system does \
                     not answer the machine";
const HUB: &str = "Failed to connect to my Hub at {} (attempt";
/// The line of a server that gives the hub up, if both numbers are the same.
pub(super) const LAST_ATTEMPT: &str = "Failed to connect to my Hub at {} (attempt {n}/{n})";

/// The causes, special ones before general ones.
pub(super) const CAUSES: &[Cause] = &[
    row(
        &[
            "Permission to listen on port {n} denied",
            "the Jupyter server could not be started because port {n} is not available",
        ],
        "only root may listen on port {0}",
        "Choose a port above 1023 with --port",
    ),
    row(
        &["the Jupyter server could not be started because port {n} is not available"],
        "port {0} is taken by another program",
        "Choose another one with --port, or end that program",
    ),
    row(
        &["in bind_sockets", "Cannot assign requested address"],
        "the address to listen on is not one of this container",
        "Leave --ip out: the server then listens on all addresses",
    ),
    row(
        &["in _default_allow_remote", "gaierror: [Errno {}] {}"],
        "the address to listen on has a name that is not known ({1})",
        "Name an address with --ip, or leave it out",
    ),
    row(
        &["Running as root is not recommended"],
        "Jupyter does not run as root",
        "Name a user with --user, or pass --allow-root to jupyter-lab",
    ),
    row(
        &["Bad config encountered during initialization: No such directory: ''{}''"],
        "the directory of the notebooks, {0}, does not exist",
        "Mount it, or name another one with --notebooks",
    ),
    row(
        &["Bad config encountered during initialization: No such preferred dir: ''{}''"],
        "the directory {0} (preferred_dir) does not exist",
        "Mount it, or remove that setting from Jupyter's configuration",
    ),
    // Without the value, which may be a token.
    row(
        &["Bad config encountered during initialization: The '{}' trait of {} expected {}, not "],
        "a setting of Jupyter is wrong: {0} must be {2}",
        CONFIGURATION,
    ),
    row(
        &["Bad config encountered during initialization: {}"],
        "a setting of Jupyter is wrong: {0}",
        CONFIGURATION,
    ),
    row(
        &["error: argument {}: expected one argument"],
        "the option {0} has no value, or Jupyter does not know it",
        OPTIONS,
    ),
    row(
        &["jupyter-{}: error: {}"],
        "Jupyter refuses its options: {1}",
        OPTIONS,
    ),
    row(
        &["App] No such file or directory: {}"],
        "{0}, which the server is to open, does not exist",
        OPTIONS,
    ),
    row(
        &["`root_dir` and `file_to_run` are incompatible"],
        "the file that the server is to open is not in the directory of the notebooks",
        "Name a file in that directory, or another directory with --notebooks",
    ),
    row(
        &["because `jupyter_collaboration` was configured but cannot be `import`ed"],
        "the Python package jupyter_collaboration, which --collaborative needs, is missing",
        "Install jupyter-collaboration, or leave --collaborative out",
    ),
    row(
        &["ValueError: certfile \"{}\" does not exist"],
        "the certificate {0} does not exist",
        "Mount it, and name its path with --tls-cert",
    ),
    row(
        &["ValueError: keyfile \"{}\" does not exist"],
        "the key of the certificate, {0}, does not exist",
        "Mount it, and name its path with --tls-key",
    ),
    row(
        &[HUB, "ClientResponseError: 403,"],
        "JupyterHub at {0} rejects the token of this server",
        "Stop the server in JupyterHub and start it again: the new container gets a valid token",
    ),
    row(
        &[HUB, "ClientResponseError: {n}, message='{}', url="],
        "JupyterHub at {0} answers with the error {1} ({2})",
        "Look at that address (c.JupyterHub.hub_connect_url), and at the log of JupyterHub",
    ),
    row(
        &[HUB, "Cannot connect to host {} ssl:{} [{}]"],
        "JupyterHub does not answer at {0} ({3})",
        "Make that address reachable from this container: c.JupyterHub.hub_connect_ip, and the \
         container's network",
    ),
    row(
        &["KeyError: 'Missing required environment ${}'"],
        "the variable {0}, which JupyterHub sets, is missing",
        "Let JupyterHub start this container, or start jupyter-lab instead",
    ),
    row(&["MemoryError"], NO_MEMORY, MORE_MEMORY),
    row(&["Cannot allocate memory"], NO_MEMORY, MORE_MEMORY),
    row(
        &["No space left on device: '{}'"],
        "there is no space left for {0}",
        FREE_SPACE,
    ),
    row(
        &["No space left on device"],
        "there is no space left on a disk that the server writes to",
        FREE_SPACE,
    ),
    row(
        &["Disk quota exceeded"],
        "the quota of the server's user is used up",
        "Delete files, or ask for a larger quota",
    ),
    row(
        &["database or disk is full"],
        "there is no space left for a database of Jupyter's",
        FREE_SPACE,
    ),
    row(
        &["Read-only file system: '{}'"],
        "{0} cannot be written, because its file system is read-only",
        "Mount it writable",
    ),
    row(
        &["Permission denied: '{}'"],
        "the server's user may not use {0}",
        "Change its owner or mode (`chown`, `chmod`), or omit `docker run --user`",
    ),
    row(
        &["Operation not permitted: '{}'"],
        "the file system, or a security profile of the container, does not allow a change of {0}",
        "Name a directory on another file system (JUPYTER_RUNTIME_DIR, JUPYTER_DATA_DIR), or use \
         the engine's own profile",
    ),
    row(
        &["Permissions assignment failed for secure file: '{}'. Got "],
        "the file system of {0} does not keep a file for its owner alone",
        "Name a directory on another file system with JUPYTER_RUNTIME_DIR, or set \
         JUPYTER_ALLOW_INSECURE_WRITES=true if nobody else can read this one",
    ),
    row(
        &["Not a directory: '{}'"],
        "a part of the path {0} is a file, and no directory",
        "Move that file away, or mount a directory there",
    ),
    row(
        &["Is a directory: '{}'"],
        "{0} is a directory, and a file is expected there",
        "If it is mounted: the file does not exist on the machine, so Docker made a directory of \
         that name",
    ),
    row(
        &[
            "os.getcwd()",
            "FileNotFoundError: [Errno 2] No such file or directory",
        ],
        "the directory in which the server was started does not exist any more",
        "Start the container again; if the directory is mounted, make it again first",
    ),
    row(&["Stale file handle: '{}'"], NOT_MOUNTED, MOUNT),
    row(
        &["Transport endpoint is not connected: '{}'"],
        NOT_MOUNTED,
        MOUNT,
    ),
    row(
        &["Input/output error: '{}'"],
        "the disk of {0} fails",
        "Look for errors of that disk on the machine (`dmesg`)",
    ),
    row(
        &["Too many open files"],
        "the server may not have more files open",
        "Run with --ulimit nofile=4096, or without a limit",
    ),
    row(&["can't start new thread"], NO_PROCESS, MORE_PROCESSES),
    row(
        &["_fork_exec(", "Resource temporarily unavailable"],
        NO_PROCESS,
        MORE_PROCESSES,
    ),
    row(
        &["Fatal Python error: {}"],
        "Python itself cannot start: {0}",
        "Remove PYTHONHOME and PYTHONPATH from the environment, or start a new container of the image",
    ),
    row(
        &["Fatal Python error: {}", "ModuleNotFoundError: {}"],
        "Python itself cannot start: {0} ({1})",
        "Remove PYTHONHOME and PYTHONPATH from the environment, or start a new container of the image",
    ),
    row(
        &[
            "/jupyter_server/extension/config.py\", line {n}",
            "{}Error: {}",
        ],
        "a JSON file of Jupyter's configuration has another shape than Jupyter expects ({1}Error: {2})",
        "Correct jupyter_server_config.json: `ServerApp` and `jpserver_extensions` are objects, in braces",
    ),
    row(
        &["File \"{}/jupyter_{}config.py\", line {n}", "{}Error: {}"],
        "the configuration file {0}/jupyter_{1}config.py is wrong in line {2} ({3}Error: {4})",
        "Correct that line, or move the file away",
    ),
    row(
        &[
            "/jupyter_server/extension/",
            "The module '{}' could not be found",
        ],
        "the server extension {0} is enabled, but not installed",
        "Install it, or disable it: `jupyter server extension disable {0}`",
    ),
    row(
        &["No module named '{}'; '{}' is not a package"],
        "a file named {1}.py hides the Python package {1}",
        RENAME,
    ),
    row(
        &["(consider renaming '{}' since it has the same name as"],
        "the file {0} hides a Python package of the same name",
        RENAME,
    ),
    row(
        &["No module named '{}.{}'"],
        "the Python package {0} has no part {0}.{1}: it is damaged, or another package needs \
         another version of it",
        INSTALL,
    ),
    row(
        &["No module named '{}'"],
        "the Python package {0} is missing",
        INSTALL,
    ),
    row(
        &["/{}: No module named {}"],
        "/{0} does not have the Python package {1}",
        "Start jupyter-lab, or name the Python of the venv",
    ),
    row(
        &["version `{}' not found (required by {})"],
        "{1} needs {0}, which the libraries of this image do not have",
        "Install a version of its package for this image, or use a newer image",
    ),
    row(
        &["Error loading shared library {}: No such file or directory (needed by {})"],
        "the library {0}, which {1} needs, is missing",
        "Start a new container of the image, or install that library",
    ),
    row(
        &["error while loading shared libraries: {}: cannot open shared object file"],
        "the library {0}, which the program needs, is missing",
        "Start a new container of the image, or install that library",
    ),
    row(
        &["AttributeError: module '{}' has no attribute '{}'"],
        "the Python packages do not fit together: {0} has no {1}",
        INSTALL,
    ),
    row(
        &["ImportError: cannot import name '{}' from '{}' ({}"],
        "the Python packages do not fit together: {1} has no {0}",
        INSTALL,
    ),
    row(
        &["ImportError: {}/site-packages/{}/{}.so: {}"],
        "the Python package {1} cannot be loaded ({2}.so: {3})",
        INSTALL,
    ),
    row(
        &[
            "/site-packages/{}/",
            "ImportError: {}: cannot open shared object file",
        ],
        "the library {1}, which the Python package {0} needs, is missing",
        INSTALL,
    ),
    row(
        &["File \"{}\", line {n}", "SyntaxError: {}"],
        "the Python file {0} has an error in line {1} ({2})",
        "Correct it if it is yours; otherwise start a new container of the image, or install its \
         package again with `pip install --force-reinstall`",
    ),
    row(
        &[
            "/jupyter_server/extension/manager.py",
            "File \"{}\", line {n}",
            "{}Error: {}",
        ],
        "a server extension failed in {0}, line {1} ({2}Error: {3})",
        "Disable that extension (`jupyter server extension disable NAME`), or install another \
         version of it",
    ),
    row(
        &["No such file or directory: '{}'"],
        "{0} does not exist",
        "Mount it, or correct the setting that names it",
    ),
];

/// The signals that end a server: number, cause, remedy.
pub(super) const SIGNALS: [(i32, &str, &str); 8] = [
    (
        libc::SIGKILL,
        "another process killed the server, or the machine ran out of memory",
        "The kernel's log on the machine (`dmesg`) names processes that were killed for memory",
    ),
    (
        libc::SIGTERM,
        "another process in the container ended the server",
        "Use `ai-lab-entrypoint restart` to restart it",
    ),
    (libc::SIGSEGV, CRASHED, UPDATE),
    (libc::SIGABRT, CRASHED, UPDATE),
    (libc::SIGFPE, CRASHED, UPDATE),
    (
        libc::SIGBUS,
        "a file that the server had mapped into memory became unreadable, or /dev/shm is full",
        "Give the container more shared memory (`docker run --shm-size 1g`; in Kubernetes, an \
         emptyDir in memory at /dev/shm), and look at the disk",
    ),
    (
        libc::SIGILL,
        "a compiled package uses an instruction that this processor does not have",
        "Install a version of the package for this processor, or use another machine",
    ),
    (
        libc::SIGSYS,
        "a security profile of the container (seccomp) forbids what the server does",
        "Use the engine's own profile, or allow the system call",
    ),
];

const CRASHED: &str = "a compiled package crashed the server";
const UPDATE: &str = "Undo the last installation, or start a new container of the image";
