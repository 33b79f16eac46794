"""JupyterHub with AI Lab on one machine, complete in one file.

    python3 -m venv hub
    hub/bin/pip install jupyterhub dockerspawner configurable-http-proxy
    hub/bin/jupyterhub --config examples/jupyterhub_config.py

Then open http://localhost:8000. It needs Docker and an image: `scripts/image` builds
ai-lab:dev. docs/jupyterhub.md explains the settings and lists more.
"""

import sys
from ipaddress import ip_network
from pathlib import Path

import docker

c = get_config()  # noqa: F821

# Everyone can log in, with any name. Before others can reach this hub, set a real
# authenticator and an address with TLS in front of it.
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = "http://127.0.0.1:8000"

# The containers find the hub at this machine's address on Docker's own network.
bridge = docker.from_env().networks.get("bridge").attrs["IPAM"]["Config"][0]
first_address = str(ip_network(bridge["Subnet"])[1])
c.JupyterHub.hub_ip = bridge.get("Gateway", first_address)

# The proxy that is installed beside the hub.
c.ConfigurableHTTPProxy.command = [
    str(Path(sys.executable).with_name("configurable-http-proxy"))
]

# AI Lab. Set no `cmd`: the image detects that a hub started it.
c.JupyterHub.spawner_class = "docker"
c.DockerSpawner.image = "ai-lab:dev"
c.DockerSpawner.volumes = {"ai-lab-{username}": "/home/jupyter/notebooks"}
# False keeps a stopped container with its installed packages and its log.
c.DockerSpawner.remove = True
c.JupyterHub.allow_named_servers = True
# Docker starts a process for each health check, which costs more than an idle server, and the
# hub does not look at them. Once a minute instead of every 5 s, in nanoseconds:
c.DockerSpawner.extra_create_kwargs = {"healthcheck": {"interval": 60 * 10**9}}
