"""The server with turns in the order they are asked for, in place of fair ones: to compare.

    python -m bench.in_order_server --model tiny=PATH --port 0

Its arguments are those of the server.
"""

from batcher import executor
from batcher.turns import Claimant, Claims, Granted
from server.cli import main


class InOrder(Claims):
    """One turn each, however long it takes."""

    def begin(self, claimant: Claimant) -> bool:
        """Only beside nobody who waits: those asked before."""
        return not len(self)

    def next(self) -> Granted:
        """Who has waited longest."""
        _, granted = self._waiting.pop(0)
        return granted


if __name__ == "__main__":
    # Where executors find what they wait in.
    vars(executor)["Claims"] = InOrder
    main()
