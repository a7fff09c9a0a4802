"""TensorFlow Serving's command line and its files, taken as they are."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.config import ConfigError, ModelConfig
from server.configuration import tfserving_flags
from server.configuration.build import Configuration
from server.configuration.configure import configure
from server.configuration.tfserving_flags import FLAGS, split
from server.versions import All, Latest, Specific
from tests.server.process import ServerProcess


def started(*arguments: str, options: dict[str, Sequence[str]] | None = None) -> Configuration:
    """The configuration of a command line that is nothing but flags; `options` stand beside."""
    rest, flags = split(arguments)
    assert rest == []
    return configure(options or {}, flags, {})


def written(folder: Path, text: str) -> Path:
    file = folder / "file.config"
    file.write_text(text)
    return file


# ------------------------------------------------------------------------------- the command line

OF_2_20 = """
    allow_version_labels_for_unavailable_models batching_parameters_file enable_batching
    enable_grpc_healthcheck_service enable_model_warmup enable_per_model_batching_parameters
    enable_profiler enable_serialization_as_tensor_content enable_signature_method_name_check
    file_system_poll_wait_seconds flush_filesystem_caches grpc_channel_arguments grpc_max_threads
    grpc_socket_path load_retry_interval_micros max_num_load_retries mixed_precision model_base_path
    model_config_file model_config_file_poll_wait_seconds model_name monitoring_config_file
    num_load_threads num_request_iterations_for_warmup num_tflite_interpreters_per_pool
    num_tflite_pools num_unload_threads per_process_gpu_memory_fraction platform_config_file port
    prefer_tflite_model remove_unused_fields_from_bundle_metagraph rest_api_enable_cors_support
    rest_api_num_threads rest_api_port rest_api_timeout_in_ms saved_model_tags skip_initialize_tpu
    ssl_config_file tensorflow_inter_op_parallelism tensorflow_intra_op_parallelism
    tensorflow_session_config_file tensorflow_session_parallelism thread_pool_factory_config_file
    use_alts_credentials version xla_cpu_compilation_enabled xla_gpu_compilation_enabled
