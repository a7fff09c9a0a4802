"""What an administrator may change while the server runs: how it logs, and what it traces. Pure."""

import logging
from dataclasses import dataclass
from typing import Final

VERBOSE: Final = 1
"""The verbose level from which on debug entries are written."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Which entries are written: as the Open Inference Protocol names them.

    Its three switches are one level here: entries of a level imply those of all higher ones.
    """

    info: bool = True
    warning: bool = True
    error: bool = True
    verbose_level: int = 0

    @property
    def level(self) -> int:
        """The least level that is written, as `logging` numbers it."""
        if self.verbose_level >= VERBOSE:
            return logging.DEBUG
        if self.info:
            return logging.INFO
        if self.warning:
            return logging.WARNING
        return logging.ERROR if self.error else logging.CRITICAL

    @classmethod
    def of_level(cls, level: str) -> "LogSettings":
        """The settings that a level of the command line stands for."""
        least = logging.getLevelNamesMapping()[level.upper()]
        return cls(
            info=least <= logging.INFO,
            warning=least <= logging.WARNING,
            verbose_level=VERBOSE if least <= logging.DEBUG else 0,
        )


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """Which requests leave a log entry with their times: one in `rate`, `count` in all.

    A `count` of -1 has no end. `on` is what the protocol calls the level TIMESTAMPS.
    """

    on: bool = False
    rate: int = 1000
    count: int = -1
