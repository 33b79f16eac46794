"""Lets Jupyter's servers start without what they import and do not use.

In the image, bin/jupyter-lab and the other servers say

    with ai_lab_start.quickly():
        from jupyterlab.labapp import main

An import in LATER binds a stand-in. The first use of the stand-in imports, and puts the real
thing in its place. Everything works as ever, nothing in a package is changed, and sys.modules
holds only what was really imported. No other program of the venv loads this file.

LATER is for the versions that it names, with which JupyterHub's own tests of a server have
passed. Whatever else is installed, or found in another directory, is imported at once.
PYTHON_LAZY_IMPORTS=none switches all of it off, as it does in Python 3.15.
"""

import builtins
import contextlib
import gc
import importlib
import importlib.util
import os
import sys
import threading
from importlib.machinery import PathFinder, SourceFileLoader
from types import ModuleType, SimpleNamespace

# Installed distributions → module → what it imports later. With a name behind a colon, `except`
# or `isinstance` wants a class, and its base is named.
LATER = {
    "jupyterhub-6.1.1": {
        # The class is in the hub's pages, which import the hub: SQLAlchemy, alembic, cryptography.
        # A server has no such handler and no database.
        "jupyterhub.log": {"jupyterhub.handlers.pages.HealthCheckHandler": object},
        "jupyterhub.metrics": {"jupyterhub.orm": None},
        "jupyterhub.scopes": {"jupyterhub.orm": None, "jupyterhub.roles": None, "sqlalchemy": None},
        "jupyterhub.utils": {"sqlalchemy.exc.SQLAlchemyError": Exception},
    },
    "jupyterlab-4.6.6 httpx-0.28.1": {
        # The list of extensions on PyPI, which a person asks for. A client reads all
        # certificates of the system.
        "jupyterlab.extensions.pypi": {"httpx": {"__version__": "0.28.1", "AsyncClient": None}},
    },
    "jupyterlab_server-2.28.1": {
        # Lists of blocked and allowed extensions, which few have.
        "jupyterlab_server.listings_handler": {"requests": None},
    },
    # Formats that none of the servers' schemas has.
    "jsonschema-4.24.1": {
        "jsonschema._format": {"rfc3986_validator.validate_rfc3986": None},
    },
    "isoduration-20.11.0": {
        "isoduration.parser.parsing": {"arrow": None},
    },
    # A server wants IPython's directory, and no shell.
    "ipython-9.18.1": {
        "IPython": {
            "IPython.core.interactiveshell.InteractiveShell": None,
            "IPython.utils.frame.extract_module_locals": None,
            "IPython.utils.sysinfo.sys_info": None,
        },
    },
}
DISTRIBUTIONS = {module: names for names, modules in LATER.items() for module in modules}
# Module → (namespace, stand-in) of the classes that wait for it: until it is imported nothing
# can be an instance of them.
WAITING = {
    path.rpartition(".")[0]: []
    for modules in LATER.values()
    for imports in modules.values()
    for path, kind in imports.items()
    if isinstance(kind, type)
}


class Later:
    """Stands in for what `load` returns, and for what is known of it already."""

    def __init__(self, path, load, known=()):
        vars(self).update(known, _path=path, _load=load)

    def __repr__(self):
        return f"<{vars(self)['_path']}, imported when it is used>"

    def __getattr__(self, name):
        return getattr(self._load(), name)

    def __setattr__(self, name, value):
        setattr(self._load(), name, value)

    def __delattr__(self, name):
        delattr(self._load(), name)

    def __call__(self, *args, **kwargs):
        return self._load()(*args, **kwargs)


class LaterClass(type):
    """A class of classes without an instance, each of which stands in for another."""

    def __getattr__(cls, name):
        return getattr(cls.__dict__["_load"](), name)

    def __call__(cls, *args, **kwargs):
        return cls.__dict__["_load"]()(*args, **kwargs)


class Importer(ModuleType):
    """A module with stand-ins. They are its own: others get the real things.

    Of a package others may want what those imports bring: they get that, too.
    """

    def __getattribute__(self, name):
        namespace = ModuleType.__getattribute__(self, "__dict__")
        if "__path__" in namespace and not name.startswith("__"):
            # What is imported now may ask the package for more.
            self.__class__ = ModuleType
            for value in list(namespace.values()):
                real(value)
        return real(ModuleType.__getattribute__(self, name))


