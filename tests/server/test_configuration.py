"""Settings from everywhere: one name, one check, who wins, where from; shown as a file."""

import asyncio
import re
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

import server
from batcher.lengths import VariableLength
from server.cli.rereading import reread_forever
from server.config import Config, ConfigError, ModelConfig
from server.configuration.build import Configuration
from server.configuration.configure import configure
from server.configuration.settings import GLOBAL, MODEL, OF_A_MODEL
from server.configuration.show import literal, show
from server.demo import DIGITS
from server.runtime import Runtime
from server.tokens import make_token
from server.versions import All, Latest, Specific

Texts = dict[str, tuple[str, ...]]


def configured(
    options: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> Configuration:
    """The configuration of options; a single text is one that was typed once."""
    texts = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in (options or {}).items()}
    return configure(texts, flags or {}, environment or {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "batcher.toml"


def written(file: Path, text: str) -> dict[str, str]:
    """The option that names a file with this text."""
    file.write_text(text, encoding="utf-8", newline="\n")
    return {"config": str(file)}


# ------------------------------------------------------------------------------------- defaults


def test_nothing_said_is_the_default_config() -> None:
    assert configured().config == Config()
    origins = {value.origin for value in configured().server.values()}
    assert origins == {"default"}


# --------------------------------------------------------------------------------- one name each

EVERYTHING = {
    "host": "h",
    "port": "1",
    "grpc_port": "2",
    "max_body_size": "3",
    "drain_delay": "4",
    "drain_timeout": "5.5",
    "log_level": "error",
    "metrics_path": "/m",
    "otel": "true",
    "cors": "true",
    "allowed_host": "one two",
    "model_root": "/r",
    "poll_interval": "7",
    "reread_interval": "8",
    "intra_op_threads": "2",
    "inter_op_threads": "3",
    "gpu_memory_growth": "false",
    "gpu_memory_limit_mb": "512",
    "versions": "latest 2",
    "max_batch_size": "8",
    "batch_timeout_ms": "2",
    "regroup": "false",
    "prefetch": "false",
    "max_queue_size": "10",
    "max_queue_bytes": "1000",
    "max_wait_ms": "250",
    "allowed_batch_sizes": "1,8",
    "run_timeout": "3",
    "ageing": "0.5",
    "pad": "ids:1=0 weights:2=0.5 words:1=pad",
    "pad_to": "4,8",
    "cut": "tags:1",
    "pad_mask": "real",
    "device": "gpu:1",
}
"""What one would type for each setting, repeatable ones with blanks between."""

OF_ALL = ModelConfig(
    "digits",
    DIGITS,
    policy=Latest(2),
    max_batch_size=8,
    batch_timeout=0.002,
    regroup=False,
    prefetch=False,
    max_queue_size=10,
    max_queue_bytes=1000,
    max_wait=0.25,
    allowed_batch_sizes=(1, 8),
    run_timeout=3.0,
    ageing=0.5,
    lengths=VariableLength(
        {"ids": (1, 0), "weights": (2, 0.5), "words": (1, b"pad")},
        (4, 8),
        {"tags": 1},
        "real",
    ),
    device="gpu:1",
)

UNDERSTOOD = Config(
    models=(OF_ALL,),
    template=replace(OF_ALL, name="template", path=Path()),
    host="h",
    port=1,
    grpc_port=2,
    max_body_size=3,
    drain_delay=4.0,
    drain_timeout=5.5,
    log_level="error",
    metrics_path="/m",
    otel=True,
    cors=True,
    allowed_hosts=("one", "two"),
    model_roots=(Path("/r"),),
    poll_interval=7.0,
    reread_interval=8.0,
    runtime=Runtime(2, 3, "", gpu_memory_growth=False, gpu_memory_limit=512 * 2**20),
)


def test_everything_may_be_said_in_each_place_and_means_the_same(file: Path) -> None:
    assert {*EVERYTHING, "tokens", "admin", "admin_tokens"} == {*GLOBAL}
    typed = {
        name: text.split() if GLOBAL[name].repeatable else text for name, text in EVERYTHING.items()
    }
    assert configured(typed).config == UNDERSTOOD
    variables = {GLOBAL[name].variable: text for name, text in EVERYTHING.items()}
    assert configured(environment=variables).config == UNDERSTOOD
    lines = [f"{name} = {literal(text)}\n" for name, text in typed.items()]
    assert configured(written(file, "".join(lines))).config == UNDERSTOOD


def test_toml_has_types_of_its_own_for_most(file: Path) -> None:
    text = """
        port = 1_000
        drain_delay = 2
        cors = true
        poll_interval = 0
        allowed_batch_sizes = [1, 8]
        max_batch_size = 8
        pad = ["ids:1=0"]
        pad_to = [4, 8]
        versions = "all"

        [models."a b"]
        path = "/a"
        versions = [3, 5]
        labels = { stable = 3, canary = 5 }
        [models.c]
        path = "/c"
        versions = 7
    """
    config = configured(written(file, text)).config
    assert (config.port, config.drain_delay, config.cors) == (1000, 2.0, True)
    assert config.poll_interval is None
    one, other = config.models
    assert (one.name, one.policy) == ("a b", Specific(frozenset({3, 5})))
    assert one.labels == {"stable": 3, "canary": 5}
    assert other.policy == Specific(frozenset({7}))
    assert one.allowed_batch_sizes == (1, 8)
    assert one.lengths == VariableLength({"ids": (1, 0)}, (4, 8))


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("latest", Latest(1)),
        ("latest 3", Latest(3)),
        ("all", All()),
        ("4", Specific(frozenset({4}))),
        ("4,2", Specific(frozenset({2, 4}))),
    ],
)
def test_versions_are_told_as_their_policy_tells_itself(text: str, policy: Any) -> None:
    assert configured({"versions": text}).config.models[0].policy == policy


