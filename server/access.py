"""Who may do what, and the record of what administrators did. Event loop.

    use              everybody; with tokens configured, whoever has one of them, or an admin token
    administration   whoever has an admin token, where it is switched on, by this server's own name

The last is about browsers. A page of another site may post to a server on its reader's machine;
and by DNS rebinding a name of its own may lead there, so that the browser takes the two for one
site. The first is known by its Origin, the second by its Host, which is a name that this server
does not have. Addresses need no DNS and are always right.
"""

import ipaddress
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog

from server.errors import Code, PermissionDenied, ServingError, Unauthenticated
from server.exchange import Exchange
from server.tokens import Token, name_of

# Whatever entries are written, these are: an administrator may change which.
audit: Final = structlog.wrap_logger(
    None, wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET)
)

_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?")


class Access:
    """Decides about every request that is not a probe. `hosts` are names of this server."""

    def __init__(
        self,
        tokens: Sequence[Token] = (),
        admin_tokens: Sequence[Token] = (),
        *,
        admin: bool = False,
        hosts: Iterable[str] = (),
    ) -> None:
        self.needs_token: Final = bool(tokens)
        self._tokens = (*tokens, *admin_tokens)
        self._admin_tokens = tuple(admin_tokens)
        self.administered: Final = admin
        self._hosts = frozenset({"localhost", *(host.lower() for host in hosts)})

    def check(self, exchange: Exchange, *, admin: bool = False) -> None:
        """Let a request pass. Unauthenticated, PermissionDenied."""
        if admin:
            self._check_admin(exchange)
        elif self.needs_token and not name_of(_secret(exchange), self._tokens):
            raise _unknown()

    @contextmanager
    def recorded(self, exchange: Exchange, model: str) -> Iterator[None]:
        """Write down an administrative request, whatever comes of it; `model` is "" for none."""
        outcome = "CANCELLED"
        try:
            yield
            outcome = "OK"
        except ServingError as error:
            outcome = error.code.name
            raise
        except Exception:
            outcome = Code.INTERNAL.name
            raise
        finally:
            secret = _bearer(exchange)
            audit.info(
                "administration",
                token=name_of(secret, self._tokens) if secret else "",
                operation=f"{exchange.method} {exchange.target.partition('?')[0]}",
                model=model,
                outcome=outcome,
            )

    def _check_admin(self, exchange: Exchange) -> None:
        if not self.administered:
            msg = "administration is switched off"
            raise PermissionDenied(msg)
        if exchange.is_web:
            self._check_names(exchange)
        secret = _secret(exchange)
        if name_of(secret, self._admin_tokens):
            return
        name = name_of(secret, self._tokens)
        if not name:
            raise _unknown()
        msg = f"the token {name!r} is not for administration"
        raise PermissionDenied(msg)

    def _check_names(self, exchange: Exchange) -> None:
        """Refuse what a page of somebody else may have sent. PermissionDenied."""
        told = exchange.headers.get("Host", "")
        if not self._is_ours(told):
            msg = (
                f"administration is refused by the host name {told[:64]!r}: use an IP address,"
                " localhost, or a name that this server was told with --allowed-host"
            )
            raise PermissionDenied(msg)
        origin = exchange.headers.get("Origin")
        if origin is not None and origin.partition("://")[2].lower() != told.lower():
            msg = (
                "administration is refused for pages of another origin:"
                f" the request was sent by one of {origin[:64]!r} to {told[:64]!r}"
            )
            raise PermissionDenied(msg)

    def _is_ours(self, authority: str) -> bool:
        match = _AUTHORITY.fullmatch(authority)
        if match is None:
            return False
        host = match[1].strip("[]").lower().removesuffix(".")
        return host in self._hosts or _is_address(host)


def _is_address(host: str) -> bool:
    """Whether a host is told by its IP address, not by a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _secret(exchange: Exchange) -> str:
    """The bearer token that a request brings. Unauthenticated if it brings none."""
    secret = _bearer(exchange)
    if not secret:
        msg = "a token is needed here: send the header Authorization: Bearer TOKEN"
        raise Unauthenticated(msg)
    return secret


def _bearer(exchange: Exchange) -> str:
    scheme, _, secret = exchange.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _unknown() -> Unauthenticated:
    return Unauthenticated("the token is not known here")