def real(value):
    if type(value) is Later:
        return vars(value)["_load"]()
    if type(value) is LaterClass:
        return value.__dict__["_load"]()
    return value


def stand_in(namespace, path, kind):
    """Returns what an import of `path` binds in a module's namespace."""
    module, _, name = path.rpartition(".")

    def load():
        if module:
            found = getattr(importlib.__import__(module, fromlist=[name]), name)
        else:
            found = importlib.import_module(name)
        replace(namespace, it, found)
        return found

    if isinstance(kind, type):
        it = LaterClass(name, (kind,), {"__module__": module, "_load": staticmethod(load)})
        WAITING[module].append((namespace, it))
    else:
        known = {
            each: value or instances(f"{path}.{each}", load, each)
            for each, value in (kind or {}).items()
        }
        it = Later(path, load, known)
    return it


def instances(path, load, name):
    """Returns a function that stands in for a class: what it makes is made when it is used."""

    def make(*args, **kwargs):
        made = []

        def get():
            if not made:
                made.append(getattr(load(), name)(*args, **kwargs))
            return made[0]

        return Later(f"{path}()", get)

    return make


def replace(namespace, old, new):
    for name in [name for name, value in list(namespace.items()) if value is old]:
        namespace[name] = new


class Statements:
    """The import statements that a module executes now: a hook for them, and for no others."""

    lock = threading.Lock()
    active = {}  # The identity of a namespace → what is imported later there.
    hook = None

    @classmethod
    @contextlib.contextmanager
    def of(cls, namespace, later):
        with cls.lock:
            if not cls.active:
                before = builtins.__import__
                cls.hook = lambda *args, **options: cls.statement(before, *args, **options)
                cls.before, builtins.__import__ = before, cls.hook
            cls.active[id(namespace)] = later
        try:
            yield
        finally:
            with cls.lock:
                del cls.active[id(namespace)]
                if not cls.active and builtins.__import__ is cls.hook:
                    builtins.__import__ = cls.before

    @classmethod
    def statement(cls, before, name, globals=None, locals=None, fromlist=(), level=0):
        later = cls.active.get(id(globals))
        if not later:
            return before(name, globals, locals, fromlist, level)
        full = "." * level + name
        if level:
            full = importlib.util.resolve_name(full, globals["__package__"])
        paths = {each: f"{full}.{each}" for each in fromlist} if fromlist else {"": full}
        bound = {
            each: stand_in(globals, path, later[path])
            for each, path in paths.items()
            if path in later and can_wait(path)
        }
        if "" in bound:
            return bound[""]
        rest = tuple(each for each in fromlist or () if each not in bound)
        if rest or not bound:
            found = before(name, globals, locals, rest, level)
            if not bound:
                return found
            bound.update((each, getattr(found, each)) for each in rest)
        return SimpleNamespace(**bound)


def can_wait(path):
    """Reports whether an import can be done later.

    Not if it is done already: what waits for it would wait for ever. Not if the package is not
    installed: the import fails, and the importer may expect that.
    """
    done = path in sys.modules or path.rpartition(".")[0] in WAITING.keys() & sys.modules.keys()
    return not done and importlib.util.find_spec(path.partition(".")[0]) is not None


class Loader(SourceFileLoader):
    def __init__(self, loader, later):
        super().__init__(loader.name, loader.path)
        self.later = later

    def exec_module(self, module):
        if self.later:
            with Statements.of(vars(module), self.later):
                super().exec_module(module)
            module.__class__ = Importer
        else:
            super().exec_module(module)
        for namespace, it in WAITING.get(module.__name__, ()):
            replace(namespace, it, getattr(module, it.__name__))


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in DISTRIBUTIONS and name not in WAITING:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return spec
        later = None
        if name in DISTRIBUTIONS:
            above = name.count(".") + 1 + (spec.submodule_search_locations is not None)
            place = spec.origin
            for _ in range(above):
                place = os.path.dirname(place)
            names = DISTRIBUTIONS[name].split()
            if all(os.path.isdir(f"{place}/{each}.dist-info") for each in names):
                later = LATER[DISTRIBUTIONS[name]][name]
        if later or name in WAITING:
            spec.loader = Loader(spec.loader, later)
        return spec


@contextlib.contextmanager
def quickly():
    """Does not collect garbage while it imports: all of that stays."""
    if os.environ.get("PYTHON_LAZY_IMPORTS") == "none":
        yield
        return
    sys.meta_path.insert(0, Finder)
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()
