"""Who may do what. Event loop."""

from server.errors import PermissionDenied
from server.exchange import Exchange


class Access:
    """Decides about every request that is not a probe."""

    def check(self, exchange: Exchange, *, admin: bool = False) -> None:
        """Unauthenticated, PermissionDenied."""
        if admin:
            msg = "administration is switched off"
            raise PermissionDenied(msg)
