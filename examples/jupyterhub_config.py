"""JupyterHub with AI Lab on one machine, in one file that runs as it stands.

    python3 -m venv hub
    hub/bin/pip install jupyterhub dockerspawner configurable-http-proxy
    hub/bin/jupyterhub --config examples/jupyterhub_config.py

Then http://localhost:8000. It needs Docker, and an image: `scripts/image` makes
ai-lab:dev. What each line is for, and what else can be set: docs/jupyterhub.md.
"""

import sys
from ipaddress import ip_network
from pathlib import Path

import docker

c = get_config()  # noqa: F821

# Everyone gets in, under any name: before others can reach this hub, it needs a real
# authenticator and an address with TLS in front of it.
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = "http://127.0.0.1:8000"

# Where the containers find the hub: this machine's address on Docker's own network.
bridge = docker.from_env().networks.get("bridge").attrs["IPAM"]["Config"][0]
first_address = str(ip_network(bridge["Subnet"])[1])
c.JupyterHub.hub_ip = bridge.get("Gateway", first_address)

# The proxy that was installed beside the hub.
c.ConfigurableHTTPProxy.command = [
    str(Path(sys.executable).with_name("configurable-http-proxy"))
]

# AI Lab. There is no `cmd`: the image knows that a hub started it.
c.JupyterHub.spawner_class = "docker"
c.DockerSpawner.image = "ai-lab:dev"
c.DockerSpawner.volumes = {"ai-lab-{username}": "/home/jupyter/notebooks"}
# False keeps a stopped container, what was installed in it and its log.
c.DockerSpawner.remove = True
c.JupyterHub.allow_named_servers = True
