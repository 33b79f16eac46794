"""Asks the agent of tests/other_world/machine for something, for scripts/other-world.

    other_world.py SOCKET LIMIT WORDS <ARCHIVE     prints what WORDS print, ends with their code
    other_world.py SOCKET LIMIT --boot BEFORE      waits for a boot that is not the one BEFORE
"""

import secrets
import socket
import sys
import time


class Machine:
    def __init__(self, path, limit):
        self.socket = socket.socket(socket.AF_UNIX)
        self.deadline = time.monotonic() + limit
        self.socket.settimeout(limit)
        self.socket.connect(path)
        self.rest = b""

    def lines(self):
        while True:
            *whole, self.rest = self.rest.split(b"\n")
            yield from whole
            self.socket.settimeout(max(self.deadline - time.monotonic(), 0.001))
            more = self.socket.recv(1 << 16)
            if not more:
                sys.exit("the machine has ended")
            self.rest += more

    def ask(self, limit, words, archive):
        token = secrets.token_hex(8)
        request = f"{token} {limit} {len(archive)} {words}\n"
        self.socket.sendall(request.encode() + archive)
        begun = False
        for line in self.lines():
            first, _, code = line.decode(errors="replace").partition(" ")
            if first == token and code != "begins":
                return int(code)
            if begun:
                print(line.decode(errors="replace"), flush=True)
            begun = begun or first == token

    def booted(self, before):
        """The agent names the boot; that of the boot before may still speak."""
        for line in self.lines():
            first, _, boot = line.decode(errors="replace").partition(" ")
            if first == "ready" and boot != before:
                return 0


def main():
    path, limit, words, *before = sys.argv[1:]
    # The machine itself ends what takes longer than the limit.
    machine = Machine(path, int(limit) + 60)
    try:
        if words == "--boot":
            return machine.booted(*before)
        return machine.ask(limit, words, sys.stdin.buffer.read())
    except TimeoutError:
        sys.exit(f"no answer from the machine within {limit} s")


sys.exit(main())
