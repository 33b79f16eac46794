"""A Docker engine of one's own: its own socket, data and network, and no trace after it."""

import contextlib
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

LIMIT = 240
CLONE_NEWNET = 0x40000000


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


def enter_own_network():
    """Gives this process and its children a network without a way out.

    An engine with a bridge changes the network that it is in; an engine without one removes
    the bridge of the machine's.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "a network of our own cannot be made")
    run("ip", "link", "set", "lo", "up")


@contextlib.contextmanager
def network_of_the_machine():
    """Options of dockerd's for an engine that shares the machine's network, to be used with
    `--network host` only.

    It adds nothing but a bridge of its own, which nobody uses: an engine without any removes
    that of the machine's engine.
    """
    bridge = f"ai-lab-{os.getpid()}"
    run("ip", "link", "add", bridge, "type", "bridge")
    try:
        switches = ("iptables", "ip-forward", "ip-masq")
        yield [f"--bridge={bridge}", *(f"--{switch}=false" for switch in switches)]
    finally:
        run("ip", "link", "delete", bridge)


class Engine:
    """An engine in the network of this process; needs root and dockerd.

    `words` are further options of dockerd's. It ends with the `with` block, and its
    containers before it.
    """

    def __init__(self, storage_driver, *words):
        self.directory = tempfile.TemporaryDirectory(prefix="ai-lab-engine-")
        self.base = pathlib.Path(self.directory.name)
        self.socket = f"unix://{self.base}/sock"
        (self.base / "daemon.json").write_text("{}")
        self.words = ["--storage-driver", storage_driver, *words]

    def start(self):
        words = ["dockerd", "--config-file", self.base / "daemon.json", "--host", self.socket]
        for name in ("data-root", "exec-root", "pidfile"):
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
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as save:
            load = ["docker", "--host", self.socket, "load"]
            subprocess.run(load, stdin=save.stdout, stdout=subprocess.DEVNULL, check=True)
        assert save.returncode == 0, f"docker save: {save.returncode}"

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
        for left in ("data-root", "exec-root/netns/default"):
            subprocess.run(["umount", "--lazy", self.base / left], capture_output=True)
        self.directory.cleanup()
