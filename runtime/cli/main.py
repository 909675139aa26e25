"""Where the ``antiphon`` script enters: nothing but a clean way out, until the commands are imported."""

import sys

INTERRUPTED = 130  # what a shell reports for a command that Ctrl-C ended


def main() -> None:
    """Run the command line. The commands are imported in here, because Ctrl-C may come while they are."""
    try:
        from antiphon.runtime.cli.commands import app

        app()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
