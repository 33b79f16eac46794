"""Prints, as JSON, the pod that KubeSpawner makes of the configuration in argv[1], and
the time it gives that pod to end. There is no cluster: nothing is sent."""

import asyncio
import json
import sys
from types import SimpleNamespace
from unittest import mock

from jupyterhub.objects import Hub, Server
from kubernetes_asyncio.client import ApiClient
from kubespawner import KubeSpawner
from traitlets.config import PyFileConfigLoader


class User(SimpleNamespace):
    id, name, escaped_name = 1, "alice", "alice"
    url = "/user/alice/"
    settings = {}

    @property
    def server(self):
        return Server(ip="0.0.0.0", port=8888, base_url=self.url)


async def main():
    config = PyFileConfigLoader(sys.argv[1]).load_config()
    orm = SimpleNamespace(name="", server=None, user_options={})
    with mock.patch("kubespawner.spawner.load_config"):
        spawner = KubeSpawner(config=config, user=User(), orm_spawner=orm, hub=Hub())
    pod = ApiClient().sanitize_for_serialization(await spawner.get_pod_manifest())
    print(json.dumps({"pod": pod, "grace": spawner.delete_grace_period}))


asyncio.run(main())