@pytest.mark.parametrize("text", ["0", "never", "none"])
def test_there_are_words_for_never(text: str) -> None:
    config = configured({"poll_interval": text, "reread_interval": text}).config
    assert (config.poll_interval, config.reread_interval) == (None, None)


def test_none_undoes_what_a_weaker_place_said(file: Path) -> None:
    options = written(file, "grpc_port = 8500\nmax_wait_ms = 5")
    config = configured({**options, "grpc_port": "none", "set": ["digits.max_wait_ms=none"]}).config
    assert config.grpc_port is None
    assert config.models[0].max_wait is None


# -------------------------------------------------------------------------------------- who wins

PLACES = ["own option", "own variable", "own table", "option", "variable", "top of the file"]
"""Where a setting of a model may be said, from the strongest: of it alone, or of all models."""


@settings(max_examples=100, deadline=None)
@given(said=st.dictionaries(st.sampled_from(PLACES), st.integers(1, 10**6)))
def test_a_model_counts_more_than_all_and_then_option_variable_file(
    tmp_path_factory: pytest.TempPathFactory, said: dict[str, int]
) -> None:
    name = "max_queue_size"
    assigned = {place: f"{name}={number}" for place, number in said.items()}
    lines = [assigned.get("top of the file", ""), "[models.m]", assigned.get("own table", "")]
    file = tmp_path_factory.getbasetemp() / "layers.toml"
    options: dict[str, Any] = written(file, "\n".join([*lines, "path = '/m'"]))
    environment = {}
    if "option" in said:
        options[name] = str(said["option"])
    if "own option" in said:
        options["set"] = [f"m.{assigned['own option']}"]
    if "variable" in said:
        environment["BATCHER_MAX_QUEUE_SIZE"] = str(said["variable"])
    if "own variable" in said:
        environment["BATCHER_SET"] = f"m.{assigned['own variable']}"
    (model,) = configured(options, environment).config.models
    assert model.max_queue_size == next((said[p] for p in PLACES if p in said), 16384)


