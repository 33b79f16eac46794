"""Many containers on one engine. Part of scripts/growth."""

import http.client
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import uuid

from bench_parts import TINI, memory

PORT = 49494
VENV = "/opt/ai-lab/jupyterenv/bin"

# Answers like jupyter-lab.
FAKE = f"""#!/usr/bin/python3
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("", {PORT}), Handler)
print("Jupyter Server 2.0.0 is running at:", file=sys.stderr)
print("http://127.0.0.1:{PORT}/lab", file=sys.stderr, flush=True)
server.serve_forever()
"""


def docker(*words):
    said = subprocess.run(["docker", *words], capture_output=True, text=True)
    assert said.returncode == 0, f"docker {words}: {said.stderr}"
    return said.stdout.strip()


def answers(address):
    try:
        link = http.client.HTTPConnection(address, PORT, timeout=2)
        link.request("GET", "/api")
        return link.getresponse().status == 200
    except OSError:
        return False


class Engine:
    """Starts containers of one image; removes, by their ids, all that it made."""

    def __init__(self, image, fake):
        self.image, self.fake = image, fake
        self.prefix = f"ai-lab-growth-{os.getpid()}"
        self.ids = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in list(self.ids):
            self.remove(each)

    def remove(self, each):
        subprocess.run(["docker", "rm", "--force", "--volumes", each], capture_output=True)
        self.ids.remove(each)

    def start(self, bare):
        """Milliseconds until a new container answers, and its id.

        Docker's own health checks are off: they cost it half a second a minute each.
        """
        name = f"{self.prefix}-{len(self.ids)}-{uuid.uuid4().hex[:6]}"
        words = ["create", "--name", name, "--no-healthcheck", "--env", "JUPYTER_PASSWORD=of my own"]
        words += ["--volume", f"{self.fake}:{VENV}/jupyter-lab:ro"]
        last = []
        if bare:
            words += ["--user", "jupyter", "--entrypoint", "/usr/bin/tini"]
            words += ["--volume", f"{TINI}:/usr/bin/tini:ro"]
            last = ["--", f"{VENV}/jupyter-lab"]
        made = docker(*words, self.image, *last)
        self.ids.append(made)
        begin = time.monotonic_ns()
        docker("start", made)
        address = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", made)
        while not answers(address):
            assert time.monotonic_ns() - begin < 120e9, docker("logs", made)
            time.sleep(0.002)
        return (time.monotonic_ns() - begin) / 1e6, made


def pid(container):
    return int(docker("inspect", "--format", "{{.State.Pid}}", container))


def settled(container):
    """Ours, when the start is over."""
    for _ in range(1000):
        said = subprocess.run(["docker", "logs", container], capture_output=True, text=True)
        if "] ready in " in said.stderr:
            return
        time.sleep(0.01)
    raise AssertionError("it is never ready")


def containers(asked, sizes, series):
    """The time of the n-th container, beside n − 1 that run; and what PID 1 of each holds.

    At each size a few more are started, ours and the peer's in turn, and removed.
    """
    until = series("the n-th container answers", "containers", "ms", "tini", asked.rounds)
    held = series("PID 1 of each container", "containers", "MB", "tini", asked.rounds)
    with tempfile.TemporaryDirectory(prefix="ai-lab-growth-") as base:
        base = pathlib.Path(base)
        base.chmod(0o755)
        fake = base / "fake"
        fake.write_text(FAKE)
        fake.chmod(0o755)
        with Engine(asked.image, fake) as engine:
            stay = []
            for size in sizes:
                while len(stay) < size - 1:
                    stay.append(engine.start(False)[1])
                    if len(stay) % 10 == 0:
                        print(f"  {len(stay)} containers run", file=sys.stderr)
                this, other, peers = [], [], []
                for number in range(asked.rounds):
                    took, peer = engine.start(True)
                    other.append(took)
                    peers.append(memory(pid(peer))[0])
                    engine.remove(peer)
                    took, made = engine.start(False)
                    this.append(took)
                    if number < asked.rounds - 1:
                        engine.remove(made)
                stay.append(made)
                until.add(size, this, other)
                for each in stay:
                    settled(each)
                ours = [memory(pid(each))[0] for each in stay]
                # Runs are containers here.
                held.add(size, ours, peers)
    return [until, held]
