"""Serves TensorFlow models over HTTP with dynamic batching."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.adapters.aiohttp_app import create_app
    from server.config import Config, ConfigError, ModelConfig

__all__ = ["Config", "ConfigError", "ModelConfig", "create_app"]

_HOMES = {
    "Config": "server.config",
    "ConfigError": "server.config",
    "ModelConfig": "server.config",
    "create_app": "server.adapters.aiohttp_app",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: the command line answers before aiohttp is loaded."""
    if name not in _HOMES:
        msg = f"module 'server' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)
