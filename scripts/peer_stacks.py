"""A plugin of pytest for the suite of the Jupyter Docker Stacks: their words in ours, as the table
in docs/migrating.md translates them, and our log's warnings and errors for theirs."""

import shlex

import docker
from docker.types import IPAMConfig, IPAMPool

COMMANDS = ("start-notebook.py", "start-notebook.sh", "start-singleuser.py")
LEVELS = {"WARNING": "[W ", "ERROR": "[E "}
# Their root, too, is a user of its own choice; only here the log warns of it.
CHOSEN = "The server runs as root"
# An older engine takes no pool of addresses without its wrapping, and has none of its own.
docker.types.IPAMPool = lambda **words: IPAMConfig(pool_configs=[IPAMPool(**words)])


def translated(command, environment):
    """The arguments and the environment that mean the same to this image."""
    if not isinstance(environment, dict):
        environment = dict(pair.split("=", 1) for pair in environment or [])
    environment = {name: str(value) for name, value in environment.items()}
    options, arguments = [], []
    if environment.pop("RESTARTABLE", "") == "yes":
        options += ["--restart", "on-failure"]
    if environment.pop("JUPYTER_DOCKER_STACKS_QUIET", ""):
        options += ["--log-level", "warn"]
    if environment.pop("GRANT_SUDO", ""):
        options += ["--new-privileges"]
    if environment.pop("CHOWN_HOME", ""):
        options += ["--volume-owner", "chown"]
    environment.pop("CHOWN_HOME_OPTS", "")
    if environment.get("NB_USER") == "root":
        options += ["--user", "root"]
        environment = {name: value for name, value in environment.items() if name[:3] != "NB_"}
    server = environment.pop("DOCKER_STACKS_JUPYTER_CMD", "")
    arguments += shlex.split(environment.pop("NOTEBOOK_ARGS", ""))
    if command and command[0] in COMMANDS:
        server, arguments, command = server or "lab", arguments + command[1:], None
    if command and command[0] == "start.sh":
        command = command[1:]
    if not command and (server or arguments):
        command = ["jupyter", server or "lab", *arguments]
    return options + (command or []), environment


def lines_of_level(logs, level):
    lines = (line for line in logs.splitlines() if " ai-lab]" in line and CHOSEN not in line)
    plain = ((line, TrackedContainer._strip_ansi(line)) for line in lines)
    return [line for line, text in plain if text.startswith(LEVELS[level])]


def pytest_collection_finish(session):
    global TrackedContainer
    from tests.utils.tracked_container import TrackedContainer

    run, execute = TrackedContainer.run_detached, TrackedContainer.exec_cmd

    def run_translated(self, *, command=None, environment=None, **kwargs):
        command, environment = translated(command, environment)
        run(self, command=command, environment=environment, **kwargs)

    # The user of their image, where ours has root.
    def executed(self, command, *, user="jupyter", **kwargs):
        return execute(self, command, user=user, **kwargs)

    TrackedContainer.run_detached = run_translated
    TrackedContainer.exec_cmd = executed
    TrackedContainer._lines_starting_with = staticmethod(lines_of_level)
