"""`batcher-server convert`: to TensorFlow Lite, and what it costs and gains. Main thread."""

import os
from pathlib import Path

import click

from server.cli.console import EXAMPLES, HELP
from server.config import ConfigError
from server.configuration.kinds import whole
from server.conversion.quantizations import INT8, NONE, QUANTIZATIONS
from server.errors import StartupError
from server.interrupts import leaving_at_once

MOST_ROWS = 65536
"""Of one batch: beyond it memory is what is measured."""

_SIZE = whole(1, MOST_ROWS)

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@click.command(
    help="""Convert the model at SOURCE to TensorFlow Lite, and write it to the file TARGET.

    SOURCE is a SavedModel, a Keras model, or a base folder with numbered version folders, of which
    the highest is taken. Both models then run on the same rows; a table tells the size of their
    files, how many rows they run in a second, and how far their answers are apart.

    A quantized model is smaller and mostly faster. Its clients notice nothing: they send and get
    the same float32, whatever the file has inside.
    """,
    context_settings=HELP,
    epilog=EXAMPLES
    + """
  batcher-server convert models/digits digits.tflite
  batcher-server convert models/digits digits.tflite --quantize int8 --representative scans.npy
  batcher-server convert model.keras model.tflite --rows test.npy --labels right.npy""",
)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--quantize",
    type=click.Choice(QUANTIZATIONS),
    default=NONE,
    show_default=True,
    help="float16: weights in half the bytes. dynamic: weights in a quarter, products computed in"
    " 8 bits. int8: all in 8 bits, ranges taken from --representative.",
)
@click.option(
    "--representative",
    multiple=True,
    metavar="[INPUT=]FILE",
    help="Rows such as clients will send, a hundred or more, as .npy or .npz; repeatable.",
)
@click.option(
    "--rows",
    multiple=True,
    metavar="[INPUT=]FILE",
    help="Rows to compare the models on; else those of --representative, else made-up ones.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The right class of each row to compare on, as .npy: tells the accuracy of both.",
)
@click.option(
    "--sizes",
    default="1,8,64",
    show_default=True,
    metavar="N,N,...",
    help="The batch sizes to measure.",
)
@click.option("--force", is_flag=True, help="Replace TARGET if it is there.")
def convert(
    *,
    source: Path,
    target: Path,
    quantize: str,
    representative: tuple[str, ...],
    rows: tuple[str, ...],
    labels: Path | None,
    sizes: str,
    force: bool,
) -> None:
    """Convert, write, compare, show."""
    if quantize == INT8 and not representative:
        msg = "--quantize int8 needs --representative: rows from which it learns the ranges"
        raise ConfigError(msg)
    batch_sizes = _sizes(sizes)
    _check_target(target, force=force)
    # Other commands need none of this, which takes its time to be loaded.
    os.environ.setdefault(_LOG_LEVEL, "3")
    with leaving_at_once():
        from server.cli import convert_text  # noqa: PLC0415 - see above
        from server.conversion import Wish, run  # noqa: PLC0415 - see above

    converted = run(Wish(source, quantize, representative, rows, labels, batch_sizes))
    _write(target, converted.content)
    convert_text.show(converted, target)


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(map(_SIZE.read, text.split(",")))
    except ValueError:
        expected = f"whole numbers from 1 to {MOST_ROWS:,} with commas between"
        msg = f"--sizes takes {expected}, not {text[:100]!r}"
        raise ConfigError(msg) from None
    return sizes


def _check_target(target: Path, *, force: bool) -> None:
    """ConfigError if it cannot be written, before anything is converted."""
    if target.is_dir():
        msg = f"{target} is a folder, expected the name of a file to write"
        raise ConfigError(msg)
    if target.exists() and not force:
        msg = f"{target} exists already: --force replaces it"
        raise ConfigError(msg)
    if not os.access(target.parent, os.W_OK):
        msg = f"{target} cannot be written: its folder does not exist, or may not be written"
        raise ConfigError(msg)


def _write(target: Path, content: bytes) -> None:
    """Write it whole or not at all: a server may be looking for it."""
    half = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        half.write_bytes(content)
        half.replace(target)
    except OSError as error:
        half.unlink(missing_ok=True)
        msg = f"{target} cannot be written: {error.strerror}"
        raise StartupError(msg) from error
