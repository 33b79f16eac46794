"""Asks ai_lab_start, in a Python of its own:  later.py CHECK

One check for each process, because what is imported stays so. Prints "ok", or what is wrong.
"""

import importlib
import importlib.metadata
import sys
import types

import ai_lab_start
from ai_lab_start import LATER, Later, LaterClass

# What they import when they start, too.
SERVERS = ("jupyterlab.labapp", "jupyterlab.labhubapp", "jupyterhub.singleuser", "IPython.paths")
ROWS = [
    (module, path, kind)
    for modules in LATER.values()
    for module, imports in modules.items()
    for path, kind in imports.items()
]
UNUSED = "sqlalchemy alembic cryptography httpx requests arrow rfc3986_validator"


def import_servers():
    with ai_lab_start.quickly():
        for module in SERVERS:
            importlib.import_module(module)


def waits(module, path):
    """Reports whether an import of a module stands in for what it names."""
    values = list(vars(sys.modules[module]).values())
    later = [vars(value)["_path"] for value in values if type(value) is Later]
    classes = [value for value in values if type(value) is LaterClass]
    return path in later + [f"{each.__module__}.{each.__name__}" for each in classes]


def versions():
    """Each version in the table is the installed one."""
    for row in LATER:
        for distribution in row.split():
            name, _, version = distribution.rpartition("-")
            assert importlib.metadata.version(name) == version, distribution
    for _, path, kind in ROWS:
        if isinstance(kind, dict):
            assert kind["__version__"] == importlib.import_module(path).__version__, path


def every_row():
    """Each import in the table is left out, and nothing else imports what is unused."""
    import_servers()
    for module, path, _ in ROWS:
        assert waits(module, path), f"{module} has imported {path}"
    there = [name for name in UNUSED.split() if name in sys.modules]
    assert not there, there


def others():
    """Whoever asks a module for what it imports later gets the real thing."""
    import_servers()
    for module, path, _ in ROWS:
        place, _, name = path.rpartition(".")
        found = getattr(sys.modules[module], "sa" if name == "sqlalchemy" else name)
        real = importlib.__import__(place or name, fromlist=[name])
        real = getattr(real, name) if place else real
        assert found is real, f"{module} gives {found!r} for {path}"
        assert not waits(module, path), f"{module} still waits for {path}"


def classes():
    """`except` and `isinstance` are right before and after the classes are imported."""
    import_servers()
    import jupyterhub.log
    import jupyterhub.utils
    from tornado.web import StaticFileHandler

    own = vars(jupyterhub.log)
    assert not isinstance(object(), StaticFileHandler | own["HealthCheckHandler"])
    from jupyterhub.handlers.pages import HealthCheckHandler

    assert own["HealthCheckHandler"] is HealthCheckHandler
    # Whoever imports it, what waited for it has it.
    import sqlalchemy.exc

    assert vars(jupyterhub.utils)["SQLAlchemyError"] is sqlalchemy.exc.SQLAlchemyError


def first():
    """What is imported already is not waited for."""
    import sqlalchemy.exc

    import_servers()
    import jupyterhub.utils

    assert vars(jupyterhub.utils)["SQLAlchemyError"] is sqlalchemy.exc.SQLAlchemyError


def package():
    """Of IPython there is all that its import brings, as soon as one looks."""
    import_servers()
    import IPython

    assert "IPython.core.interactiveshell" not in sys.modules
    assert IPython.core.interactiveshell.InteractiveShell is IPython.InteractiveShell


def used():
    """What is used first works: its first use imports it."""
    import_servers()
    from jsonschema import FormatChecker

    check = FormatChecker()
    assert check.conforms("https://example.org/", "uri") and not check.conforms("::", "uri")
    import isoduration

    assert isoduration.parse_duration("P0003-06-04T12:30:05").date.years == 3
    from jupyterlab.extensions.pypi import PyPIExtensionManager

    manager = PyPIExtensionManager()
    assert "httpx" not in sys.modules
    assert type(manager._httpx_client.headers).__module__ == "httpx"
    assert manager._httpx_client.headers is manager._httpx_client.headers
    from jupyterhub import scopes

    assert scopes.identify_scopes() and "sqlalchemy" not in sys.modules
    try:
        scopes.identify_scopes(types.SimpleNamespace(name="no user"))
    except TypeError as error:
        assert "Expected orm.User" in str(error)
    else:
        raise AssertionError("no error")


def other_version():
    """With another version all is imported at once."""
    import_servers()
    assert "sqlalchemy" in sys.modules and "httpx" in sys.modules


def off():
    """PYTHON_LAZY_IMPORTS=none switches it off."""
    import_servers()
    assert ai_lab_start.Finder not in sys.meta_path
    missing = [name for name in UNUSED.split() if name not in sys.modules]
    assert not missing, missing


globals()[sys.argv[1]]()
print("ok")