@pytest.mark.parametrize("strongest", ["option", "variable", "file", "default"])
def test_each_value_of_the_server_tells_where_it_came_from(file: Path, strongest: str) -> None:
    options = written(file, "port = 3") if strongest != "default" else {}
    environment = {"BATCHER_PORT": "2"} if strongest in {"option", "variable"} else {}
    if strongest == "option":
        options["port"] = "1"
    value = configured(options, environment).server["port"]
    assert (value.value, value.origin) == {
        "option": (1, "option --port"),
        "variable": (2, "environment BATCHER_PORT"),
        "file": (3, f"file {file}"),
        "default": (8501, "default"),
    }[strongest]


def test_the_environment_may_name_the_file_and_an_option_another(file: Path) -> None:
    file.write_text("port = 3")
    environment = {"BATCHER_CONFIG": str(file)}
    assert configured(environment=environment).config.port == 3
    other = file.with_name("other.toml")
    assert configured(written(other, "port = 4"), environment).config.port == 4


def test_an_empty_variable_says_nothing() -> None:
    assert configured(environment={"BATCHER_PORT": "", "BATCHER_MODEL": ""}).config == Config()


def test_models_come_from_everywhere_and_the_strongest_place_counts(file: Path) -> None:
    options = written(
        file, '[models.a]\npath = "/file"\nmax_batch_size = 3\n[models.b]\npath = "/b"'
    )
    environment = {"BATCHER_MODEL": "a=/environment 'c=/with a blank'"}
    config = configured({**options, "path": "/x/d", "model": ["a=/option"]}, environment).config
    places = {model.name: str(model.path) for model in config.models}
    assert places == {"d": "/x/d", "a": "/option", "c": "/with a blank", "b": "/b"}
    assert {model.name: model.max_batch_size for model in config.models}["a"] == 3


def test_labels_of_the_command_line_replace_those_of_the_file(file: Path) -> None:
    options = written(file, '[models.a]\npath = "/a"\nlabels = { stable = 1, old = 0 }')
    assert configured(options).config.models[0].labels == {"stable": 1, "old": 0}
    config = configured({**options, "label": ["a:stable=2", "a:x=1"]}).config
    assert config.models[0].labels == {"stable": 2, "x": 1}


def test_a_repeatable_setting_of_a_model_may_be_repeated() -> None:
    options = {"set": ["digits.pad=a:1=0", "digits.pad=b:1=x=y", "digits.pad_to=4"]}
    (model,) = configured(options).config.models
    assert model.lengths == VariableLength({"a": (1, 0), "b": (1, b"x=y")}, (4,))


# ----------------------------------------------------------------------------------------- paths


