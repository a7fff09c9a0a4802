"""Who may import what: the sources' syntax trees against one table, and where each module runs."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ALLOWED: dict[str, str] = {
    "batcher": "batcher.*",
    "batcher.arrays": "batcher.request numpy",
    "batcher.lengths": "batcher.arrays numpy",
    "batcher.*": "batcher.*",
    # What every room may know.
    "server.errors": "",
    "server.exchange": "server.inference",
    "server.traceparent": "server.exchange",
    "server.compression": "server.errors",
    "server.tokens": "",
    "server.versions": "",
    "server.machine": "",
    "server.memory": "",
    "server.runtime": "",
    "server.config": (
        "batcher batcher.lengths batcher.options server.demo server.runtime server.tokens"
        " server.versions"
    ),
    "server.signature": "server.errors ml_dtypes numpy",
    "server.inference": "batcher server.errors server.signature",
    "server.model": "server.signature",
    "server.declare": "server.model server.signature",
    # The model thread.
    "server.models": "server.errors server.model server.runtime",
    "server.models.tensorflow_runtime": (
        "server.machine server.memory server.models.notes server.runtime tensorflow"
    ),
    "server.models.tflite": (
        "server.machine server.model server.models.* server.runtime server.signature"
    ),
    "server.models.to_tflite": (
        "server.errors server.models server.models.* server.conversion.quantizations server.runtime"
        " server.signature"
    ),
    "server.models.tflite_interpreters": "ai_edge_litert server.models.* server.signature",
    "server.models.*": (
        "server.declare server.model server.models.* server.runtime server.signature numpy"
    ),
    "server.models.savedmodel": "google.protobuf server.model server.models.* server.runtime",
    "server.models.keras_file": "h5py",
    "server.runner": "batcher batcher.arrays server.model server.signature server.inference numpy",
    "server.warmup": "batcher.lengths server.errors server.model server.signature server.warmup.*",
    "server.warmup.records": (
        "server.errors server.inference server.model server.protocols.tfserving_grpc"
        " server.protocols.tfserving_grpc_examples server.protocols.wire server.warmup"
    ),
    "server.warmup.examples": (
        "server.model server.protocols.wire server.signature server.warmup.* numpy"
    ),
    "server.warmup.*": "batcher.arrays batcher.lengths server.signature server.warmup.* numpy",
    "server.folders": "server.errors server.models",
    "server.loading": (
        "batcher batcher.lengths server.errors server.folders server.model server.models"
        " server.runtime server.signature server.warmup server.warmup.examples"
        " server.warmup.records structlog"
    ),
    # The event loop, from the queue up to the sockets.
    "server.histogram": "",
    "server.statistics": "server.histogram",
    "server.settings": "",
    "server.endpoint": (
        "batcher batcher.arrays batcher.lengths server.errors server.inference server.model"
        " server.runner server.signature server.statistics"
    ),
    "server.repository": "server.endpoint server.errors server.inference",
    "server.version_metrics": "batcher server.histogram server.statistics",
    "server.metric_families": "prometheus_client server.histogram server.version_metrics",
    "server.metrics": (
        "prometheus_client server.errors server.inference server.metric_families server.statistics"
        " server.version_metrics"
    ),
    "server.tfserving_metrics": (
        "prometheus_client server.errors server.histogram server.metric_families server.metrics"
    ),
    "server.threads": "batcher server.machine server.runtime",
    "server.live": "",
    "server.live.feed": "batcher",
    "server.live.snapshot": "batcher server.inference server.live.feed",
    "server.live.digits": (
        "batcher numpy orjson server.errors server.inference server.live.snapshot server.signature"
    ),
    "server.live.survey": "server.endpoint server.live.* server.repository",
    "server.live.stream": "orjson server.errors server.exchange server.live.feed structlog",
    "server.static_files": "server.exchange",
    "server.residents": (
        "batcher batcher.lengths server.config server.endpoint server.errors server.folders"
        " server.inference server.live.feed server.loading server.memory server.metrics"
        " server.model server.repository server.runner server.runtime server.signature"
        " server.statistics server.threads server.warmup structlog"
    ),
    "server.kept": "server.config server.folders server.versions",
    "server.changes": "server.errors structlog",
    "server.requested": "server.config server.errors server.versions",
    "server.updates": (
        "server.errors server.folders server.inference server.kept server.loading"
        " server.repository server.requested server.residents structlog"
    ),
    "server.upkeep": (
        "server.changes server.config server.errors server.folders server.kept server.loading"
        " server.repository server.requested server.residents server.updates server.versions"
        " structlog"
    ),
    "server.logs": "structlog",
    "server.serving": (
        "server.errors server.inference server.logs server.repository server.settings"
        " server.statistics server.upkeep server.versions"
    ),
    "server.protocols": "server.protocols.*",
    "server.protocols.protocol": (
        "server.errors server.exchange server.inference server.settings server.statistics"
        " server.versions"
    ),
    "server.protocols.*": (
        "server.compression server.errors server.exchange server.inference server.protocols"
        " server.protocols.* server.settings server.signature server.statistics server.versions"
        " ml_dtypes numpy"
        " orjson"
    ),
    "server.protocols.json_rows": (
        "numpy server.protocols.json_arrays server.protocols.tfserving_inputs server.signature"
        " simdjson"
    ),
    "server.protocols.wire": "google.protobuf server.errors",
    "server.wishes": "server.errors server.exchange server.inference",
    "server.tracing": ("server.exchange server.inference server.settings server.wishes structlog"),
    "server.access": "server.errors server.exchange server.tokens structlog",
    "server.openapi": (
        "orjson server.exchange server.inference server.protocols server.protocols.openapi_parts"
        " server.protocols.openapi_schemas server.protocols.protocol server.signature"
    ),
    "server.pages": (
        "orjson server.errors server.exchange server.live.digits server.live.stream server.metrics"
        " server.openapi server.serving server.static_files server.tfserving_metrics"
    ),
    "server.front": (
        "batcher server.access server.compression server.endpoint server.errors server.exchange"
        " server.inference server.live.feed server.live.stream server.metrics server.pages"
        " server.protocols server.protocols.protocol server.repository server.serving"
        " server.traceparent server.tracing server.wishes structlog"
    ),
    "server.spans": "",
    "server.spans.spans": "server.front server.spans.*",
    "server.spans.front": (
        "server.errors server.exchange server.front server.protocols server.protocols.protocol"
        " server.spans.*"
    ),
    "server.spans.*": (
        "batcher multidict opentelemetry server.errors server.exchange server.inference"
        " server.spans.* server.traceparent server.wishes structlog"
    ),
    "server.adapters": "",
    "server.adapters.*": (
        "aiohttp numpy server.adapters.* server.app server.compression server.config server.errors"
        " server.exchange server.front"
    ),
    "server.adapters.grpc_server": (
        "grpc multidict server.exchange server.front server.protocols.grpc_protocol"
        " server.protocols.over_grpc"
    ),
    "server.app": (
        "batcher numpy server.access server.config server.errors server.front server.live.feed"
        " server.live.snapshot server.live.stream server.live.survey server.loading server.metrics"
        " server.repository server.residents server.serving server.spans.* server.threads"
        " server.upkeep"
    ),
    "server.lifecycle": (
        "server.adapters.* server.app server.config server.errors server.front structlog"
    ),
    "server.samples": "server.samples.*",
    "server.samples.values": "numpy server.signature",
    "server.samples.*": (
        "server.protocols.json_tensors server.protocols.oip_tensors server.protocols.plain_binary"
        " server.protocols.tfserving_strings server.samples.* server.signature"
    ),
    "server.samples.tried": (
        "numpy server.errors server.model server.models.* server.warmup.pictures"
        " server.protocols.tfserving_examples server.protocols.tfserving_features"
        " server.samples.values server.signature server.warmup.inputs"
    ),
    "server.inspection": (
        "server.errors server.folders server.model server.models server.runtime server.samples.*"
        " server.signature server.warmup server.warmup.examples server.warmup.records"
    ),
    "server.configuration": "",
    "server.configuration.*": (
        "batcher.lengths server.config server.configuration.* server.demo server.errors"
        " server.folders server.models server.protocols.wire server.runtime server.tokens"
        " server.versions"
    ),
    "server.conversion": (
        "server.config server.conversion.* server.errors server.folders server.model server.models"
        " server.models.* server.runtime server.signature"
    ),
    "server.conversion.*": (
        "numpy server.config server.conversion.* server.model server.signature server.warmup.*"
    ),
    "server.interrupts": "",
    "server.cli": (
        "click server.cli.* server.config server.configuration.layers server.errors"
        " server.interrupts server.memory"
    ),
    "server.cli.console": "click rich",
    "server.cli.completion": ("click server.cli.console server.config server.configuration.*"),
    "server.cli.convert": (
        "click server.cli.console server.cli.convert_text server.config server.configuration.kinds"
        " server.conversion server.conversion.* server.errors server.interrupts"
    ),
    "server.cli.convert_text": "rich server.cli.console server.conversion server.conversion.*",
    "server.cli.inspect": (
        "click server.cli.console server.cli.inspect_json server.cli.inspect_text server.config"
        " server.folders server.inspection server.interrupts server.samples"
    ),
    "server.cli.load_run": (
        "orjson uvloop server.cli.* server.config server.interrupts server.load server.load.*"
        " server.samples.*"
    ),
    "server.cli.load_text": "rich server.cli.console server.config server.load server.load.*",
    "server.cli.load_wishes": "server.load server.load.*",
    "server.cli.load_live": "rich server.load",
    "server.cli.inspect_json": (
        "server.inspection server.samples server.samples.* server.signature"
    ),
    "server.cli.inspect_text": (
        "rich server.cli.console server.cli.inspect_json server.inspection server.samples"
        " server.signature"
    ),
    "server.cli.client_inputs": (
        "numpy server.cli.client_pictures server.client.tensors server.config"
        " server.errors server.protocols.strict_json server.protocols server.signature"
    ),
    "server.cli.client_pictures": "PIL numpy server.config server.signature",
    "server.cli.client_json": (
        "numpy server.client server.config server.protocols.* server.signature"
    ),
    "server.cli.client_text": (
        "click numpy rich server.cli.client_json server.cli.console server.client server.signature"
    ),
    "server.cli.client_asking": (
        "server.cli.* server.client server.client.* server.config server.inference server.signature"
    ),
    "server.cli.client": "click server.cli.* server.client server.config",
    "server.cli.*": (
        "click server.cli.* server.config server.configuration.* server.errors server.interrupts"
        " server.lifecycle server.logs server.machine server.tokens structlog uvloop"
    ),
    # Beside the server: load on one that runs.
    "server.load": "server.load.*",
    "server.load.answers": "",
    "server.load.batches": "prometheus_client",
    "server.load.forms": (
        "server.load.told server.protocols.oip_tensors server.samples.* server.signature"
    ),
    "server.load.told": (
        "orjson server.protocols server.protocols.told_signatures server.signature"
    ),
    "server.load.*": "numpy server.load.*",
    "server.client": "server.client.*",
    "server.client.http": "aiohttp server.client.* server.compression yarl",
    "server.client.*": (
        "ml_dtypes numpy orjson server.client.* server.errors server.exchange server.inference"
        " server.protocols server.protocols.* server.signature server.wishes"
    ),
    "server": "server.adapters.aiohttp_app server.config",
    "server.__main__": "server.cli server.interrupts",
    "server.demo": "",
    "server.demo.scans": "numpy sklearn",
    "server.demo.train": "numpy server.demo server.demo.scans server.models.tensorflow_runtime",
}
"""Module, or `package.*` -> what it may import besides the standard library."""

PLACES = ("event loop", "model thread", "pure", "any thread", "main thread")


def module_of(path: Path) -> str:
    """The dotted name of a source file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


