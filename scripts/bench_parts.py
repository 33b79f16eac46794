"""What scripts/bench and scripts/growth both need: a place to start in, and ways to look
at a first process and at the machine."""

import datetime
import os
import pathlib
import platform
import re
import shutil
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TINI = shutil.which("tini-static") or shutil.which("tini")
UID = 4242

# Its child makes zombies and ends: all become PID 1's at once.
ZOMBIES = """
import os, sys
print('ready', flush=True)
sys.stdin.readline()
if os.fork() == 0:
    here, there = os.pipe()
    for _ in range(int(sys.argv[1])):
        if os.fork() == 0:
            os.write(there, b'.')
            os._exit(0)
        os.read(here, 1)
    print('made', flush=True)
    sys.stdin.readline()
    os._exit(0)
os.wait()
sys.stdin.readline()
"""


def environment():
    ours = ("JUPYTER", "AI_LAB", "NOTEBOOK", "JPY_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def run(*words, **options):
    """What a command writes."""
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


# As in .cargo/config.toml, the target is named, and cargo has a directory for it.
HOST = re.search("^host: (.*)$", run("rustc", "-vV"), re.MULTILINE)[1]
PROGRAM = TARGET / HOST / "release/ai-lab-entrypoint"


def timed(words, **options):
    """Milliseconds that a command takes."""
    start = time.monotonic_ns()
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True, **options)
    return (time.monotonic_ns() - start) / 1e6


def used(words, **options):
    """Milliseconds of a processor that a command takes."""
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(words, stdin=nowhere, stdout=nowhere, stderr=nowhere, **options)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, words
    return (usage.ru_utime + usage.ru_stime) * 1000


class Layout:
    """What an image has, with a server made of a script's or any other program."""

    def __init__(self, base, program=PROGRAM):
        self.base, self.program = pathlib.Path(base), program
        self.base.chmod(0o755)
        for name in ("home", "defaults", "venv/bin", "notebooks"):
            (self.base / name).mkdir(parents=True)
        (self.base / "defaults/start.ipynb").write_text("{}")
        for name in ("home", "notebooks"):
            os.chown(self.base / name, UID, UID)

    def server(self, program):
        place = self.base / "venv/bin/jupyter-lab"
        shutil.copy(program, place)
        place.chmod(0o755)

    def words(self):
        path = lambda name: str(self.base / name)
        return [
            str(self.program),
            *("--notebook-defaults", path("defaults"), "--notebooks", path("notebooks")),
            *("--venv", path("venv"), "--home", path("home"), "--state-dir", path("state")),
            *("--user", str(UID), "--group", str(UID), "--docker-socket", path("no.sock")),
            *("--jupyter-server", "jupyter-lab"),
        ]


def machine():
    names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return dict(
        processors=os.cpu_count(), processor=(names or ["?"])[0], memory=round(memory),
        kernel=platform.release(), date=datetime.date.today().isoformat(),
    )


def children(pid):
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def zombies_once(words, count=10_000):
    """Milliseconds from so many orphaned zombies to none, and PID 1's CPU for it."""
    pipe = subprocess.PIPE
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *words]
    command += ["python3", "-c", ZOMBIES, str(count)]
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment()
    ) as outer:
        outer.stdout.readline()
        (pid,) = children(outer.pid)
        used = lambda: int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0])
        (main,) = children(pid)
        before = used()
        outer.stdin.write("\n")
        outer.stdin.flush()
        outer.stdout.readline()
        (maker,) = children(main)
        # The kernel hands them to PID 1 in their order. To look at one is cheap however
        # many there are; the list of all takes longer the longer it is.
        last = f"/proc/{children(maker)[-1]}"
        start = time.monotonic_ns()
        outer.stdin.write("\n")
        outer.stdin.flush()
        while os.path.exists(last):
            pass
        # The maker ends and hands over; when only the main process is left it is done.
        while children(main) or children(pid) != [main]:
            pass
        wall = (time.monotonic_ns() - start) / 1e6
        cpu = (used() - before) / 1e6
        outer.stdin.write("\n")
        outer.stdin.close()
        outer.wait()
    return wall, cpu


def memory(pid):
    """Megabytes of a process: its share (Pss), and what is its own alone."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    held = {line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in rollup[1:]}
    return held["Pss"], held["Private_Dirty"]