"""
"""The flags in main.cc of its version 2.20."""


def test_every_flag_has_something_that_becomes_of_it() -> None:
    assert {*OF_2_20.split()} == {*FLAGS, "version"}


@pytest.mark.parametrize(
    ("arguments", "rest", "flags"),
    [
        (["--rest_api_port=1"], [], {"rest_api_port": "1"}),
        (["--rest_api_port", "1"], [], {"rest_api_port": "1"}),
        (["-rest_api_port=1"], [], {"rest_api_port": "1"}),
        (["--model_name=a=b"], [], {"model_name": "a=b"}),
        (["--enable_batching"], [], {"enable_batching": "true"}),
        (["--enable_batching=false"], [], {"enable_batching": "false"}),
        (["--enable_batching", "False"], [], {"enable_batching": "False"}),
        (["--enable_batching", "/m"], ["/m"], {"enable_batching": "true"}),
        (["--file_system_poll_wait_seconds", "-1"], [], {"file_system_poll_wait_seconds": "-1"}),
        (["--model_name=a", "--model_name=b"], [], {"model_name": "b"}),
        (
            ["--port=1", "--host", "h", "--model_name=a", "--set", "a.ageing=2"],
            ["--host", "h", "--set", "a.ageing=2"],
            {"port": "1", "model_name": "a"},
        ),
        (["--port", "1", "--host", "a_b"], ["--port", "1", "--host", "a_b"], {}),
        (["--set=a_b.ageing=2", "/models/a_b"], ["--set=a_b.ageing=2", "/models/a_b"], {}),
    ],
)
def test_its_flags_are_told_from_ours(
    arguments: list[str], rest: list[str], flags: dict[str, str]
) -> None:
    assert split(arguments) == (rest, flags)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--rest_api_prot=1"],
            "--rest_api_prot: TensorFlow Serving has no such flag; did you mean --rest_api_port?",
        ),
        (["--max_batch_size=1"], "did you mean --max-batch-size?"),
        (["--qqq_www"], "--qqq_www: TensorFlow Serving has no such flag"),
        (["--rest_api_port"], "--rest_api_port: expected a whole number, nothing came"),
        (["--rest_api_port=x"], "--rest_api_port: expected a whole number, not 'x'"),
        (["--rest_api_port=70000"], "--rest_api_port: expected a whole number from 0 to 65535"),
        (["--rest_api_num_threads=x"], "--rest_api_num_threads: expected a whole number, not 'x'"),
        (["--enable_batching=maybe"], "--enable_batching: expected true or false, not 'maybe'"),
        (["--per_process_gpu_memory_fraction=-1"], "expected a number of at least 0, not '-1'"),
        (["--ssl_config_file=f"], "--ssl_config_file: this server does not have it: put a proxy"),
        (["--use_alts_credentials"], "--use_alts_credentials: this server does not have it"),
        (["--grpc_socket_path=s"], "--grpc_socket_path: this server does not have it"),
        (["--platform_config_file=f"], "--platform_config_file: this server does not have it"),
        (["--saved_model_tags=tpu"], "--saved_model_tags: this server does not have it"),
        (["--model_name=a"], "--model_name: expected a --model_base_path besides it"),
        (["--model_base_path=gs://b/m"], "--model_base_path: expected a path on this machine"),
        (["--port=8501", "--enable_batching"], "port and grpc_port must differ, both are 8501"),
        (
            [f"--tensorflow_{kind}_parallelism=1" for kind in ("session", "intra_op", "inter_op")],
            "not all three",
        ),
    ],
)
def test_a_flag_that_cannot_be_is_named(arguments: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        started(*arguments)
    assert told in str(raised.value)


# ---------------------------------------------------------------------------------- what they mean


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--port=1", "--rest_api_port=2"], {"grpc_port": 1, "port": 2}),
        (["--rest_api_port=2"], {"grpc_port": 8500, "port": 2}),
        (["--port=0", "--enable_batching"], {"grpc_port": None, "port": 8501}),
        (["--port=0", "--rest_api_port=0"], {"grpc_port": None, "port": 0}),
        (["--rest_api_enable_cors_support"], {"cors": True}),
        (["--file_system_poll_wait_seconds=7"], {"poll_interval": 7.0}),
        (["--file_system_poll_wait_seconds=0"], {"poll_interval": None}),
        (["--file_system_poll_wait_seconds=-1"], {"poll_interval": None}),
        (["--model_config_file_poll_wait_seconds=60"], {"reread_interval": 60.0}),
        (["--model_config_file_poll_wait_seconds=0"], {"reread_interval": None}),
        (["--model_name=mnist", "--model_base_path=/m"], {"names": ["mnist"]}),
        (["--model_base_path=/m"], {"names": ["default"]}),
        (["--tensorflow_session_parallelism=3"], {"threads": (3, 3)}),
        (["--tensorflow_intra_op_parallelism=2"], {"threads": (2, None)}),
        (["--tensorflow_inter_op_parallelism=2"], {"threads": (None, 2)}),
        (
            ["--tensorflow_session_parallelism=3", "--tensorflow_intra_op_parallelism=2"],
            {"threads": (2, None)},
        ),
        (["--tensorflow_session_parallelism=0"], {"threads": (None, None)}),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_what_a_flag_means(arguments: list[str], expected: dict[str, Any]) -> None:
    config = started(*arguments).config
    runtime = config.runtime
    got = {
        "names": [model.name for model in config.models],
        "threads": (runtime.intra_op_threads, runtime.inter_op_threads),
    }
    assert {key: got.get(key, getattr(config, key, None)) for key in expected} == expected


def test_grpc_is_served_without_a_port_only_if_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfserving_flags, "find_spec", lambda _: None)
    assert started("--rest_api_port=1").config.grpc_port is None
    assert started("--rest_api_port=1", "--port=2").config.grpc_port == 2


def test_our_options_and_every_other_place_stand_beside_its_flags(tmp_path: Path) -> None:
    toml = tmp_path / "batcher.toml"
    toml.write_text("grpc_port = 1\nport = 2\nmax_body_size = 3")
    options: dict[str, Sequence[str]] = {"config": [str(toml)], "cors": ["false"]}
    configuration = started("--rest_api_port=4", "--rest_api_enable_cors_support", options=options)
    config = configuration.config
    # Its own default is weaker than a file, its flag is not; an option of ours is stronger still.
    assert (config.grpc_port, config.port, config.max_body_size, config.cors) == (1, 4, 3, False)
    assert configuration.server["port"].origin == "option --rest_api_port"
    assert started("--enable_batching").server["grpc_port"].origin == "TensorFlow Serving's default"


def test_a_note_says_how_the_line_was_understood_and_what_means_nothing() -> None:
    understood, *notes = started(
        "--rest_api_port=1",
        "--enable_model_warmup=false",
        "--rest_api_timeout_in_ms=5000",
        "--per_process_gpu_memory_fraction=0.5",
        "--mixed_precision=bfloat16",
    ).notes
    assert "--port is gRPC's" in understood
    assert "--rest_api_port HTTP's" in understood
    assert [note.partition(":")[0] for note in notes] == [
        "--enable_model_warmup means nothing here",
        "--rest_api_timeout_in_ms means nothing here",
        "--per_process_gpu_memory_fraction means nothing here",
        "--mixed_precision means nothing here",
    ]


@pytest.mark.parametrize(
    "flag",
    [
        "--enable_batching",
        "--enable_model_warmup=true",
        "--saved_model_tags=serve",
        "--ssl_config_file=",
        "--use_alts_credentials=false",
        "--per_process_gpu_memory_fraction=0.0",
        "--allow_version_labels_for_unavailable_models",
        "--num_load_threads=0",
    ],
)
def test_what_is_so_anyway_needs_no_note(flag: str) -> None:
    assert len(started(flag).notes) == 1


def test_without_its_flags_there_is_nothing_of_it() -> None:
    assert split(["--port", "1"]) == (["--port", "1"], {})
    assert configure({}, {}, {}).notes == ()


# ------------------------------------------------------------------------------ model_config_file


def models_in(folder: Path, text: str) -> tuple[ModelConfig, ...]:
    return started(f"--model_config_file={written(folder, text)}").config.models


TWO = """
model_config_list {
  config {
    name: 'first'
    base_path: '/models/first/'
    model_platform: 'tensorflow'
  }
  config {
    name: 'second'
    base_path: '/models/second/'
    model_platform: 'tensorflow'
  }
}
"""

WITH_COLONS_AND_COMMAS = """
# As its own tests have it.
model_config_list: {
  config: {
    name: "first",
    base_path: "/models/first",
    model_platform: "tensorflow"
  },
  config: {
    name: "second",
    base_path: "/models/second",
    model_type: TENSORFLOW
  }
}
"""


@pytest.mark.parametrize("text", [TWO, WITH_COLONS_AND_COMMAS])
def test_models_are_taken_from_its_file(tmp_path: Path, text: str) -> None:
    assert [(model.name, str(model.path)) for model in models_in(tmp_path, text)] == [
        ("first", "/models/first"),
        ("second", "/models/second"),
    ]


@pytest.mark.parametrize(
    ("inside", "policy", "labels"),
    [
        ("", Latest(1), {}),
        ("model_version_policy { specific { versions: 42 } }", Specific(frozenset({42})), {}),
        (
            """
            model_version_policy {
              specific {
                versions: 42
                versions: 43
              }
            }
            version_labels {
              key: 'stable'
              value: 42
            }
            version_labels {
              key: 'canary'
              value: 43
            }
            """,
            Specific(frozenset({42, 43})),
            {"stable": 42, "canary": 43},
        ),
        ("model_version_policy: {all: {}}", All(), {}),
        ("model_version_policy { latest { num_versions: 2 } }", Latest(2), {}),
        ("model_version_policy { latest {} }", Latest(1), {}),
        ("model_version_policy {}", Latest(1), {}),
        ("model_version_policy { specific { versions: [3, 5] } }", Specific(frozenset({3, 5})), {}),
        (
            """
            logging_config {
              sampling_config { sampling_rate: 0.1 }
              log_collector_config { type: '' filename_prefix: '/l' }
            }
            """,
            Latest(1),
            {},
        ),
    ],
)
def test_policies_and_labels_are_taken(
    tmp_path: Path, inside: str, policy: Any, labels: dict[str, int]
) -> None:
    text = f"model_config_list {{ config {{ name: 'm' base_path: '/m' {inside} }} }}"
    (model,) = models_in(tmp_path, text)
    assert (model.policy, model.labels) == (policy, labels)


def test_relative_paths_begin_at_the_file_and_one_model_of_flags_is_ignored(tmp_path: Path) -> None:
    file = written(tmp_path, "model_config_list { config { name: 'm' base_path: 'models/m' } }")
    # What its Docker image says in front of what its user says.
    docker = ["--port=8500", "--rest_api_port=8501", "--model_name=model"]
    docker += ["--model_base_path=/models/model"]
    configuration = started(*docker, f"--model_config_file={file}")
    (model,) = configuration.config.models
    assert (model.name, model.path) == ("m", tmp_path / "models/m")
    assert configuration.models["m"]["path"].origin == f"model_config_file {file}"
    assert len(configuration.notes) == 1


def test_logging_leaves_a_note(tmp_path: Path) -> None:
    text = "model_config_list { config { name: 'm' base_path: '/m' logging_config {} } }"
    file = written(tmp_path, text)
    note = started("--model_config_file", str(file)).notes[1]
    assert note.startswith(f"{file}: model_config_list: model 'm': logging_config means nothing")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "model_config_list: expected at least one config"),
        ("model_config_list {}", "model_config_list: expected at least one config"),
        ("custom_model_config { type_url: 'x' }", "custom_model_config cannot be served here"),
        (
            "model_config_lits {}",
            "line 1: ",
        ),
        (
            "model_config_lits {}",
            "has no field named \"model_config_lits\". Did you mean 'model_config_list'?",
        ),
        ("model_config_list {\n config {\n  base_pth: '/m'\n }\n}", "line 3: "),
        ("model_config_list { config { base_pth: '/m' } }", "Did you mean 'base_path'?"),
        ("model_config_list { config { qqqq: 1 } }", "It has: name, base_path, "),
        ("model_config_list { config { name: 3 } }", "Expected string but found: '3'"),
        ("model_config_list {\n config {", 'line 2: Expected "}"'),
        ("model_config_list { config { name: 'a' name: 'b' } }", 'multiple "name" fields'),
        ("model_config_list { config { base_path: '/m' } }", "config number 1: it has no name"),
        ("model_config_list { config { name: 'm' } }", "model 'm': it has no base_path"),
        ("model_config_list { config {} }", "config number 1: it has no name"),
        (
            TWO.replace("second", "first"),
            "model 'first': base_path: two models are named 'first': names must differ",
        ),
        (
            TWO.replace("tensorflow", "torch"),
            "model 'first': model_platform: expected 'tensorflow', not 'torch'",
        ),
        (
            "model_config_list { config { name: 'm' base_path: '/m' model_type: OTHER } }",
            "model 'm': model_type: expected TENSORFLOW, not OTHER",
        ),
        (
            TWO.replace("/models/first/", "gs://models/first"),
            "model 'first': base_path: expected a path on this machine",
        ),
        (
            TWO.replace("'tensorflow'", "'tensorflow' model_version_policy { specific {} }"),
            "model 'first': model_version_policy: specific: expected versions",
        ),
        (
            TWO.replace("'tensorflow'", "'' model_version_policy { specific { versions: -1 } }"),
            "model 'first': model_version_policy: expected latest, latest N, all, or numbers",
        ),
        (
            TWO.replace("'tensorflow'", "'' version_labels { key: 'a b' value: 1 }"),
            "model 'first': a label must have no blanks",
        ),
        (
            TWO.replace("'tensorflow'", "'' version_labels { key: 'a' value: -1 }"),
            "model 'first': version_labels: expected LABEL=VERSION",
        ),
    ],
)
def test_what_is_wrong_in_a_file_of_models_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        models_in(tmp_path, text)
    assert told in str(raised.value)
    assert str(tmp_path / "file.config") in str(raised.value) or "blanks" in told


@pytest.mark.parametrize(
    "flag", ["--model_config_file", "--batching_parameters_file", "--monitoring_config_file"]
)
def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path, flag: str) -> None:
    with pytest.raises(ConfigError, match=r"^/no/such: it cannot be read: No such file"):
        started(f"{flag}=/no/such")
    file = tmp_path / "file"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"it is not UTF-8 text"):
        started(f"{flag}={file}")


# ----------------------------------------------------------------------- batching_parameters_file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            """
            max_batch_size { value: 128 }
            batch_timeout_micros { value: 0 }
            max_enqueued_batches { value: 1000000 }
            num_batch_threads { value: 8 }
            """,
            {"max_batch_size": 128, "batch_timeout": 0.0, "max_queue_size": 128_000_000},
        ),
        ("batch_timeout_micros { value: 1500 }", {"batch_timeout": 0.0015}),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 4 allowed_batch_sizes: 8",
            {"max_batch_size": 8, "allowed_batch_sizes": (4, 8)},
        ),
        (
            "allowed_batch_sizes: [100, 200]",
            {"max_batch_size": 200, "allowed_batch_sizes": (100, 200)},
        ),
        (
            """
            max_batch_size { value: 100 }
            enable_large_batch_splitting { value: true }
            max_execution_batch_size { value: 10 }
            """,
            {"max_batch_size": 10},
        ),
        (
            "max_batch_size { value: 100 } max_execution_batch_size { value: 10 }",
            {"max_batch_size": 100},
        ),
        ("max_enqueued_batches { value: 2 }", {"max_batch_size": 64, "max_queue_size": 2000}),
        ("", {"max_batch_size": 64, "max_queue_size": 16384}),
    ],
)
def test_batching_parameters_are_taken(tmp_path: Path, text: str, expected: dict[str, Any]) -> None:
    file = written(tmp_path, text)
    configuration = started("--enable_batching", f"--batching_parameters_file={file}")
    (model,) = configuration.config.models
    assert {key: getattr(model, key) for key in expected} == expected


def test_batching_parameters_of_no_meaning_leave_notes(tmp_path: Path) -> None:
    text = "num_batch_threads { value: 8 } thread_pool_name { value: 'p' }"
    file = written(tmp_path, f"{text} pad_variable_length_inputs: true")
    _, *notes = started(f"--batching_parameters_file={file}").notes
    assert [note.partition(" means")[0] for note in notes] == [
        f"{file}: num_batch_threads",
        f"{file}: thread_pool_name",
        f"{file}: pad_variable_length_inputs",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max_batch_sise { value: 8 }", "line 1: "),
        ("max_batch_sise { value: 8 }", "Did you mean 'max_batch_size'?"),
        ("max_batch_size: 8", "line 1: "),
        ("max_batch_size { value: 0 }", "max_batch_size: expected a whole number of at least 1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros: expected a number of at"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches: expected a whole number"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "must be max_batch_size=8"),
    ],
)
def test_what_is_wrong_in_batching_parameters_is_named(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        started(f"--batching_parameters_file={written(tmp_path, text)}")
    assert told in str(raised.value)


# ------------------------------------------------------------------------- monitoring_config_file


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('prometheus_config {\n  enable: true,\n  path: "/m/p"\n}', "/m/p"),
        ('prometheus_config: {\n  enable: true,\n  path: "/m/p"\n}', "/m/p"),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ("prometheus_config { path: '/m/p' }", "/monitoring/prometheus/metrics"),
        ("", "/monitoring/prometheus/metrics"),
    ],
)
def test_where_the_metrics_are_is_taken(tmp_path: Path, text: str, path: str) -> None:
    file = written(tmp_path, text)
    assert started(f"--monitoring_config_file={file}").config.metrics_path == path


def test_a_metrics_path_that_cannot_be_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, "prometheus_config { enable: true path: 'm' }")
    with pytest.raises(ConfigError, match=r"prometheus_config: path: expected a path that begins"):
        started(f"--monitoring_config_file={file}")


# ------------------------------------------------------------------------------------ a real start


def model_config_list(**places: Path) -> str:
    models = [
        f"config {{ name: '{name}' base_path: '{place}' model_platform: 'tensorflow' }}"
        for name, place in places.items()
    ]
    return f"model_config_list {{ {' '.join(models)} }}"


def test_a_server_starts_with_its_files_and_reads_them_anew(
    tmp_path: Path, models: dict[str, Path]
) -> None:
    file = written(tmp_path, model_config_list(half=models["half_plus_two"]))
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    flags = [f"--model_config_file={file}", f"--monitoring_config_file={monitoring}"]
    # `ServerProcess` begins with --port 0, which here means: no gRPC.
    with ServerProcess("--rest_api_port=0", *flags, "--drain-delay", "0") as server:
        instances = {"instances": [[1.0], [2.0]]}
        answer = httpx.post(f"{server.url}/v1/models/half:predict", json=instances)
        assert answer.json() == {"predictions": [[2.5], [3.0]]}
        for path in ("/metrics", "/monitoring/prometheus/metrics"):
            assert "batcher" in httpx.get(server.url + path).text
        assert server.grpc_address == ""
        written(tmp_path, model_config_list(again=models["half_plus_two"]))
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while httpx.post(f"{server.url}/v1/models/again:predict", json=instances).is_error:
            assert time.monotonic() < deadline
        code, log = server.stop()
    assert code == 0
    assert "taken for a command line of TensorFlow Serving" in log