def test_paths_in_a_file_begin_at_the_file_all_others_here(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'model_root = ["roots"]\n[models.a]\npath = "models/a"\n[models.b]\npath = "/b"'
    options = {**written(file, text), "model": ["c=models/c"]}
    monkeypatch.chdir("/")
    config = configured(options).config
    assert {model.name: model.path for model in config.models} == {
        "a": file.parent / "models/a",
        "b": Path("/b"),
        "c": Path("/models/c"),
    }
    assert config.model_roots == (file.parent / "roots",)


def test_a_python_function_is_in_no_folder(file: Path) -> None:
    options = written(file, '[models.a]\npath = "package.module:function"')
    config = configured({**options, "path": "module:predict"}).config
    assert {m.name: m.path for m in config.models} == {
        "module": Path("module:predict"),
        "a": Path("package.module:function"),
    }


@pytest.mark.parametrize("path", ["a" * 300, "two"])
def test_a_path_that_cannot_be_looked_at_has_no_name(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two").mkdir()
    for name in ("a.tflite", "b.tflite"):
        (tmp_path / "two" / name).write_bytes(b"    TFL3")
    with pytest.raises(ConfigError, match=r"^model path .* cannot be read: "):
        configured({"path": path})
    # Named, it is left to whoever loads it.
    assert configured({"model": f"m={path}"}).config.models[0].path == tmp_path / path


# ---------------------------------------------------------------------------------------- errors

WHOLE = "expected a whole number"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port = ", ["Invalid value (at line 1, column 8)"]),
        (f"port = {'[' * 5000}", ["nested too deeply"]),
        (f"port = {'9' * 5000}", ["digits"]),
        ("port = 1\nport = 2", ["Cannot overwrite a value (at line 2, column 9)"]),
        ("prot = 1", ["there is no setting 'prot'; did you mean port?"]),
        ("qqqq = 1", ["there is no setting 'qqqq'"]),
        ("path = '/m'", ["path is a setting of one model", "[models.NAME]"]),
        ("port = 70000", [f"port: {WHOLE} from 0 to 65535, not '70000'"]),
        ("port = true", [f"port: {WHOLE}", "not true or false: true"]),
        ("port = 8.5", [f"port: {WHOLE}", "not a number: 8.5"]),
        ("port = 'x'", [f"port: {WHOLE}", "not 'x'"]),
        ("host = 5", ["host: expected text, not a number: 5"]),
        ("cors = 'maybe'", ["cors: expected true or false, not 'maybe'"]),
        ("cors = 1", ["cors: expected true or false, not a number: 1"]),
        ("drain_delay = nan", ["drain_delay: expected a number of at least 0, not 'nan'"]),
        ("drain_delay = 2026-11-22", ["drain_delay", "not a time: 2026-11-22"]),
        ("max_wait_ms = -1", ["max_wait_ms: expected a number of at least 0, or none"]),
        ("ageing = 0", ["ageing: expected a number of more than 0, not '0'"]),
        ("log_level = 'loud'", ["log_level: expected one of debug, info, warning, error"]),
        ("metrics_path = 'm'", ["metrics_path: expected a path that begins with a slash"]),
        ("device = '7'", ["device: expected cpu, gpu or gpu:N, not '7'"]),
        ("versions = 'newest'", ["versions: expected latest, latest N, all", "'newest'"]),
        ("versions = []", ["versions: expected latest", "not ''"]),
        ("versions = 'latest 0'", ["versions: expected latest", "'latest 0'"]),
        ("allowed_batch_sizes = [1, 'x']", ["expected whole numbers with commas", "'1,x'"]),
        ("allowed_batch_sizes = [1, 8.0]", ["expected whole numbers with commas", "'1,8.0'"]),
        ("allowed_host = [1]", ["allowed_host: expected text, not a number: 1"]),
        ("pad = ['ids:1']", ["pad: expected INPUT:AXIS=VALUE, not 'ids:1'"]),
        ("models = 3", ["models: expected tables [models.NAME], not 3"]),
        ("models.a = 3", ["[models.a]: expected a table of settings, not 3"]),
        ("[models.a]\nprot = 3", ["[models.a]: there is no setting 'prot' of a model"]),
        ("[models.a]\nmax_batch_sise = 3", ["[models.a]", "did you mean max_batch_size?"]),
        ("[models.a]\nport = 3", ["[models.a]: port is a setting of the whole server"]),
        ("[models.a]\npath = 3", ["[models.a] path: expected a path", "not a number: 3"]),
        ("[models.a]\npath = ''", ["[models.a] path: expected a path", "not ''"]),
        ("[models.a]\npath = 'gs://b/m'", ["[models.a] path: expected a path on this machine"]),
        ("[models.a]\nmax_batch_size = 3", ["[models.a] max_batch_size", "it needs a path"]),
        ("[models.a]\n", ["[models.a]: expected a table of settings, not {}"]),
        ("[models.a]\npath='/a'\nlabels = { x = 'y' }", ["[models.a] labels", "LABEL=VERSION"]),
        ("[models.a]\npath='/a'\nlabels = { x = -1 }", ["[models.a] labels", "LABEL=VERSION"]),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_file_table_and_key(
    file: Path, text: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as raised:
        configured(written(file, text))
    assert str(raised.value).startswith(f"{file}: ")
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        # What Kubernetes sets for a service of the name "batcher".
        ({"BATCHER_PORT": "tcp://10.0.0.1:80"}, f"BATCHER_PORT: {WHOLE} from 0 to 65535, not 'tcp"),
        ({"BATCHER_SET": "digits"}, "BATCHER_SET: expected MODEL.SETTING=VALUE, not 'digits'"),
        ({"BATCHER_SET": "digits.ageing=0"}, "BATCHER_SET digits.ageing: expected a number"),
        ({"BATCHER_SET": "digit.ageing=1"}, "no model 'digit' to serve, only 'digits'"),
        ({"BATCHER_MODEL": "'a=/a"}, "BATCHER_MODEL: expected words with blanks between"),
        ({"BATCHER_MODEL": "a=/a a=/b"}, "BATCHER_MODEL a: two models are named 'a'"),
        ({"BATCHER_CONFIG": "/no/such.toml"}, "/no/such.toml: it cannot be read: No such file"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named_with_its_variable(
    environment: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        configured(environment=environment)
    assert told in str(raised.value)


def test_an_unknown_variable_leaves_a_note_only() -> None:
    environment = {"BATCHER_PROT": "1", "BATCHER_PORT_80_TCP_ADDR": "10.0.0.1", "PATH": "/bin"}
    notes = configured(environment=environment).notes
    assert notes[0].startswith("the environment variable BATCHER_PORT_80_TCP_ADDR means nothing")
    assert notes[1].endswith("BATCHER_PROT means nothing; did you mean BATCHER_PORT?")
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"set": ["digits.port=1"]}, "port is a setting of the whole server, not of one model"),
        ({"set": ["digits.agein=1"]}, "no setting 'agein' of a model; did you mean ageing?"),
        ({"set": ["digits.max_batch_size=x"]}, f"--set digits.max_batch_size: {WHOLE}"),
        ({"set": ["digits.labels=a"]}, "--set digits.labels: expected LABEL=VERSION"),
        ({"set": ["x.ageing=1"]}, "--set x.ageing: there is no model 'x' to serve"),
        ({"model": ["a"]}, "--model: expected NAME=PATH, not 'a'"),
        ({"model": ["a=/a"], "path": "/x/a"}, "--model a: two models are named 'a'"),
        ({"label": ["a=1"]}, "--label: expected MODEL:LABEL=VERSION, not 'a=1'"),
        (
            {"max_batch_size": "8", "allowed_batch_sizes": "4"},
            "model 'digits': the last of allowed",
        ),
        ({"pad_to": "4"}, "model 'digits': pad_to, cut and pad_mask need a pad"),
        ({"pad": ["ids:1=0"]}, "model 'digits': boundaries must be positive"),
        ({"port": "8500", "grpc_port": "8500"}, "port and grpc_port must differ, both are 8500"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_named(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        configured(options)
    assert told in str(raised.value)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from([*GLOBAL, "model", "set", "label", "path"]),
    text=st.text(st.characters(exclude_characters="\0")),
)
def test_any_text_for_any_setting_is_read_or_refused(name: str, text: str) -> None:
    with suppress(ConfigError):
        configured({name: text})


PLAIN = st.booleans() | st.integers(-9, 10**6) | st.floats() | st.text("a1.:=,/ \0é", max_size=5)
ANY = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner)
)


@settings(max_examples=60, deadline=None)
@given(key=st.sampled_from([*GLOBAL, "models"]), own=st.sampled_from([*OF_A_MODEL]), value=ANY)
def test_any_value_for_any_key_of_a_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, key: str, own: str, value: Any
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    for text in (f"{key} = {literal(value)}", f"[models.m]\n{own} = {literal(value)}"):
        tomllib.loads(text)
        with suppress(ConfigError):
            configured(written(file, text))


# --------------------------------------------------------------------------------------- show it


def shown(configuration: Configuration) -> tuple[str, Config]:
    """What `--print-config` writes, and the Config that it makes."""
    text = show(configuration)
    with TemporaryDirectory() as folder:
        return text, configured(written(Path(folder) / "shown.toml", text)).config


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NUMBERS = st.integers(1, 10**9).map(str)
REALS = st.floats(1e-9, 1e9).map(str)
NAMES = WORDS.filter(lambda name: name and "=" not in name)
PATHS = st.one_of(
    WORDS.filter(lambda text: text and "://" not in text).map(lambda text: f"/{text}"),
    st.just("module:function"),
)
LABELS = st.dictionaries(st.from_regex(r"[^\s/:,]{1,5}", fullmatch=True), st.integers(0, 9))
SOME = {
    "host": WORDS,
    "port": st.integers(0, 65535).map(str),
    "max_body_size": NUMBERS,
    "drain_delay": REALS,
    "log_level": st.sampled_from(["debug", "error"]),
    "metrics_path": st.from_regex(r"/[^\s?#]{0,9}", fullmatch=True),
    "cors": st.sampled_from(["true", "false"]),
    "poll_interval": REALS | st.just("never"),
    "gpu_memory_limit_mb": NUMBERS | st.just("none"),
    "device": st.sampled_from(["", "cpu", "GPU:3"]),
    "versions": st.sampled_from(["all", "latest", "latest 4", "5", "5,2"]),
    "batch_timeout_ms": REALS,
    "regroup": st.sampled_from(["true", "false"]),
    "prefetch": st.sampled_from(["true", "false"]),
    "max_wait_ms": REALS | st.just("none"),
    "pad_mask": WORDS,
}
SOME_OF_A_MODEL = {name: values for name, values in SOME.items() if name in OF_A_MODEL}


@st.composite
def everything(draw: st.DrawFn) -> dict[str, Any]:
    """Options of a command line."""
    options: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=SOME))
    sizes = sorted(draw(st.sets(st.integers(1, 999), max_size=3)))
    if sizes:
        options["max_batch_size"] = str(sizes[-1])
        options["allowed_batch_sizes"] = ",".join(map(str, sizes))
    options["pad"] = draw(
        st.lists(st.tuples(NAMES, st.integers(1, 3), WORDS | NUMBERS | REALS), min_size=1)
    )
    options["pad"] = [f"{name}:{axis}={value}" for name, axis, value in options["pad"]]
    options["pad_to"] = "4,8"
    models = draw(st.dictionaries(NAMES, PATHS, max_size=3))
    options["model"] = [f"{name}={path}" for name, path in models.items()]
    options["set"] = []
    for name in models:
        own = draw(st.fixed_dictionaries({}, optional=SOME_OF_A_MODEL))
        options["set"] += [f"{name}.{key}={value}" for key, value in own.items()]
        labels = ",".join(f"{label}={version}" for label, version in draw(LABELS).items())
        options["set"] += [f"{name}.labels={labels}"]
    return options


