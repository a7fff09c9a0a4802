"""Options are checked when they are made; a wrong one is named together with its value."""

from pathlib import Path
from typing import Any

import pytest

from server.config import Config, ConfigError, ModelConfig
from server.demo import DIGITS
from server.tokens import make_token

PATH = Path("model")
NAN, INF = float("nan"), float("inf")


def test_by_default_the_bundled_model_is_served_to_this_machine_only() -> None:
    config = Config()
    (model,) = config.models
    assert (model.name, model.path) == ("digits", DIGITS)
    assert (config.host, config.port) == ("127.0.0.1", 8501)
    assert config.max_body_size == 64 * 2**20


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_batch_size", 0),
        ("max_batch_size", -1),
        ("max_queue_size", 0),
        ("batch_timeout", -0.001),
        ("batch_timeout", NAN),
        ("batch_timeout", INF),
    ],
)
def test_an_impossible_option_of_a_model_is_named(option: str, value: float) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(ConfigError, match=rf"^{option} must be at least \d, not {value}$"):
        ModelConfig("m", PATH, **options)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("port", -1),
        ("port", 65536),
        ("max_body_size", 0),
        ("drain_delay", -1.0),
        ("drain_delay", NAN),
        ("drain_timeout", -1.0),
        ("drain_timeout", INF),
        ("log_level", "loud"),
        ("log_level", "INFO"),
        ("metrics_path", "metrics"),
        ("poll_interval", 0.0),
        ("poll_interval", NAN),
        ("reread_interval", -1.0),
    ],
)
def test_an_impossible_option_of_the_server_is_named(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{option} must be .*, not '?{value}'?$"):
        Config(**{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [("port", 0), ("port", 65535), ("drain_delay", 0.0), ("drain_timeout", 0.0)]
    + [("log_level", level) for level in ("debug", "info", "warning", "error")],
)
def test_the_limits_themselves_are_possible(option: str, value: Any) -> None:
    assert getattr(Config(**{option: value}), option) == value
    model = ModelConfig("m", PATH, max_batch_size=1, batch_timeout=0.0, max_queue_size=1)
    assert model.max_batch_size == 1


@pytest.mark.parametrize("path", ["/a b", "/a\n"])
def test_a_metrics_path_has_no_blanks(path: str) -> None:
    with pytest.raises(ConfigError, match=r"^metrics_path must be a path"):
        Config(metrics_path=path)


def test_a_device_has_a_name() -> None:
    with pytest.raises(ConfigError, match=r"^a device must be like"):
        ModelConfig("m", PATH, device="7")


def test_names_must_be_there_and_differ() -> None:
    with pytest.raises(ConfigError, match="needs a name"):
        ModelConfig("", PATH)
    with pytest.raises(ConfigError, match="two models are named 'm'"):
        Config((ModelConfig("m", PATH), ModelConfig("n", PATH), ModelConfig("m", PATH)))
    with pytest.raises(ConfigError, match="no model"):
        Config(())


@pytest.mark.parametrize("label", ["", "a b", "a/b", "a:b", "a\n"])
def test_a_label_is_a_word_that_a_target_can_hold(label: str) -> None:
    with pytest.raises(ConfigError, match=r"^a label must have no blanks"):
        ModelConfig("m", PATH, labels={label: 1})
    assert ModelConfig("m", PATH, labels={"stable-1.x": 0}).labels == {"stable-1.x": 0}


def test_a_label_names_a_version() -> None:
    with pytest.raises(ConfigError, match=r"^the version of label 'stable' must be at least 0"):
        ModelConfig("m", PATH, labels={"stable": -1})


def test_nobody_administers_by_default_and_nobody_without_a_token_ever() -> None:
    _, token = make_token("ops")
    assert not Config(admin_tokens=(token,)).admin
    assert Config(admin=True, admin_tokens=(token,)).admin
    with pytest.raises(ConfigError, match=r"^admin needs admin_tokens"):
        Config(admin=True)
    with pytest.raises(ConfigError, match=r"^admin needs admin_tokens"):
        Config(admin=True, tokens=(token,))


@pytest.mark.parametrize(
    "name", ["", "*", "http://batcher.lan", "batcher.lan:8501", "[::1]", "a b", "a.", "-a", "a/b"]
)
def test_an_allowed_host_is_a_bare_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^allowed_hosts must be names of hosts"):
        Config(allowed_hosts=("batcher.lan", name))


def test_the_two_ports_differ() -> None:
    with pytest.raises(ConfigError, match=r"^port and grpc_port must differ, both are 8500$"):
        Config(port=8500, grpc_port=8500)
    assert Config(port=0, grpc_port=0).grpc_port == 0


def test_a_config_error_is_a_value_error_for_those_who_build_it_in_code() -> None:
    assert issubclass(ConfigError, ValueError)
