"""A JupyterHub of one's own with a DockerSpawner, as in examples/jupyterhub_config.py; for
scripts/density and scripts/first-kernel."""

import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("jupyterhub==6.1.1", "dockerspawner==14.0.0", "configurable-http-proxy==0.4.0")
TOKEN = uuid.uuid4().hex

CONFIG = """
load_subconfig({example!r})
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub_port}
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.JupyterHub.services = [{{"name": "measures", "api_token": {token!r}}}]
scopes = ["admin:users", "admin:servers"]
c.JupyterHub.load_roles = [{{"name": "measures", "services": ["measures"], "scopes": scopes}}]
c.JupyterHub.concurrent_spawn_limit = 0
c.DockerSpawner.prefix = {prefix!r}
c.DockerSpawner.image = {image!r}
c.DockerSpawner.volumes = {volumes!r}
c.Spawner.http_timeout = 120
{more}
"""


def run(*words):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def install(*more):
    """A venv with the hub and `more` packages: one for each script."""
    place = ROOT / f"target/own-hub-{len(more)}"
    complete, wanted = place / "complete", "\n".join((*PACKAGES, *more))
    if not complete.exists() or complete.read_text() != wanted:
        run(sys.executable, "-m", "venv", "--clear", str(place))
        run(str(place / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *wanted.split())
        complete.write_text(wanted)
    return place


class Hub:
    """A hub of our own; with it go all that it started. `mounts` are mounted beside
    the volume of the notebooks, and `more` gets the prefix of names and gives more lines of
    the configuration."""

    def __init__(self, venv, image, mounts=None, more=None):
        self.prefix = f"ai-lab-hub-{uuid.uuid4().hex[:8]}"
        self.directory = tempfile.TemporaryDirectory(prefix="ai-lab-hub-")
        place = pathlib.Path(self.directory.name)
        volumes = {f"{self.prefix}-{{username}}": "/home/jupyter/notebooks"} | (mounts or {})
        with contextlib.ExitStack() as held:
            free = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
            port, hub_port, proxy_port = (each.getsockname()[1] for each in free)
        self.url = f"http://127.0.0.1:{port}"
        example = str(ROOT / "examples/jupyterhub_config.py")
        config = CONFIG.format(
            example=example, port=port, hub_port=hub_port, proxy_port=proxy_port, token=TOKEN,
            prefix=self.prefix, image=image, volumes=volumes,
            more=more(self.prefix) if more else "",
        )
        (place / "config.py").write_text(config)
        self.log = open(place / "log", "w")
        self.process = subprocess.Popen(
            [str(venv / "bin/jupyterhub"), "--config", "config.py"],
            cwd=place, stdout=self.log, stderr=subprocess.STDOUT,
        )
        try:
            until("the hub answers", lambda: self.ask("GET", "")[0] == 200)
        except BaseException:
            print((place / "log").read_text(), file=sys.stderr)
            self.end()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        begins = f"name=^{self.prefix}-"
        for kind, listed in (("container", ("ls", "--all")), ("volume", ("ls",))):
            names = run("docker", kind, *listed, "--quiet", "--filter", begins).split()
            for name in names:
                run("docker", kind, "rm", "--force", name)
        self.log.close()
        self.directory.cleanup()

    def ask(self, method, path):
        request = urllib.request.Request(
            f"{self.url}/hub/api/{path}", method=method,
            headers={"Authorization": f"token {TOKEN}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def add(self, user):
        status, said = self.ask("POST", f"users/{user}")
        assert status == 201, said

    def start(self, user):
        """Starts a new user's server; seconds until the hub calls it ready."""
        self.add(user)
        begin = time.monotonic()
        status, said = self.ask("POST", f"users/{user}/server")
        assert status in (201, 202), said
        until(f"the server of {user} is ready", lambda: self.ready(user))
        return time.monotonic() - begin

    def ready(self, user):
        servers = json.loads(self.ask("GET", f"users/{user}")[1])["servers"]
        return servers.get("", {}).get("ready", False)

    def stop(self, user):
        begin = time.monotonic()
        status, said = self.ask("DELETE", f"users/{user}/server")
        assert status in (202, 204), said
        until(f"the server of {user} is gone", lambda: not self.there(user))
        return time.monotonic() - begin

    def there(self, user):
        return "" in json.loads(self.ask("GET", f"users/{user}")[1])["servers"]

    def pid(self, user):
        return int(run("docker", "inspect", "--format", "{{.State.Pid}}", f"{self.prefix}-{user}"))


def until(what, holds):
    deadline = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)
