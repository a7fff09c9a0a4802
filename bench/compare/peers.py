"""The servers that are compared: how each is installed, started and asked. Pure.

Each is set up as its own documentation recommends: one model, batches of at most 64 rows that wait
at most 2 ms (`bench.peers.settings`), at loopback addresses only. Ours has its default settings.
"""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from bench.compare import forms
from bench.compare.forms import Form
from bench.record import ROOT

JSON: Final = "json"
RAW: Final = "raw"
TENSORS: Final = "tensors"

FORMATS: Final[Mapping[str, Sequence[str]]] = {"json": (JSON,), "binary": (RAW, TENSORS)}
"""What a user asks for, and the bodies that it stands for."""

OURS: Final = "ours"


class Place(NamedTuple):
    """Where one server runs: the programs of its environment, the model, its port and folder."""

    programs: pathlib.Path
    model: pathlib.Path
    port: int
    folder: pathlib.Path


class Edit(NamedTuple):
    """A correction of an installed file: `old`, which must be there, becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A server."""

    name: str
    """What it is called in options and tables; its set-up is in `bench/peers/NAME`."""

    arguments: Callable[[Place], Sequence[str]]
    """The command that runs it, at a place."""

    forms: Mapping[str, Form]
    """Those that it understands, by the body: `json`, `raw` or `tensors`."""

    batches: bool = True
    """Several requests may share a call of the model."""

    one_form: bool = False
    """It understands one of them at a time, so there is a server for each."""

    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables besides those of `bench.peers.settings`. `{folder}` stands for one that
    is there while the server runs, `{libraries}` for that of Python's own library."""

    ports: Sequence[int] = ()
    """Ports that it takes whatever it is told."""

    edits: Sequence[Edit] = ()
    """Corrections after its installation."""

    def requirements(self) -> pathlib.Path | None:
        """What pip installs for it; None for ours, which runs where the benchmarks do."""
        file = ROOT / "bench" / "peers" / self.name / "requirements.txt"
        return None if self.name == OURS else file

    def groups(self) -> Sequence[Sequence[str]]:
        """The bodies that one server of it takes, for each server that is to be started."""
        return [[body] for body in self.forms] if self.one_form else [list(self.forms)]


def _serve(place: Place, name: str, *options: str) -> Sequence[str]:
    return [str(place.programs / "python"), "-m", f"bench.peers.{name}.serve", *options]


def _ours(place: Place) -> Sequence[str]:
    model = f"m={place.model}"
    options = ["--model", model, "--port", str(place.port), "--log-level", "warning"]
    return [str(place.programs / "python"), "-m", "server", *options]


def _mosec(place: Place) -> Sequence[str]:
    at = ["--address", "127.0.0.1", "--port", str(place.port)]
    options = ["--log-level", "warning", "--capacity", "4096", "--timeout", "30000"]
    return _serve(place, "mosec", *at, *options)


def _bentoml(place: Place) -> Sequence[str]:
    at = ["--host", "127.0.0.1", "--port", str(place.port)]
    return [str(place.programs / "bentoml"), "serve", "bench.peers.bentoml.serve:Service", *at]


_PREDICT: Final = "/v1/models/m:predict"
_INFER: Final = "/v2/models/m/infer"

_SERVE_PRIVATE: Final = "ray/serve/_private"

SERVERS: Final[Sequence[Peer]] = (
    Peer(
        name=OURS,
        arguments=_ours,
        forms={
            JSON: forms.tensorflow_serving(_PREDICT),
            RAW: forms.raw(_PREDICT),
            TENSORS: forms.inference_binary(_INFER),
        },
    ),
    Peer(
        name="mosec",
        arguments=_mosec,
        forms={JSON: forms.plain_json("/inference"), RAW: forms.raw("/inference")},
        one_form=True,
    ),
    Peer(
        name="pytriton",
        arguments=lambda place: _serve(place, "pytriton"),
        forms={JSON: forms.inference_json(_INFER), TENSORS: forms.inference_binary(_INFER)},
        variables={
            "PYTRITON_HOME": "{folder}",
            # Triton's Python must load the library of the interpreter that made its environment.
            "LD_LIBRARY_PATH": "{libraries}",
        },
    ),
    Peer(
        name="ray",
        arguments=lambda place: _serve(place, "ray"),
        forms={JSON: forms.plain_json("/predict")},
        variables={
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DEDUP_LOGS": "1",
            # Without it, Ray's own ports are open to the network.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        },
        ports=(8404, 8500, 9101, 44217, 44227, 52365),
        # These addresses are no settings of Ray Serve.
        edits=(
            Edit(f"{_SERVE_PRIVATE}/replica.py", '"[::]:0"', '"127.0.0.1:0"'),
            Edit(
                f"{_SERVE_PRIVATE}/haproxy_templates.py",
                "bind :{{ config.metrics_port }}",
                "bind 127.0.0.1:{{ config.metrics_port }}",
            ),
            Edit(
                f"{_SERVE_PRIVATE}/haproxy_templates.py",
                "bind *:{{ config.stats_port }}",
                "bind 127.0.0.1:{{ config.stats_port }}",
            ),
        ),
    ),
    Peer(
        name="mlserver",
        arguments=lambda place: _serve(place, "mlserver"),
        forms={JSON: forms.inference_json(_INFER)},
    ),
    Peer(
        name="litserve",
        arguments=lambda place: _serve(place, "litserve"),
        forms={JSON: forms.plain_json("/predict")},
    ),
    Peer(
        name="bentoml",
        arguments=_bentoml,
        forms={JSON: forms.rows_json("/predict")},
        variables={"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": "{folder}"},
    ),
    Peer(
        name="fastapi",
        arguments=lambda place: _serve(place, "fastapi"),
        forms={JSON: forms.plain_json("/predict")},
        batches=False,
    ),
    Peer(
        name="aiohttp",
        arguments=lambda place: _serve(place, "aiohttp"),
        forms={JSON: forms.plain_json("/predict")},
        batches=False,
    ),
)