@settings(max_examples=60, deadline=None)
@given(options=everything())
def test_what_is_shown_makes_the_same_config_again(options: dict[str, Any]) -> None:
    configuration = configured(options)
    _, again = shown(configuration)
    assert again == configuration.config


def test_all_settings_are_shown_each_with_its_origin(file: Path) -> None:
    text = '[models.half]\npath = "half"\nlabels = { stable = 3 }'
    options = {**written(file, text), "port": "9000", "set": ["half.ageing=2"]}
    text, _ = shown(configured(options, {"BATCHER_CORS": "yes"}))
    lines = {line.partition(" ")[0]: " ".join(line.split()) for line in text.splitlines()}
    assert lines["port"] == "port = 9000 # option --port"
    assert lines["cors"] == "cors = true # environment BATCHER_CORS"
    assert lines["path"] == f'path = "{file.parent}/half" # file {file}'
    assert lines["labels"] == f"labels = {{ stable = 3 }} # file {file}"
    assert lines["ageing"] == "ageing = 2.0 # option --set"
    assert lines["host"] == 'host = "127.0.0.1" # default'
    tables = tomllib.loads(text)
    assert {*tables["models"]["half"]} == {*OF_A_MODEL}
    assert {*tables, "tokens", "admin_tokens", *[s.name for s in MODEL]} == {*GLOBAL, "models"}


