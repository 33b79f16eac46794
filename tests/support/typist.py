"""A person at a terminal: runs a command on one, and presses keys when words appear.

  typist.py COMMAND [WORDS KEYS]...

COMMAND is a line for bash. KEYS are pressed once WORDS have appeared after those before;
without WORDS, one by one and again until the command has ended. Prints what appeared. The
exit code is the command's.
"""

import fcntl
import itertools
import os
import pty
import select
import signal
import subprocess
import sys
import termios

signal.alarm(240)  # a limit for what never ends, and no time that anything takes
command, *steps = sys.argv[1:]
steps = list(zip(steps[::2], steps[1::2]))
hands, terminal = pty.openpty()
end = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)


def take_terminal():
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


program = subprocess.Popen(
    ["bash", "-c", command], start_new_session=True, preexec_fn=take_terminal, **end
)
ended = os.pidfd_open(program.pid)

said = b""
again = None
while True:
    ready, _, _ = select.select([hands, ended], [], [], 0.05 if again else None)
    if not ready and again:
        # Docker knows its detach keys only if it reads each by itself.
        os.write(hands, bytes([next(again)]))
        continue
    if hands not in ready:
        break
    chunk = os.read(hands, 65536)
    sys.stdout.buffer.write(chunk.replace(b"\r", b""))
    sys.stdout.flush()
    said += chunk
    while steps and (at := said.find(steps[0][0].encode())) >= 0:
        words, keys = steps.pop(0)
        said = said[at + len(words.encode()) :]
        if words:
            os.write(hands, keys.encode())
        else:
            again = itertools.cycle(keys.encode())
if steps:
    sys.exit(f"typist: {steps[0][0]!r} never appeared")
sys.exit(program.wait())
