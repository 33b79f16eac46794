"""Starts a server once, and says in JSON how many milliseconds passed from its exec to its first
HTTP 200, and how many it took of a processor:  bench_server.py PROGRAM

Part of scripts/bench, which executes it in a container. It is the hub, too, for
jupyterhub-singleuser, as far as a server asks it before it answers.
"""

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = "/home/jupyter/notebooks"


class Hub(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b"{}"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def in_hub_mode(port):
    hub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    api = f"http://127.0.0.1:{hub.server_port}/hub/api"
    scopes = json.dumps(["access:servers!server=alice/"])
    given = dict(
        API_TOKEN="a" * 32, CLIENT_ID="jupyterhub-user-alice", USER="alice", SERVER_NAME="",
        API_URL=api, ACTIVITY_URL=f"{api}/users/alice/activity", BASE_URL="/", HOST="",
        SERVICE_PREFIX="/user/alice/", SERVICE_URL=f"http://127.0.0.1:{port}/user/alice/",
        OAUTH_CALLBACK_URL="/user/alice/oauth_callback", OAUTH_SCOPES=scopes,
        OAUTH_ACCESS_SCOPES=scopes, OAUTH_CLIENT_ALLOWED_SCOPES="[]",
    )
    return {f"JUPYTERHUB_{name}": value for name, value in given.items()}


def answers(port, path):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
            link.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            return link.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


program = sys.argv[1]
port, path, variables = free_port(), "/api", {}
words = [program, f"--ServerApp.root_dir={ROOT}"]
if program.endswith("singleuser"):
    path, variables = "/user/alice/api", in_hub_mode(port)
else:
    words += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--no-browser"]
with open(os.devnull, "w") as nowhere:
    start = time.monotonic_ns()
    server = subprocess.Popen(
        words, env=os.environ | variables, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=nowhere,
        stderr=nowhere,
    )
    while not answers(port, path):
        assert server.poll() is None, "the server has ended"
        time.sleep(0.005)
    wall = time.monotonic_ns() - start
server.send_signal(signal.SIGKILL)
used = os.wait4(server.pid, 0)[2]
print(json.dumps([wall / 1e6, (used.ru_utime + used.ru_stime) * 1000]))
# The hub's thread does not end.
sys.stdout.flush()
os._exit(0)
