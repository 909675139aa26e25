"""Where the ``antiphon`` script enters: nothing but a clean way out until the commands are imported."""

import os
import signal
from types import FrameType

INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended


def main() -> None:
    """Run the command line.

    Importing the commands takes most of a second, and nothing is held yet: Ctrl-C then ends the process at once.
    Python's own handler would print a traceback, or lose the interrupt where importlib ignores exceptions (seen).
    """
    signal.signal(signal.SIGINT, _stop)
    from antiphon.runtime.cli.commands import app

    signal.signal(signal.SIGINT, signal.default_int_handler)
    app()


def _stop(number: int, frame: FrameType | None) -> None:
    os.write(2, b"stopped\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
