"""Where load of benchmarks may go: this machine, and nowhere else."""

import ipaddress
from typing import Self

from server.load.target import Target as AnyTarget


class Target(AnyTarget):
    """A loopback address, and the path to ask for there."""

    @classmethod
    def of(cls, url: str) -> Self:
        """Take a URL apart. ValueError unless it is plain HTTP to a loopback address."""
        target = super().of(url)
        # No name is looked up: what it resolves to now may be something else in a moment.
        host = "127.0.0.1" if target.host == "localhost" else target.host
        if not _is_loopback(host):
            msg = (
                f"{target.host} is not this machine: load goes to 127.0.0.1, [::1] or localhost"
                " only, never to other people's servers"
            )
            raise ValueError(msg)
        return target._replace(host=host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
