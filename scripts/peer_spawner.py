"""A plugin of pytest for dockerspawner's suite, which counts on more than is certain to be there: a
person with a home who runs it, an idle machine, IPVS for the ports of a swarm."""

import os
import pwd
import socket

import pytest

NAME, UID = "peer", 1234
find = pwd.getpwnam


def account(name):
    return pwd.struct_passwd((NAME, "x", UID, UID, "", "", "")) if name == NAME else find(name)


@pytest.fixture(autouse=True)
def machine(request, tmp_path, monkeypatch):
    begins = ("dockerspawner", "swarmspawner", "systemuserspawner")
    apps = {f"{begin}_configured_app" for begin in begins} & set(request.fixturenames)
    if not apps:
        return
    hub = request.getfixturevalue(apps.pop())
    hub.config.Spawner.start_timeout = hub.config.Spawner.http_timeout = 300

    # One of the tests asks again and again for a server that is on its way.
    monkeypatch.setitem(hub.tornado_settings, "slow_spawn_timeout", 300)

    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    hub.config.SwarmSpawner.extra_endpoint_spec = {"ports": {port: (8888, "tcp", "host")}}

    (tmp_path / NAME).mkdir()
    os.chown(tmp_path / NAME, UID, UID)
    monkeypatch.setenv("LOGNAME", NAME)
    monkeypatch.setattr(pwd, "getpwnam", account)
    hub.config.SystemUserSpawner.host_homedir_format_string = f"{tmp_path}/{{username}}"
