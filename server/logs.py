"""Structured log entries on standard error: for people on a terminal, JSON otherwise. Any thread.

Tracebacks come without local variables: those hold what clients sent.
"""

import logging
import os
import sys

import structlog


def start_logging(level: str) -> None:
    """Write entries from this level on, of this server and of the libraries it uses."""
    # A descriptor of its own: TensorFlow's start-up notes are kept from descriptor 2.
    stream = os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1)
    before: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    shown: list[structlog.types.Processor] = [
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        ),
        structlog.processors.JSONRenderer(),
    ]
    if sys.stderr.isatty():
        plain = structlog.dev.plain_traceback
        shown = [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    structlog.configure(
        processors=[*before, *shown], logger_factory=structlog.PrintLoggerFactory(stream)
    )
    # What libraries log looks the same. aiohttp would write a traceback for each malformed request;
    # a defect of this server never gets as far as there.
    handler = logging.StreamHandler(stream)
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[remove_meta, *shown], foreign_pre_chain=before
        )
    )
    logging.basicConfig(handlers=[handler])
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    set_level(logging.getLevelNamesMapping()[level.upper()])


def set_level(least: int) -> None:
    """From now on write entries from this level on; of libraries, warnings at most."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(least))
    logging.getLogger().setLevel(max(least, logging.WARNING))
