"""A plugin of pytest for the predecessor's suite, which mounts regular files as Docker sockets. The
entrypoint gives access to sockets alone, so these are sockets that somebody listens on."""

import socket

import pytest

LISTENERS = {}


class Fixtures:
    @pytest.fixture
    def fake_docker_socket_on_host(self, tmp_path):
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            path.chmod(0o660)
            LISTENERS[path] = listener
            yield path


def write_to_socket(self):
    said = "Is there anybody out there?"
    code = (
        "import socket; s = socket.socket(socket.AF_UNIX); "
        f"s.connect('/var/run/docker.sock'); s.sendall(b'{said}')"
    )
    self.run(["python3", "-c", code], user="jupyter")
    listener = LISTENERS[self.socket_on_host]
    listener.settimeout(10)
    with listener.accept()[0] as connection:
        assert connection.recv(100).decode() == said


def pytest_sessionstart(session):
    # After the suite's own plugins, whose fixture this one replaces.
    session.config.pluginmanager.register(Fixtures())


def pytest_collection_finish(session):
    from test.integration import docker_socket_and_groups

    docker_socket_and_groups.SocketInspector.assert_write_to_socket = write_to_socket
