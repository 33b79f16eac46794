"""What a start does with a large volume, beside the tools that people use for it.

Part of scripts/bench. Every run of ours is a whole start with `true` as its command, so
that some milliseconds of it are not about the volume.
"""

import os
import pathlib
import shutil
import subprocess
import time

from bench_parts import run, timed, used
from bench_table import row

UID = 4242
DIRECTORIES, FILES = 100, 1000
DEFAULTS, DEFAULT_SIZE = 10_000, 100_000


def quiet():
    """What was written before is not to be flushed during a measurement."""
    subprocess.run(["sync"], check=True)


def cold():
    """Nothing is in the kernel's caches."""
    quiet()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")


def give(directory, owner):
    subprocess.run(["chown", "-R", f"{owner}:{owner}", str(directory)], check=True)


def empty(directory):
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


class Volume:
    def __init__(self, layout, environment, rounds):
        self.volume, self.defaults = layout.base / "notebooks", layout.base / "defaults"
        self.ours = [*layout.words()[:-2], "--", "true"]
        # As in an image: what its version brought is known, and not read again.
        self.environment = environment | {"AI_LAB_VERSION": "1.0.0"}
        self.rounds = max(3, rounds)
        self.calls = str(layout.base / "floor")
        source = pathlib.Path(__file__).with_name("bench_floor.c")
        run("cc", "-O2", "-pthread", "-o", self.calls, str(source))

    def start(self):
        return timed(self.ours, env=self.environment)

    def start_used(self):
        return used(self.ours, env=self.environment)

    def in_turn(self, before, *measured, rounds=None):
        """Samples of each, taken in turn, each after the same preparation."""
        samples = [[] for _ in measured]
        for _ in range(rounds or self.rounds):
            for once, taken in zip(measured, samples):
                before()
                taken.append(once())
        return samples

    def ownership(self):
        for number in range(DIRECTORIES):
            directory = self.volume / str(number)
            directory.mkdir()
            for file in range(FILES):
                (directory / str(file)).touch()
        self.start()
        find = ["find", str(self.volume), "-not", "-user", str(UID)]
        for name, before in (("warm", lambda: None), ("cold", cold)):
            peers, ours = self.in_turn(before, lambda: timed(find), self.start)
            row(f"owners of 100,000 files, all right, {name}", ours, peers, "ms",
                "≤ 0.7 × find -not -user", lambda peer: 0.7 * peer)

        def roots():
            give(self.volume, 0)
            quiet()

        def cold_roots():
            roots()
            cold()

        chown = ["chown", "-R", f"{UID}:{UID}", str(self.volume)]
        for name, before in (("warm", roots), ("cold", cold_roots)):
            peers, ours = self.in_turn(before, lambda: timed(chown), self.start)
            row(f"owners of 100,000 files, all to change, {name}", ours, peers, "ms",
                "≤ 0.8 × chown -R", lambda peer: 0.8 * peer)
        calls = [self.calls, "give", str(self.volume), str(UID), str(min(os.cpu_count(), 4))]
        peers, ours = self.in_turn(roots, lambda: used(calls), self.start_used)
        row("owners of 100,000 files, all to change, warm, CPU", ours, peers, "ms", "≤ 1.05 × its system calls alone",
            lambda peer: 1.05 * peer)
        empty(self.volume)

    def install(self):
        for number in range(DEFAULTS):
            directory = self.defaults / str(number % 100)
            directory.mkdir(exist_ok=True)
            (directory / f"{number}.ipynb").write_bytes(number.to_bytes(4) * (DEFAULT_SIZE // 4))

        def nothing():
            empty(self.volume)
            quiet()

        def flushed(command):
            return timed(["sh", "-c", f"{command} && sync -f {self.volume}"])

        copy = lambda: flushed(f"cp -rn {self.defaults}/. {self.volume}")
        rsync = lambda: flushed(f"rsync -a --ignore-existing {self.defaults}/ {self.volume}/")
        peers, others, ours = self.in_turn(nothing, copy, rsync, self.start, rounds=3)
        row("first install, 10,000 files, 1 GB", ours, peers, "ms", "≤ cp -rn, sync -f",
            lambda peer: peer)
        row("first install, beside rsync", ours, others, "ms", note="rsync -a --ignore-existing, sync -f")

        nothing()
        self.start()
        # What a start wrote is settled once its time is not that of the next one.
        time.sleep(0.1)
        find = ["find", str(self.volume), str(self.defaults), "-not", "-user", str(UID)]
        for name, before in (("warm", lambda: None), ("cold", cold)):
            peers, ours = self.in_turn(before, lambda: timed(find), self.start)
            row(f"second start, 10,000 defaults, nothing changed, {name}", ours, peers, "ms",
                "≤ 1.5 × find of both", lambda peer: 1.5 * peer)
        calls = [self.calls, "stat", str(self.volume), str(self.defaults), str(self.volume)]
        peers, ours = self.in_turn(lambda: None, lambda: used(calls), self.start_used)
        row("second start, 10,000 defaults, warm, CPU", ours, peers, "ms", note="peer: its 30,000 stats alone")


def volume(layout, environment, rounds):
    """All rows about the volume."""
    measured = Volume(layout, environment, rounds)
    measured.ownership()
    measured.install()
