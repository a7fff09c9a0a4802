"""`batcher-server`, which is `python -m server`. Main thread."""

from typing import NoReturn

from server.interrupts import leaving_at_once


def main() -> NoReturn:
    """Import the command line, which takes its time, run it and exit."""
    with leaving_at_once():
        from server.cli import main  # noqa: PLC0415 - see above
    main()


if __name__ == "__main__":
    main()
