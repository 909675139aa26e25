"""Which Antiphon this is."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("antiphon")
except PackageNotFoundError:  # run from a checkout that was never installed
    VERSION = "0.0.0"
