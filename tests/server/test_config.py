"""Options are checked when they are made; a wrong one is named together with its value."""

from pathlib import Path
from typing import Any

import pytest

from server.config import Config, ConfigError, ModelConfig
from server.demo import DIGITS

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


def test_names_must_be_there_and_differ() -> None:
    with pytest.raises(ConfigError, match="needs a name"):
        ModelConfig("", PATH)
    with pytest.raises(ConfigError, match="two models are named 'm'"):
        Config((ModelConfig("m", PATH), ModelConfig("n", PATH), ModelConfig("m", PATH)))
    with pytest.raises(ConfigError, match="no model"):
        Config(())


def test_a_config_error_is_a_value_error_for_those_who_build_it_in_code() -> None:
    assert issubclass(ConfigError, ValueError)
