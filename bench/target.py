"""Where load may go: this machine, and nowhere else."""

import ipaddress
from typing import NamedTuple, Self
from urllib.parse import urlsplit


class Target(NamedTuple):
    """A loopback address, and the path to ask for there."""

    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> Self:
        """Take a URL apart. ValueError unless it is plain HTTP to a loopback address."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            msg = f"{url!r} is no http:// URL"
            raise ValueError(msg)
        # No name is looked up: what it resolves to now may be something else in a moment.
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
        if not _is_loopback(host):
            msg = (
                f"{parts.hostname} is not this machine: load goes to 127.0.0.1, [::1] or localhost"
                " only, never to other people's servers"
            )
            raise ValueError(msg)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not path.isascii() or not path.isprintable() or " " in path:
            msg = f"the path {path!r} must be percent-encoded"
            raise ValueError(msg)
        return cls(host, parts.port or 80, path)

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"http://{self.authority}{self.path}"

    def post(self, body: bytes, content_type: str = "application/json") -> bytes:
        """A whole request with a body, JSON unless it says something else."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.authority}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