SOURCES = {
    module_of(path): path
    for package in ("batcher", "server")
    for path in sorted((ROOT / package).rglob("*.py"))
}


@functools.cache
def parsed(source: str) -> ast.Module:
    """The syntax tree; of our own sources made while tests are collected.

    Python 3.11 counts the depth of a tree for all threads together: beside another that parses, or
    a garbage collection that does, it takes a tree for broken.
    """
    return ast.parse(source)


for _path in SOURCES.values():
    parsed(_path.read_text())


def imports(source: str) -> Iterator[str]:
    """All that a source imports, wherever in it; a module of ours even if named by `from`."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            ours = [f"{module}.{alias.name}" for alias in node.names]
            yield from (name if name in SOURCES else module for name in ours)


def matches(pattern: str, name: str) -> bool:
    """Whether a table's entry means this module; a foreign package's means all of its modules."""
    if pattern.endswith(".*"):
        return name.startswith(pattern.removesuffix("*"))
    foreign = pattern.partition(".")[0] not in ("batcher", "server")
    return name == pattern or (foreign and name.startswith(f"{pattern}."))


def violations(module: str, source: str) -> list[str]:
    """What a module imports against the table."""
    rule = module if module in ALLOWED else f"{module.rpartition('.')[0]}.*"
    if rule not in ALLOWED:
        return [f"{module} is not in the table"]
    allowed = ALLOWED[rule].split()
    return [
        f"{module} imports {name}"
        for name in sorted(set(imports(source)))
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not any(matches(pattern, name) for pattern in allowed)
    ]


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_only_what_it_may(module: str) -> None:
    assert violations(module, SOURCES[module].read_text()) == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("batcher.queue", "import numpy", "numpy"),
        ("batcher.queue", "import numpy.typing as npt", "numpy.typing"),
        ("batcher.policy", "from server.errors import ServingError", "server.errors"),
        ("batcher.arrays", "from batcher.batcher import Batcher", "batcher.batcher"),
        ("server.signature", "def f():\n    import tensorflow as tf", "tensorflow"),
        ("server.models.onnx", "from tensorflow import keras", "tensorflow"),
        ("server.warmup", "from server.models.tensorflow_runtime import tf", "server.models"),
        ("server.protocols.kserve", "from aiohttp import web", "aiohttp"),
        ("server.protocols.kserve", "from batcher import Batcher", "batcher"),
        ("server.protocols.kserve", "from server import endpoint", "server.endpoint"),
        ("server.protocols.kserve", "from server.models import load", "server.models"),
        ("server.front", "import aiohttp.web", "aiohttp.web"),
        ("server.front", "from server.adapters import aiohttp_body", "server.adapters"),
        ("server.endpoint", "from server.front import Front", "server.front"),
        ("server.endpoint", "from .front import Front", ".front"),
        ("server.model", "if TYPE_CHECKING:\n    from server.runner import X", "server.runner"),
        ("server.lifecycle", "import aiohttp", "aiohttp"),
        ("server.adapters.ray", "from server.endpoint import Endpoint", "server.endpoint"),
        ("server.config", "import click", "click"),
    ],
)
def test_a_planted_import_is_found(module: str, source: str, found: str) -> None:
    (told,) = violations(module, f'"""Pure."""\nimport os\n{source}\n')
    assert told.startswith(f"{module} imports {found}")


def test_a_module_without_a_rule_is_found() -> None:
    assert violations("server.newroom", "") == ["server.newroom is not in the table"]
    assert violations("server.new.room", "") == ["server.new.room is not in the table"]


def test_the_table_names_only_modules_that_exist() -> None:
    for rule in ALLOWED:
        package = rule.removesuffix(".*")
        assert package in SOURCES, rule


def importers_of(package: str) -> set[str]:
    return {
        module
        for module, path in SOURCES.items()
        if any(name.partition(".")[0] == package for name in imports(path.read_text()))
    }


def test_frameworks_live_in_one_room_each() -> None:
    assert importers_of("tensorflow") == {"server.models.tensorflow_runtime"}
    homes = {m.rpartition(".")[0] for m in importers_of("aiohttp")}
    assert homes == {"server.adapters", "server.client"}
    assert importers_of("grpc") == {"server.adapters.grpc_server"}
    assert importers_of("simdjson") == {"server.protocols.json_rows"}
    assert importers_of("uvloop") == {"server.cli.running", "server.cli.load_run"}
    assert importers_of("prometheus_client") == {
        "server.load.batches",
        "server.metric_families",
        "server.metrics",
        "server.tfserving_metrics",
    }
    assert {m.rpartition(".")[0] for m in importers_of("opentelemetry")} == {"server.spans"}


@pytest.mark.parametrize(
    ("module", "absent"),
    [("server.front", ["aiohttp", "tensorflow"]), ("server.protocols", ["aiohttp", "batcher"])],
)
def test_frameworks_do_not_come_along_either(module: str, absent: list[str]) -> None:
    program = f"import sys, {module}; print(*[n for n in {absent} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == []


def says_where_it_runs(source: str) -> bool:
    """Whether the first paragraph of the docstring names a place."""
    first = (ast.get_docstring(parsed(source)) or "").partition("\n\n")[0].lower()
    return any(place in first.replace("\n", " ") for place in PLACES)


@pytest.mark.parametrize(
    "module", [module for module, path in SOURCES.items() if path.name != "__init__.py"]
)
def test_a_module_says_first_where_it_runs(module: str) -> None:
    assert says_where_it_runs(SOURCES[module].read_text())


@pytest.mark.parametrize("module", SOURCES)
def test_every_module_and_package_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(parsed(SOURCES[module].read_text()))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ('"""Counts. Event\nloop."""', True),
        ('"""Counts. Pure."""', True),
        ('"""Counts."""', False),
        ('"""Counts.\n\nOn the model thread."""', False),
        ("import os", False),
    ],
)
def test_a_docstring_that_does_not_say_is_found(source: str, *, says: bool) -> None:
    assert says_where_it_runs(source) is says
