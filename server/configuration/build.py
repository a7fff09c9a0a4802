"""Layers into a `Config`, strongest first, and where each value came from. Main thread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from batcher.lengths import VariableLength
from server.config import Config, ConfigError, ModelConfig
from server.configuration.files import text_of
from server.configuration.layers import Given, Layer, Value, nearest, read, strongest
from server.configuration.settings import MODEL, MODEL_LABELS, MODEL_PLACE, OF_A_MODEL, SERVER
from server.demo import DIGITS
from server.runtime import Runtime
from server.tokens import Token, read_tokens

Values = Mapping[str, Value]

_PLACEHOLDERS: Final = {MODEL_PLACE.name: Value(Path(), ""), MODEL_LABELS.name: Value({}, "")}
"""What a model that only a request will name has of its own."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A `Config`, and how it came to be.

    `server` and `models` have the value of every setting, with its origin; where tokens came from
    in place of the tokens. What was said of all models is in `server` as well. `notes` are for the
    operator: what was given and means nothing here.
    """

    config: Config
    server: Values
    models: Mapping[str, Values]
    notes: tuple[str, ...] = ()

    @property
    def token_files(self) -> list[Path]:
        """The files that tokens were read from."""
        places = [self.server[setting.name].value for setting in SERVER if setting.secret]
        return [place for place in places if place is not None]


def build(layers: Sequence[Layer], notes: Sequence[str] = ()) -> Configuration:
    """The configuration that these layers make, strongest first. ConfigError."""
    if not _names(layers):
        layers = [*layers, _bundled()]
    names = _names(layers)
    _check_known(layers, names)
    of_all = [layer.server for layer in layers]
    server, tokens = {}, {}
    for setting in SERVER:
        given = strongest(setting, of_all)
        value = Value(None, given.origin) if given.contents else read(setting, given)
        server[setting.name] = value
        if setting.secret:
            tokens[setting.name] = _tokens(given, value.value)
    of_any = {setting.name: read(setting, strongest(setting, of_all)) for setting in MODEL}
    models = {name: _of_model(name, layers) for name in names}
    config = _config(
        {name: value.value for name, value in server.items()} | tokens,
        tuple([_model(name, values) for name, values in models.items()]),
        _model("template", of_any | _PLACEHOLDERS),
    )
    return Configuration(config, server | of_any, models, tuple(notes))


def _names(layers: Sequence[Layer]) -> list[str]:
    """The models that there are: somebody said where they are."""
    places = [
        name
        for layer in layers
        for name, given in layer.models.items()
        if MODEL_PLACE.name in given
    ]
    return list(dict.fromkeys(places))


def _bundled() -> Layer:
    given = Given((str(DIGITS),), "default", MODEL_PLACE.option)
    return Layer(models={Config().models[0].name: {MODEL_PLACE.name: given}})


def _check_known(layers: Sequence[Layer], names: Sequence[str]) -> None:
    """Whether all models that something was said of are there. ConfigError."""
    for layer in layers:
        for name, given in layer.models.items():
            if name not in names:
                place = next(iter(given.values())).place
                told = ", ".join(repr(known) for known in names)
                msg = (
                    f"{place}: there is no model {name!r} to serve, only {told}: it needs a"
                    f" {MODEL_PLACE.name}{nearest(name, names)}"
                )
                raise ConfigError(msg)


def _of_model(name: str, layers: Sequence[Layer]) -> Values:
    """What was said of this model counts more than what was said of all."""
    chain = [layer.models.get(name, {}) for layer in layers]
    chain += [layer.server for layer in layers]
    return {key: read(setting, strongest(setting, chain)) for key, setting in OF_A_MODEL.items()}


def _tokens(given: Given, file: Path | None) -> tuple[Token, ...]:
    """The tokens in a file, or in a variable in place of one. ConfigError repeats none of them.

    A variable that is set and empty is refused, as an empty file is: a secret that did not arrive
    must not open the door.
    """
    if file is None and not given.contents:
        return ()
    place = given.place if file is None else file
    try:
        return read_tokens(given.texts[-1] if file is None else text_of(file))
    except ConfigError:
        raise
    except ValueError as error:
        msg = f"{place}: {error}"
        raise ConfigError(msg) from None


def _config(
    values: dict[str, Any], models: tuple[ModelConfig, ...], template: ModelConfig
) -> Config:
    limit = values.pop("gpu_memory_limit_mb")
    runtime = Runtime(
        intra_op_threads=values.pop("intra_op_threads"),
        inter_op_threads=values.pop("inter_op_threads"),
        gpu_memory_growth=values.pop("gpu_memory_growth"),
        gpu_memory_limit=None if limit is None else limit * 2**20,
    )
    return Config(
        models=models,
        template=template,
        allowed_hosts=values.pop("allowed_host"),
        model_roots=values.pop("model_root"),
        runtime=runtime,
        **values,
    )


def _model(name: str, values: Values) -> ModelConfig:
    """ConfigError names the model."""
    options = {key: value.value for key, value in values.items()}
    wait = options.pop("max_wait_ms")
    try:
        return ModelConfig(
            name,
            options.pop("path"),
            policy=options.pop("versions"),
            batch_timeout=options.pop("batch_timeout_ms") / 1000,
            max_wait=None if wait is None else wait / 1000,
            lengths=_lengths(
                options.pop("pad"),
                options.pop("pad_to"),
                options.pop("cut"),
                options.pop("pad_mask"),
            ),
            **options,
        )
    except ValueError as error:
        msg = f"model {name!r}: {error}"
        raise ConfigError(msg) from None


def _lengths(
    pad: Sequence[tuple[str, Any]],
    pad_to: tuple[int, ...],
    cut: Sequence[tuple[str, int]],
    mask: str,
) -> VariableLength | None:
    """ValueError."""
    if pad:
        return VariableLength(dict(pad), pad_to, dict(cut), mask)
    if pad_to or cut or mask:
        msg = "pad_to, cut and pad_mask need a pad INPUT:AXIS=VALUE"
        raise ConfigError(msg)
    return None
