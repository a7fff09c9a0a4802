"""Warnings of doors that are left open, or narrow. Main thread."""

import ipaddress
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog

from server.config import Config

log: Final = structlog.get_logger("server.cli")

FEW_FILES: Final = 4096
"""Files that may be open, below which an operator is told."""


def read_by_all(files: Iterable[Path]) -> list[Path]:
    """Those files that every user of this machine may read."""
    return [file for file in files if file.stat().st_mode & stat.S_IROTH]


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


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def warn_of_few_files(files: int) -> None:
    """Of connections there can be no more than of open files, of which each is one."""
    if files < FEW_FILES:
        log.warning("few connections can be open at once: raise `ulimit -Hn`", files=files)