def test_tokens_are_never_shown_but_where_they_came_from(file: Path) -> None:
    _, use = make_token("ci")
    _, admin = make_token("ops")
    tokens = file.with_name("tokens")
    tokens.write_text(str(use))
    configuration = configured(
        {"tokens": str(tokens)}, {"BATCHER_TOKENS": "unread", "BATCHER_ADMIN_TOKENS": str(admin)}
    )
    assert configuration.config.tokens == (use,)
    assert configuration.config.admin_tokens == (admin,)
    assert configuration.token_files == [tokens]
    text, again = shown(configuration)
    assert again.tokens == (use,)
    for token in (use, admin):
        assert token.digest.hex() not in text
    assert "# admin_tokens " in text
    assert "# environment BATCHER_ADMIN_TOKENS" in text


def test_the_environment_counts_more_than_the_file_for_tokens_as_well(file: Path) -> None:
    _, old = make_token("old")
    _, new = make_token("new")
    file.with_name("tokens").write_text(str(old))
    options = written(file, "tokens = 'tokens'")
    assert configured(options).config.tokens == (old,)
    assert configured(options, {"BATCHER_TOKENS": str(new)}).config.tokens == (new,)
    with pytest.raises(ConfigError, match=r"^BATCHER_TOKENS: there is no token in it"):
        configured(options, {"BATCHER_TOKENS": ""})


