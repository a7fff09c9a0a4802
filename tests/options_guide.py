"""The guide to all options, made from the settings there are: python -m tests.options_guide."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from server.cli.serve import serve
from server.configuration.kinds import FLAG
from server.configuration.layers import Given
from server.configuration.settings import (
    GLOBAL,
    MODEL,
    MODEL_LABELS,
    MODEL_PLACE,
    PREFIX,
    SERVER,
    Setting,
)
from server.configuration.tfserving_flags import FLAGS, from_flags

GUIDE: Final = Path(__file__).parents[1] / "server" / "docs" / "options.md"

_HEAD: Final = "| option, environment, file | default | what it does | TensorFlow Serving |"

_INTRODUCTION: Final = """\
<!-- Made by `python -m tests.options_guide`: change server/configuration/settings.py instead. -->

One setting has one name: it is an option, an environment variable and a key of the file. How to
write values, and which of several counts, is in [configuration](configuration.md); what to change
first, in [tuning](tuning.md). The last column names the flag of TensorFlow Serving that means the
same, or a key in a file of its: see [migration](migration/tensorflow_serving.md)."""

_FILES: Final = {
    "batching_parameters_file": (
        "max_batch_size { value: 8 } batch_timeout_micros { value: 0 }"
        " max_enqueued_batches { value: 1 } allowed_batch_sizes: 8"
    ),
    "monitoring_config_file": 'prometheus_config { enable: true path: "/metrics" }',
    "model_config_file": (
        'model_config_list { config { name: "m" base_path: "/m"'
        " model_version_policy { all {} } version_labels { key: 'stable' value: 1 } } }"
    ),
}
"""Files with everything in them that means something here."""


def page() -> str:
    """The whole guide."""
    theirs = _tensorflow_servings()
    parts = [
        "# Every option",
        _INTRODUCTION,
        "## What to serve, and where settings are",
        _table(["| option, environment | what it does |", "|---|---|", *_others()]),
        "## The server",
        _table(_settings(SERVER, theirs)),
        "## Models",
        "Of all models; of one by `--set NAME.KEY=VALUE` or in the file, under `[models.NAME]`.",
        _table(_settings(MODEL, theirs)),
        "Only of one model, in its table:",
        _table(_settings((MODEL_PLACE, MODEL_LABELS), theirs, of_one=True)),
    ]
    return "\n\n".join(parts) + "\n"


def _table(rows: Iterable[str]) -> str:
    return "\n".join(rows)


def _others() -> Iterator[str]:
    """Options of the command line that are no settings."""
    for option in serve.params:
        if isinstance(option, click.Option) and option.name not in GLOBAL and option.help:
            (written,) = option.opts
            value = "" if option.is_flag else f" {option.metavar}"
            names = f"`{written}{value}`"
            if option.name in {"model", "set", "label", "config"}:
                names += f"<br>`{PREFIX}{option.name.upper()}`"
            yield f"| {names} | {option.help} |"


def _settings(
    settings: Iterable[Setting], theirs: Mapping[str, list[str]], *, of_one: bool = False
) -> Iterator[str]:
    yield from (_HEAD, "|---|---|---|---|")
    for setting in settings:
        key = f"`{setting.name}`"
        default = f"`{setting.default}`" if setting.default else ""
        names = key if of_one else f"`{_typed(setting)}`<br>`{setting.variable}`<br>{key}"
        same = ", ".join(theirs.get(setting.name, ()))
        yield f"| {names} | {default} | {setting.help} | {same} |"


def _typed(setting: Setting) -> str:
    if setting.kind is FLAG:
        return f"{setting.option}/--no-{setting.option.removeprefix('--')}"
    metavar = setting.metavar.replace("|", r"\|")
    return f"{setting.option} {metavar}"


def _tensorflow_servings() -> dict[str, list[str]]:
    """Setting -> what TensorFlow Serving has for it: found out by giving each flag in turn."""
    told: dict[str, list[str]] = {}
    for name, flag in FLAGS.items():
        # Flags with a reason mean nothing or are refused; the name of a model is no setting.
        if not flag.why and name != "model_name":
            for setting, given in _given(name).items():
                key = given.place.rpartition(": ")[2]
                same = f"`{key}` in `{name}`" if name in _FILES else f"`{name}`"
                told.setdefault(setting, []).append(same)
    return told


def _given(name: str) -> dict[str, Given]:
    """What settings a flag of TensorFlow Serving gives, of the server and of its model."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(_FILES.get(name, ""))
        file.flush()
        value = "true" if FLAGS[name].kind is FLAG else "1"
        (layer, _), _ = from_flags({name: file.name if name in _FILES else value})
    of_models = [given for model in layer.models.values() for given in model.items()]
    return layer.server | dict(of_models)


def main() -> None:
    """Print it."""
    click.echo(page(), nl=False)


if __name__ == "__main__":
    main()
