"""A plugin of pytest for dockerspawner's suite, which counts on more than is certain to be there: that
a person with a home runs it, that a start takes less than ten seconds, and IPVS for a swarm's ports."""

import os
import pwd
import socket

import pytest

NAME, UID = "peer", 1234
find = pwd.getpwnam


def account(name):
    return pwd.struct_passwd((NAME, "x", UID, UID, "", "", "")) if name == NAME else find(name)


@pytest.fixture(autouse=True)
def person(request, tmp_path, monkeypatch):
    app = "systemuserspawner_configured_app"
    if app in request.fixturenames:
        (tmp_path / NAME).mkdir()
        os.chown(tmp_path / NAME, UID, UID)
        monkeypatch.setenv("LOGNAME", NAME)
        monkeypatch.setattr(pwd, "getpwnam", account)
        hub = request.getfixturevalue(app)
        hub.config.SystemUserSpawner.host_homedir_format_string = f"{tmp_path}/{{username}}"
        monkeypatch.setitem(hub.tornado_settings, "slow_spawn_timeout", 60)


@pytest.fixture(autouse=True)
def port_of_the_machine(request):
    app = "swarmspawner_configured_app"
    if app in request.fixturenames:
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        ports = {port: (8888, "tcp", "host")}
        request.getfixturevalue(app).config.SwarmSpawner.extra_endpoint_spec = {"ports": ports}