# ------------------------------------------------------------------------------------ read again


async def next_of(changes: AsyncIterator[Config]) -> Config:
    async with asyncio.timeout(10):
        return await anext(changes)


def test_a_hangup_brings_a_new_configuration_and_a_wrong_one_changes_nothing() -> None:
    old, new = Config(), Config(port=3, drain_delay=2.0, reread_interval=1.0)
    read: list[Config | ConfigError] = [old, ConfigError("a typo"), new]

    async def main() -> None:
        loop, hangup = asyncio.get_running_loop(), asyncio.Event()

        def reread() -> Config:
            answer = read.pop(0)
            if isinstance(answer, ConfigError):
                loop.call_soon_threadsafe(hangup.set)
                raise answer
            return answer

        async with aclosing(reread_forever(old, reread, hangup)) as changes:
            for expected in (old, new):
                hangup.set()
                assert await next_of(changes) is expected

    with capture_logs() as entries:
        asyncio.run(main())
    wrong, waits = entries
    assert (wrong["log_level"], wrong["error"]) == ("error", "a typo")
    assert waits["settings"] == ["port", "drain_delay", "reread_interval"]


def test_at_intervals_only_what_differs_is_told(file: Path) -> None:
    options = written(file, "reread_interval = 0.001")
    reads = 0

    def reread() -> Config:
        nonlocal reads
        reads += 1
        if reads in (3, 4):
            msg = "half written"
            raise ConfigError(msg)
        if reads == 6:
            written(file, "reread_interval = 0.001\nversions = 'all'")
        return configured(options).config

    async def main() -> None:
        config = configured(options).config
        async with aclosing(reread_forever(config, reread, asyncio.Event())) as changes:
            assert (await next_of(changes)).models[0].policy == All()

    with capture_logs() as entries:
        asyncio.run(main())
    assert reads == 6
    assert [entry["error"] for entry in entries] == ["half written"]


# --------------------------------------------------------------------------------------- the guide

GUIDE = Path(server.__file__).parent / "docs" / "configuration.md"


def test_the_example_of_the_guide_is_taken(file: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    config = configured({**written(file, example), "max_batch_size": "16"}).config
    half, tagger, iris = config.models
    assert (config.port, config.grpc_port, config.poll_interval) == (9000, 9001, 5.0)
    assert (half.path, half.policy) == (file.parent / "models/half_plus_two", Latest(2))
    assert half.labels == {"stable": 1, "canary": 2}
    assert [model.max_batch_size for model in config.models] == [16, 8, 16]
    assert (tagger.device, iris.path) == ("gpu:1", Path("mymodule:predict"))
