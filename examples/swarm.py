"""JupyterHub with AI Lab on the machines of a Docker swarm.

The hub is a service of the swarm too, on a manager, in the network of its servers:

    docker network create --driver overlay ai-lab
    docker service create --name hub --network ai-lab --constraint node.role==manager \\
        --mount type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock \\
        --mount type=bind,source=$PWD/swarm.py,target=/srv/swarm.py \\
        --publish 8000:8000 IMAGE jupyterhub --config /srv/swarm.py

IMAGE is any image with jupyterhub, dockerspawner and configurable-http-proxy. AI Lab's own
image must be in a registry that every machine can pull from, or be loaded on each machine.
"""

import sys
from pathlib import Path

import aiohttp.connector
from docker.types import Mount

c = get_config()  # noqa: F821

# Everyone can log in, with any name. Before others can reach this hub, set a real
# authenticator and put TLS in front of it.
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = "http://0.0.0.0:8000"
c.ConfigurableHTTPProxy.command = [
    str(Path(sys.executable).with_name("configurable-http-proxy"))
]

# The servers find the hub in their network, under the name of its service.
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_connect_ip = "hub"

# Set no `cmd`: the image detects that a hub started it.
c.JupyterHub.spawner_class = "dockerspawner.SwarmSpawner"
c.SwarmSpawner.image = "ai-lab:dev"
c.SwarmSpawner.network_name = "ai-lab"
c.SwarmSpawner.use_internal_ip = True
# The next service of the same name has another address. The hub's own resolver would keep
# the old one for ten minutes; the system's resolver asks Docker each time.
aiohttp.connector.DefaultResolver = aiohttp.ThreadedResolver
# A service has one server, so its name needs no virtual address.
c.SwarmSpawner.extra_endpoint_spec = {"mode": "dnsrr"}
# The hub starts ended servers again; the swarm must not.
c.SwarmSpawner.extra_task_spec = {"restart_policy": {"Condition": "none"}}
# A task counts as running once it is healthy, which takes at least 5 s.
c.SwarmSpawner.start_timeout = 120
# To choose machines: c.SwarmSpawner.extra_placement_spec = {"constraints": ["node.role==worker"]}


def own_volume(spawner):
    """Mounts a volume of the machine that runs the server. If servers move between machines,
    name a volume that all machines have, with `driver_config`."""
    name = f"ai-lab-{spawner.escaped_name}"
    volume = Mount("/home/jupyter/notebooks", name, type="volume")
    spawner.extra_container_spec = {"mounts": [volume]}


c.SwarmSpawner.pre_spawn_hook = own_volume
