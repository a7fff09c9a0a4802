"""The options of `batcher-server` about batches, the same for all its models. Main thread."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import click

from batcher.lengths import VariableLength
from server.config import Config, ConfigError

F = TypeVar("F", bound=Callable[..., Any])

DEFAULTS: Final = Config().models[0]

OPTIONS: Final = (
    click.option(
        "--max-batch-size",
        type=click.IntRange(min=1),
        default=DEFAULTS.max_batch_size,
        show_default=True,
        help="Most rows that run together.",
    ),
    click.option(
        "--batch-timeout-ms",
        type=click.FloatRange(min=0),
        default=DEFAULTS.batch_timeout * 1000,
        show_default=True,
        help="How long a request may wait for company while the model is idle.",
    ),
    click.option(
        "--max-queue-size",
        type=click.IntRange(min=1),
        default=DEFAULTS.max_queue_size,
        show_default=True,
        help="Most rows that may wait; beyond it clients are answered 503.",
    ),
    click.option(
        "--max-queue-bytes",
        type=click.IntRange(min=1),
        help="Most bytes of input that may wait; beyond it clients are answered 503.",
    ),
    click.option(
        "--max-wait-ms",
        type=click.FloatRange(min=0),
        help="Refuse at once, by 503, who is predicted to wait longer.",
    ),
    click.option(
        "--allowed-batch-sizes",
        default="",
        metavar="N,N,...",
        help="The only sizes to run, ascending to the largest; others are padded.",
    ),
    click.option(
        "--run-timeout",
        type=click.FloatRange(min=0, min_open=True),
        help="Seconds after which a call of a model is taken to hang.",
    ),
    click.option(
        "--ageing",
        type=click.FloatRange(min=0, min_open=True),
        default=DEFAULTS.ageing,
        show_default=True,
        help="Seconds of waiting that count as much as one level of priority.",
    ),
    click.option(
        "--pad",
        multiple=True,
        metavar="INPUT:AXIS=VALUE",
        help="An axis of any length, and what to pad it with; repeatable.",
    ),
    click.option(
        "--pad-to", default="", metavar="N,N,...", help="The lengths to pad to, ascending."
    ),
    click.option(
        "--cut",
        multiple=True,
        metavar="OUTPUT:AXIS",
        help="An axis of an output to cut back to the length before padding; repeatable.",
    ),
    click.option(
        "--pad-mask",
        default="",
        metavar="INPUT",
        help="An input to fill with 1 for values and 0 for padding.",
    ),
)


def batching_options(command: F) -> F:
    """Give a command these options."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def take_batching(options: dict[str, Any]) -> Mapping[str, Any]:
    """Move them from the options of a command to those of a `ModelConfig`. ConfigError."""
    wait = options.pop("max_wait_ms")
    return {
        "max_batch_size": options.pop("max_batch_size"),
        "batch_timeout": options.pop("batch_timeout_ms") / 1000,
        "max_queue_size": options.pop("max_queue_size"),
        "max_queue_bytes": options.pop("max_queue_bytes"),
        "max_wait": None if wait is None else wait / 1000,
        "allowed_batch_sizes": _numbers(
            "--allowed-batch-sizes", options.pop("allowed_batch_sizes")
        ),
        "run_timeout": options.pop("run_timeout"),
        "ageing": options.pop("ageing"),
        "lengths": _lengths(
            options.pop("pad"),
            _numbers("--pad-to", options.pop("pad_to")),
            options.pop("cut"),
            options.pop("pad_mask"),
        ),
    }


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple([int(number) for number in text.split(",")]) if text else ()
    except ValueError:
        msg = f"{option} takes whole numbers with commas between, not {text!r}"
        raise ConfigError(msg) from None


def _lengths(
    pad: Iterable[str], pad_to: tuple[int, ...], cut: Iterable[str], mask: str
) -> VariableLength | None:
    inputs = dict(_padded(text) for text in pad)
    if not inputs:
        if pad_to or cut or mask:
            msg = "--pad-to, --cut and --pad-mask need a --pad INPUT:AXIS=VALUE"
            raise ConfigError(msg)
        return None
    try:
        return VariableLength(inputs, pad_to, dict(_axis("--cut", text) for text in cut), mask)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _padded(text: str) -> tuple[str, tuple[int, float | int | bytes]]:
    place, equals, value = text.partition("=")
    if not equals:
        msg = f"--pad takes INPUT:AXIS=VALUE, not {text!r}"
        raise ConfigError(msg)
    name, axis = _axis("--pad", place)
    for kind in (int, float):
        try:
            return name, (axis, kind(value))
        except ValueError:
            continue
    # Neither a whole number nor another: what strings are padded with.
    return name, (axis, value.encode())


def _axis(option: str, text: str) -> tuple[str, int]:
    name, _, axis = text.rpartition(":")
    if not (name and axis.isascii() and axis.isdigit()):
        msg = f"{option} takes a name and an axis, NAME:AXIS, not {text!r}"
        raise ConfigError(msg)
    return name, int(axis)
