"""JupyterHub with AI Lab on the machines of a Docker swarm.

The hub is itself a service of the swarm, on a manager, in the network of its servers:

    docker network create --driver overlay ai-lab
    docker service create --name hub --network ai-lab --constraint node.role==manager \\
        --mount type=bind,source=/var/run/docker.sock,target=/var/run/docker.sock \\
        --mount type=bind,source=$PWD/swarm.py,target=/srv/swarm.py \\
        --publish 8000:8000 IMAGE jupyterhub --config /srv/swarm.py

IMAGE is any with jupyterhub, dockerspawner and configurable-http-proxy; AI Lab's own image
must be in a registry that every machine can pull from, or be loaded on each of them.
"""

import sys
from pathlib import Path

import aiohttp.connector
from docker.types import Mount

c = get_config()  # noqa: F821

# Everyone gets in, under any name: before others can reach this hub, it needs a real
# authenticator and TLS in front of it.
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = "http://0.0.0.0:8000"
c.ConfigurableHTTPProxy.command = [
    str(Path(sys.executable).with_name("configurable-http-proxy"))
]

# Where the servers find the hub: under the name of its service, in their network.
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_connect_ip = "hub"

# There is no `cmd`: the image knows that a hub started it.
c.JupyterHub.spawner_class = "dockerspawner.SwarmSpawner"
c.SwarmSpawner.image = "ai-lab:dev"
c.SwarmSpawner.network_name = "ai-lab"
c.SwarmSpawner.use_internal_ip = True
# The next service of the same name has another address. The hub's own resolver would
# remember the old one for ten minutes; the system's asks Docker each time.
aiohttp.connector.DefaultResolver = aiohttp.ThreadedResolver
# A service has one server, so its name needs no virtual address.
c.SwarmSpawner.extra_endpoint_spec = {"mode": "dnsrr"}
# What ends is for the hub to start again, not for the swarm.
c.SwarmSpawner.extra_task_spec = {"restart_policy": {"Condition": "none"}}
# A task runs once it is healthy, which the image says after 5 s at the earliest.
c.SwarmSpawner.start_timeout = 120
# Which machines: c.SwarmSpawner.extra_placement_spec = {"constraints": ["node.role==worker"]}


def own_volume(spawner):
    """Of the machine the server runs on. Where it may run on another one the next time,
    `driver_config` names a volume that all of them have."""
    name = f"ai-lab-{spawner.escaped_name}"
    volume = Mount("/home/jupyter/notebooks", name, type="volume")
    spawner.extra_container_spec = {"mounts": [volume]}


c.SwarmSpawner.pre_spawn_hook = own_volume
