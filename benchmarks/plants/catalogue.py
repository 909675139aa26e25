"""Which plants there are: every module here that is named after a pattern."""

import importlib
import pkgutil
import re

import plants
from plants.plant import Plant


def catalogue() -> dict[str, Plant]:
    """Plants by module name (``p1_serial``), in the patterns' order."""
    names = [m.name for m in pkgutil.iter_modules(plants.__path__) if re.fullmatch(r"p\d+_\w+", m.name)]
    names.sort(key=lambda name: (int(re.findall(r"\d+", name)[0]), name))
    return {name: importlib.import_module(f"plants.{name}").PLANT for name in names}
