"""A project to begin with: two agents, a test, and the settings for one model. Pure."""

import json
import re
from importlib.resources import files
from string import Template
from typing import Final

from antiphon.runtime.models.setting import LocalSetting, ModelSetting

MODEL: Final = "main"  # what the agents call their model, whichever it is
NEXT: Final = (
    "pytest",
    "antiphon run agents.py:system",
    """antiphon submit guide.answer '{"text": "When is breakfast?"}' --wait""",
)
_FILES: Final = {
    "pyproject.toml": "pyproject.toml.in",
    "agents.py": "agents.py.in",
    "tests/test_agents.py": "test_agents.py.in",
    "README.md": "README.md.in",
    ".gitignore": "gitignore.in",  # a .gitignore here would be one for this repository
}
SETTINGS: Final = "antiphon.toml"
PATHS: Final = (*_FILES, SETTINGS)


def name_of(folder: str) -> str:
    """A distribution name made of a folder's (https://packaging.python.org/specifications/name-normalization)."""
    return re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-") or "my-agents"


def project(name: str, setting: ModelSetting) -> dict[str, str]:
    """The files' texts by path, for a project of that name whose model ``main`` is ``setting``."""
    requirement = "antiphon[engine]" if isinstance(setting, LocalSetting) else "antiphon"
    folder = files("antiphon.runtime.scaffold") / "files"
    texts = {
        path: Template((folder / source).read_text("utf-8")).substitute(name=name, requirement=requirement)
        for path, source in _FILES.items()
    }
    return {
        **texts,
        SETTINGS: f'system = "agents.py:system"  # which code `antiphon replay` runs\n{settings_file(setting)}',
    }


def settings_file(setting: ModelSetting) -> str:
    """``antiphon.toml`` with one model: what is at its default is left out."""
    given = {"kind": setting.kind, **setting.model_dump(exclude_defaults=True)}
    # A JSON string is a TOML basic string as long as nothing in it needs escaping beyond JSON's own.
    lines = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in given.items())
    return (
        f'# The agents ask for their model by the name "{MODEL}". `antiphon doctor` says whether it answers.\n'
        f'default_model = "{MODEL}"\n\n[models.{MODEL}]\n{lines}'
    )
