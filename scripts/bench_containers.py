"""Containers of the image, beside a bare server in it. Part of scripts/bench."""

import calendar
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import time
import uuid
from statistics import median

import engine
from bench_parts import TINI, children, memory, run
from bench_table import row

VENV = "/opt/ai-lab/jupyterenv/bin"

# Milliseconds of each program from its fork to its end, in turn, so many times.
IN_TURN = """
import json, os, sys, time
times, *programs = json.loads(sys.argv[1])
samples = [[] for _ in programs]
quiet = [(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
for _ in range(times):
    for words, taken in zip(programs, samples):
        start = time.perf_counter_ns()
        pid = os.posix_spawn(words[0], words, os.environ, file_actions=quiet)
        _, status = os.waitpid(pid, 0)
        taken.append((time.perf_counter_ns() - start) / 1e6)
        assert status == 0, words
print(json.dumps(samples))
"""

# What docker-stacks' health check does.
PYTHON_CHECK = """
import json, os, pathlib
import requests
from jupyter_core import paths
os.environ["HOME"] = "/home/jupyter"
found = next(pathlib.Path(paths.jupyter_runtime_dir()).glob("*server-*.json"))
url = json.loads(found.read_bytes())["url"] + "api"
requests.get(url, proxies={"http": "", "https": ""}, verify=False).raise_for_status()
"""


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as link:
            link.sendall(b"GET /api HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return link.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


class Container:
    """Started, and waited for until it answers; removed in the end, and when that fails."""

    def __init__(self, image, bare):
        self.name = f"ai-lab-bench-{uuid.uuid4().hex[:12]}"
        try:
            self.start(image, bare)
        except BaseException:
            self.remove()
            raise

    def start(self, image, bare):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = ["--env", "JUPYTER_PASSWORD=of my own"]
        words = []
        if bare:
            options = ["--user", "jupyter", "--entrypoint", "/usr/bin/tini"]
            options += ["--volume", f"{TINI}:/usr/bin/tini:ro", "--env", "HOME=/home/jupyter"]
            words = ["--", f"{VENV}/jupyter-lab", "--ip=0.0.0.0", "--port=49494", "--no-browser"]
            words.append("--ServerApp.root_dir=/home/jupyter/notebooks")
        publish = f"127.0.0.1:{port}:49494"
        run(
            *("docker", "create", "--name", self.name, "--publish", publish, "--no-healthcheck"),
            *options, image, *words,
        )
        start = time.monotonic_ns()
        run("docker", "start", self.name)
        while not answers(port):
            assert time.monotonic_ns() - start < 120e9, "it never answers"
            time.sleep(0.002)
        self.answered = time.time()
        self.time = (time.monotonic_ns() - start) / 1e6
        self.pid = int(run("docker", "inspect", "--format", "{{.State.Pid}}", self.name))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        subprocess.run(["docker", "rm", "--force", "--volumes", self.name], capture_output=True)

    def log_time(self, part):
        """When Docker heard a line, in seconds since 1970."""
        for _ in range(1000):
            words = ["docker", "logs", "--timestamps", self.name]
            said = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for line in said.stdout.splitlines():
                if part in line:
                    stamp = line.split(" ")[0]
                    whole, fraction = stamp.rstrip("Z").split(".")
                    seconds = time.strptime(whole, "%Y-%m-%dT%H:%M:%S")
                    return calendar.timegm(seconds) + float("0." + fraction)
            time.sleep(0.01)
        raise AssertionError(f"the log never says {part}")

    def stop(self):
        """Milliseconds from a TERM to the server's end, and from there to PID 1's."""
        server = os.pidfd_open(int(children(self.pid)[0]))
        first = os.pidfd_open(self.pid)
        poll = select.poll()
        poll.register(server, select.POLLIN)
        begin = time.monotonic_ns()
        os.kill(self.pid, signal.SIGTERM)
        poll.poll()
        start = time.monotonic_ns()
        poll.unregister(server)
        poll.register(first, select.POLLIN)
        poll.poll()
        return (start - begin) / 1e6, (time.monotonic_ns() - start) / 1e6


def wake_ups(pid):
    count = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                count += int(line.split()[1])
    return count


def healthcheck(name, rounds):
    """Measured where Docker executes it, by one process that stays: without Docker's own time."""
    python = f"{VENV}/python"
    programs = [python, "-c", PYTHON_CHECK], ["/usr/local/bin/ai-lab-entrypoint", "healthcheck"]
    asked = json.dumps([rounds * 10, *programs])
    peers, ours = json.loads(run("docker", "exec", name, python, "-c", IN_TURN, asked))
    row("healthcheck, idle server", ours, peers, "ms", "≤ 3 ms", lambda _: 3,
        "from fork to end, in the container; peer: docker-stacks' way, in Python")


def containers(image, stock, rounds):
    ours, bares, stocks, welcomes, ends, peer_ends, held = [], [], [], [], [], [], []
    for number in range(rounds):
        with Container(image, True) as bare:
            bares.append(bare.time)
            peer_ends.append(bare.stop())
        if stock:
            with Container(stock, True) as bare:
                stocks.append(bare.time)
        with Container(image, False) as this:
            ours.append(this.time)
            heard = this.log_time("has been started successfully")
            welcomes.append((heard - this.answered) * 1000)
            this.log_time("] ready in ")
            # A second later PID 1 gives back what only the start needed.
            time.sleep(2)
            held.append(memory(this.pid))
            if number == rounds - 1:
                healthcheck(this.name, rounds)
                before = wake_ups(this.pid)
                time.sleep(10)
                woken = wake_ups(this.pid) - before
                row("idle wake-ups in 10 s", [woken], None, "", "0", lambda _: 0)
            ends.append(this.stop())
    shares, own = map(list, zip(*held))
    row("PID 1, 2 s after ready, Pss", shares, None, "MB", "≤ 1.2 MB", lambda _: 1.2)
    row("PID 1, 2 s after ready, private dirty", own, None, "MB", "≤ 0.5 MB", lambda _: 0.5)
    row("container start → HTTP 200, same venv", ours, bares, "ms", "≤ bare, same venv, + 40 ms",
        lambda peer: peer + 40,
        f"{median(ours) - median(bares):+.0f} ms, {engine.driver()}")
    if stock:
        row("container start → HTTP 200, stock venv", ours, stocks, "ms", "≤ 0.5 × bare, stock venv",
            lambda peer: 0.5 * peer)
    row("first HTTP 200 → welcome", welcomes, None, "ms", "≤ 10 ms", lambda _: 10,
        "looked for every 2 ms")
    (owns, ends), (peer_owns, peer_ends) = (zip(*both) for both in (ends, peer_ends))
    row("TERM → server's end, no kernel", owns, peer_owns, "ms", note="Jupyter's own")
    row("server's end → exit", ends, peer_ends, "ms", "≤ 5 ms", lambda _: 5, "peer: tini")


SERVERS = {"JupyterLab": "jupyter-lab", "server under a hub": "jupyterhub-singleuser"}


def server_once(image, program):
    """Milliseconds from the server's exec to its first HTTP 200, by the clock and of a processor."""
    script = (pathlib.Path(__file__).parent / "bench_server.py").read_text()
    words = ("docker", "run", "--rm", "--user", "jupyter", "--env", "HOME=/home/jupyter")
    words += ("--no-healthcheck", "--entrypoint", "/usr/bin/python3", image, "-c", script)
    return json.loads(run(*words, f"{VENV}/{program}"))


def servers(image, stock, rounds):
    """The server's own start, without Docker's and the entrypoint's."""
    for title, program in SERVERS.items():
        ours, stocks = [], []
        for _ in range(rounds):
            stocks.append(server_once(stock, program))
            ours.append(server_once(image, program))
        for index, what in enumerate(("exec → HTTP 200", "the same, CPU")):
            row(f"{title}: {what}", *([each[index] for each in samples] for samples in (ours, stocks)),
                "ms", "≤ 0.5 × stock venv", lambda peer: 0.5 * peer)


def build_stock(image):
    """A venv of the same versions as pip installs them: all is imported at once, which takes most
    of the time for the newest jsonschema."""
    name = f"{image}-stock"
    recipe = f"FROM {image}\nENV PYTHON_LAZY_IMPORTS=none\n"
    recipe += f"RUN {VENV}/pip install --upgrade 'jsonschema[format-nongpl]>=4.25'\n"
    run("docker", "build", "--quiet", "--tag", name, "-", input=recipe)
    return name


def measure_here(image, stock, rounds):
    containers(image, stock, rounds)
    if stock:
        servers(image, stock, rounds)


def measure_with_overlay2(image, stock, rounds):
    engine.enter_own_network()
    with engine.Engine("overlay2") as own:
        own.load(image, *[stock] * bool(stock))
        before = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = own.socket
        try:
            measure_here(image, stock, rounds)
        finally:
            os.environ.pop("DOCKER_HOST")
            if before:
                os.environ["DOCKER_HOST"] = before


def measure(image, stock, overlay2, rounds):
    """All rows about containers."""
    of_stock = build_stock(image) if stock else None
    (measure_with_overlay2 if overlay2 else measure_here)(image, of_stock, rounds)
