"""The options that benchmarks share."""

import pathlib
from typing import Final

import click

from bench.models import CACHE

cache_option: Final = click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    default=CACHE,
    show_default=True,
    help="Where to keep the models.",
)

json_option: Final = click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, writable=True, path_type=pathlib.Path),
    help="Where to write the results besides, as JSON.",
)
