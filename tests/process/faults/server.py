#!/usr/bin/env -S python3 -ISB
"""A server with two kernels that starts fast, answers and ends in order."""

import os
import select
import signal
import socket
import sys


def say(text):
    os.write(2, (text + "\n").encode())


def kernel():
    """Waits for TERM in a session of its own."""
    os.setsid()
    say(f"fault: kernel {os.getpid()}")
    while not term:
        select.select([woken], [], [])
        os.read(woken, 100)
    os._exit(0)


term = []
woken, wakes = os.pipe()
os.set_blocking(wakes, False)
signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
values = dict(arg[2:].split("=", 1) for arg in sys.argv[1:] if "=" in arg)
kernels = []
signal.signal(signal.SIGTERM, lambda *_: term.append(1))
signal.signal(signal.SIGCHLD, lambda *_: None)
say(f"fault: server {os.getpid()}")
# Between fork(2) and what Python does after it a signal would be forgotten.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        os.close(woken), os.close(wakes)
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        kernel()
    kernels.append(pid)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
port = int(values["ServerApp.port"])
listener.bind(("127.0.0.1", port))
listener.listen()
say("[I 2026-01-01 00:00:00.000 ServerApp] Jupyter Server 2.0.0 is running at:")
say(f"[I 2026-01-01 00:00:00.000 ServerApp] http://127.0.0.1:{port}/lab")
say("[I 2026-01-01 00:00:00.000 ServerApp] Use Control-C to stop this server")
while not term:
    ready, _, _ = select.select([woken, listener], [], [])
    if woken in ready:
        os.read(woken, 100)
    if listener in ready:
        person, _ = listener.accept()
        person.settimeout(60)
        try:
            asked = person.recv(4096)
            answer = b"200 OK" if asked.startswith(b"GET /api ") else b"404 Not Found"
            person.sendall(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        except OSError:
            pass
        person.close()
    while kernels:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        if not pid:
            break
        kernels.remove(pid)
say("fault: server got TERM")
for pid in kernels:
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)
for pid in kernels:
    os.waitpid(pid, 0)
os._exit(0)
