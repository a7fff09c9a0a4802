"""Tokens from files or the environment, and warnings of doors left open. Main thread.

`Config` reads nothing itself; the command line reads for it.
"""

import ipaddress
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog

from server.config import Config, ConfigError
from server.tokens import Token, read_tokens

log: Final = structlog.get_logger("server.cli")


def tokens_from(file: Path | None, variable: str) -> tuple[Token, ...]:
    """Tokens from a file; without one, from an environment variable. ConfigError says where.

    A variable that is set and empty is refused, as an empty file is: a secret that did not arrive
    must not open the door.
    """
    text = os.environ.get(variable) if file is None else _text(file)
    if text is None:
        return ()
    try:
        return read_tokens(text)
    except ValueError as error:
        place = f"the environment variable {variable}" if file is None else file
        msg = f"{place}: {error}"
        raise ConfigError(msg) from None


def read_by_all(*files: Path | None) -> list[Path]:
    """Those files that every user of this machine may read."""
    return [file for file in files if file is not None and file.stat().st_mode & stat.S_IROTH]


def warn_of_open_doors(config: Config, exposed: Iterable[Path]) -> None:
    """Write to the log what an operator may not have meant; `exposed` hold tokens."""
    if not config.tokens and not _is_this_machine(config.host):
        log.warning(
            "whoever reaches this address may use the models: give tokens, or listen on 127.0.0.1",
            host=config.host,
            port=config.port,
            grpc_port=config.grpc_port,
        )
    for file in exposed:
        log.warning("every user of this machine may read this file of tokens", file=str(file))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        msg = f"{file}: it cannot be read: {error.strerror or error}"
        raise ConfigError(msg) from None
    except UnicodeDecodeError:
        msg = f"{file}: it is not UTF-8 text"
        raise ConfigError(msg) from None


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
