"""All places together: what was typed, the environment, and the files that these name. Main thread.

Called again with the same arguments, it reads the files anew.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from server.configuration.build import Configuration, build
from server.configuration.layers import Layer
from server.configuration.tfserving_flags import Flags, from_flags
from server.configuration.toml_file import from_file
from server.configuration.typed import CONFIG, from_environment, from_options


def configure(
    options: Mapping[str, Sequence[str]], flags: Flags, environment: Mapping[str, str]
) -> Configuration:
    """The configuration of a command line's options and of TensorFlow Serving's flags on it.

    `options` have what was typed for each by its name, `config` among them. ConfigError names the
    place, what was expected there and what came.
    """
    [strong, weak], notes = from_flags(flags)
    variables, more = from_environment(environment)
    layers = [from_options(options), strong, variables, _from_config(options, environment), weak]
    return build(layers, [*notes, *more])


def _from_config(options: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> Layer:
    named = [*options.get("config", ()), environment.get(CONFIG, "")]
    return from_file(Path(named[0])) if named[0] else Layer()
