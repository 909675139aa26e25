"""Finds a System by the name a person gives: ``newsroom.py:system`` or ``package.module:system``."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from antiphon.runtime.errors import LoadError
from antiphon.runtime.system import System


def load_system(target: str) -> System:
    """The system that ``target`` names.

    A file's folder joins ``sys.path``, as when Python runs the file; a module is looked up there and in the
    working directory.

    Raises:
        LoadError: no such file, module or name, it is no System, or importing it failed.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise LoadError(f"{target!r}: expected FILE.py:NAME or package.module:NAME, such as newsroom.py:system")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_module(place)
    found = getattr(module, name, None)
    if found is None:
        known = ", ".join(sorted(key for key, value in vars(module).items() if isinstance(value, System))) or "none"
        raise LoadError(f"{place} has no {name!r} (systems in it: {known})")
    if not isinstance(found, System):
        raise LoadError(f"{target} is a {type(found).__name__}, expected an antiphon.System")
    return found


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise LoadError(f"no file {path} in {Path.cwd()}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # As ``import newsroom`` in a neighbouring file would find it; unless the name is taken, by json.py say.
    taken = getattr(sys.modules.get(path.stem), "__file__", str(path.resolve())) != str(path.resolve())
    name = f"antiphon_system_{path.stem}" if taken else path.stem
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise LoadError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise LoadError(f"importing {path} failed: {type(error).__name__}: {error}") from error
    return module


def _from_module(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):
            raise LoadError(f"no module {name!r}: give its dotted name, or a file as FILE.py:NAME") from None
        raise LoadError(f"importing {name} failed: {error}") from error
    except Exception as error:
        raise LoadError(f"importing {name} failed: {type(error).__name__}: {error}") from error
