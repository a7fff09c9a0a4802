"""Where load goes: the address of a server, and a path there. Pure."""

from collections.abc import Mapping
from typing import NamedTuple, Self
from urllib.parse import urlsplit


class Target(NamedTuple):
    """Host, port, and a path."""

    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> Self:
        """Take a URL apart. ValueError unless it is plain HTTP."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            msg = f"{url!r} is no http:// URL"
            raise ValueError(msg)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not url.isascii() or not url.isprintable() or " " in url:
            msg = f"{url!r} must be percent-encoded"
            raise ValueError(msg)
        try:
            parts.hostname.encode("idna")
        except UnicodeError:
            msg = f"{url!r} has a host whose name is too long, or has an empty part"
            raise ValueError(msg) from None
        port = 80 if parts.port is None else parts.port
        return cls(parts.hostname, port, path)

    def below(self, path: str) -> Self:
        """The same with this path behind its own."""
        return self._replace(path=self.path.rstrip("/") + path)

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"http://{self.authority}{self.path}"

    def post(
        self,
        body: bytes,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """A whole request with a body, JSON unless it says something else."""
        told = {"Host": self.authority, "Content-Type": content_type, **(headers or {})}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{n}: {v}" for n, v in told.items())]
        head = "".join(f"{line}\r\n" for line in [*lines, f"Content-Length: {len(body)}", ""])
        return head.encode("latin-1") + body
