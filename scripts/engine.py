"""A Docker engine of one's own: its own socket, data and network, and no trace after it."""

import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

LIMIT = 240
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
SOCKET = pathlib.Path("/var/run/docker.sock")
SAVED = pathlib.Path(__file__).resolve().parent.parent / "target/saved"


def run(*words):
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 0, f"{words}: {ended.stdout}{ended.stderr}"
    return (ended.stdout + ended.stderr).strip()


def until(what, look):
    deadline = time.monotonic() + LIMIT
    while not look():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


def driver():
    """The storage driver of the machine's engine."""
    return json.loads(run("docker", "info", "--format", "{{json .Driver}}"))


def saved(image):
    """The archive of an image of the machine's engine: it is made once for all that load it."""
    identity = run("docker", "image", "inspect", "--format", "{{.Id}}", image)
    place = SAVED / image.replace("/", "_")
    archive = place / f"{identity.removeprefix('sha256:')}.tar"
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            for old in place.glob("*.tar"):
                old.unlink()
            part = place / "part"
            run("docker", "save", "--output", part, image)
            part.rename(archive)
    return archive


def unshare(namespaces):
    if ctypes.CDLL(None, use_errno=True).unshare(namespaces) != 0:
        raise OSError(ctypes.get_errno(), "namespaces of our own cannot be made: this needs root")


def enter_own_network():
    """Gives this process and its children a network without a way out.

    An engine with a bridge changes the network that it is in; an engine without one removes
    the bridge of the machine's.
    """
    unshare(CLONE_NEWNET)
    run("ip", "link", "set", "lo", "up")


@contextlib.contextmanager
def own_network_with_a_way_out():
    """The same with a way out, while the `with` block lasts; needs slirp4netns."""
    ready, say = os.pipe()
    until_closed, ours = os.pipe()
    with open("/proc/self/ns/net") as outside:
        enter_own_network()
        given = (outside.fileno(), say, until_closed)
        words = ["nsenter", f"--net=/proc/self/fd/{given[0]}", "slirp4netns", "--configure"]
        words += [f"--ready-fd={say}", f"--exit-fd={until_closed}", "--mtu=65520"]
        words += [str(os.getpid()), "tap0"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        router = subprocess.Popen(words, pass_fds=given, **quiet)
    os.close(say)
    os.close(until_closed)
    try:
        assert os.read(ready, 1), "slirp4netns ended"
        yield
    finally:
        os.close(ours)
        router.wait(LIMIT)


class Engine:
    """An engine in the network of this process; needs root and dockerd.

    `words` are further options of dockerd's. It ends with the `with` block, and its
    containers before it; `data`, where it is given, keeps its images.
    """

    def __init__(self, storage_driver, *words, data=None):
        self.directory = tempfile.TemporaryDirectory(prefix="ai-lab-engine-")
        self.base = pathlib.Path(self.directory.name)
        # With userns-remap, root of a container comes to its files as an ordinary user.
        self.base.chmod(0o711)
        self.data = data or self.base / "data-root"
        self.socket = f"unix://{self.base}/sock"
        (self.base / "daemon.json").write_text("{}")
        self.words = ["--data-root", self.data, "--storage-driver", storage_driver, *words]

    def start(self):
        # It ends with this process, however that ends.
        words = ["setpriv", "--pdeathsig", "TERM", "dockerd"]
        words += ["--config-file", self.base / "daemon.json", "--host", self.socket]
        for name in ("exec-root", "pidfile"):
            words += [f"--{name}", self.base / name]
        # Where a containerd of the system's runs, engines share it.
        words += ["--containerd-namespace", f"ai-lab-{os.getpid()}"]
        words += ["--containerd-plugins-namespace", f"plugins.ai-lab-{os.getpid()}"]
        with open(self.base / "log", "ab") as log:
            self.process = subprocess.Popen(words + self.words, stdout=log, stderr=log)
        until("the engine answers", self.answers)

    def revive(self):
        """Starts it if it has ended, waits for it if it is on its way."""
        if self.process.poll() is not None:
            self.start()
        until("the engine answers", self.answers)

    def answers(self):
        assert self.process.poll() is None, f"the engine ended: {self.log()}"
        return self.ask("version").returncode == 0

    def log(self):
        return (self.base / "log").read_text()[-4000:]

    def load(self, *images):
        """Takes images over from the machine's engine."""
        for image in images:
            self("load", "--quiet", "--input", saved(image))

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait(LIMIT)
        # If it had a containerd of its own, that went with it; this engine would wait for the
        # one of that number.
        if how == signal.SIGKILL:
            (self.base / "exec-root/containerd/containerd.pid").unlink(missing_ok=True)

    def __call__(self, *words):
        return run("docker", "--host", self.socket, *words)

    def ask(self, *words):
        """The same where it may fail: what came of it."""
        words = ["docker", "--host", self.socket, *words]
        return subprocess.run(words, capture_output=True, text=True)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.process.kill()
            self.clean()
            raise
        return self

    def __exit__(self, kind, *_):
        if kind:
            print(self.log(), file=sys.stderr)
        try:
            self.revive()
            ids = self("ps", "--all", "--quiet").split()
            if ids:
                self("rm", "--force", "--volumes", *ids)
        finally:
            self.end(signal.SIGTERM)
            self.clean()

    def clean(self):
        self.process.wait(LIMIT)
        # Some storage drivers leave it mounted on itself; a host's network stays mounted, too.
        for left in (self.data, self.base / "exec-root/netns/default"):
            subprocess.run(["umount", "--lazy", left], capture_output=True)
        self.directory.cleanup()


REMAPPED = "ai-lab-remapped"


def add_remapped_account(directory):
    """Gives the mounts of this process an account with 65,536 ids from 100,000 on."""
    lines = {
        "passwd": f"{REMAPPED}:x:61999:61999::/nonexistent:/usr/sbin/nologin",
        "group": f"{REMAPPED}:x:61999:",
        "subuid": f"{REMAPPED}:100000:65536",
        "subgid": f"{REMAPPED}:100000:65536",
    }
    for name, line in lines.items():
        copy, file = pathlib.Path(directory, name), pathlib.Path("/etc", name)
        before = file.read_text().rstrip("\n")
        copy.write_text(f"{before}\n{line}\n")
        run("mount", "--bind", copy, file)


@contextlib.contextmanager
def at_the_usual_place(storage_driver, data=None, remap=False):
    """An engine with a network and mounts of its own, in which its socket is the usual one."""
    with own_network_with_a_way_out(), tempfile.TemporaryDirectory() as accounts:
        unshare(CLONE_NEWNS)
        run("mount", "--make-rprivate", "/")
        words = []
        if remap:
            add_remapped_account(accounts)
            words = ["--userns-remap", REMAPPED]
        with Engine(storage_driver, *words, data=data) as own:
            made = not SOCKET.exists()
            SOCKET.touch()
            run("mount", "--bind", own.socket.removeprefix("unix://"), SOCKET)
            os.environ.pop("DOCKER_HOST", None)
            try:
                yield own
            finally:
                run("umount", SOCKET)
                if made:
                    SOCKET.unlink()
