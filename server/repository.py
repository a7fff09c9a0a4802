"""Which models and versions there are, and who serves an address. Pure, but for reading folders."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from server.endpoint import Endpoint
from server.errors import InvalidArgument, NotFound, StartupError, Unavailable
from server.inference import ModelAddress, ServedModel, VersionState
from server.models import EXPECTED, detect


def find_version(path: Path) -> tuple[int, Path]:
    """The version to serve from a path, and its folder.

    `path` is a model, whose version is its folder's name if that is a number, else 1; or a base
    folder of models in folders named by their version numbers, of which the highest is served.
    StartupError when it is neither.
    """
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "does not exist"
        msg = f"model path {path} {what}"
        raise StartupError(msg)
    path = path.resolve()
    if detect(path) is not None:
        return int(path.name) if _is_version(path.name) else 1, path
    versions = {int(folder.name): folder for folder in path.iterdir() if _is_version(folder.name)}
    for version in sorted(versions, reverse=True):
        if detect(versions[version]) is not None:
            return version, versions[version]
    msg = (
        f"model path {path} holds no model: expected {EXPECTED}, in it"
        " or in a folder below it that is named by a version number"
    )
    raise StartupError(msg)


def default_name(path: Path) -> str:
    """What a model is called when nobody named it: its folder, or its base folder."""
    path = path.resolve()
    return path.parent.name if _is_version(path.name) else path.name


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit()


class Repository:
    """The models by name and version: those that serve, and those on their way. Event loop."""

    def __init__(self) -> None:
        self._endpoints: dict[str, dict[int, Endpoint]] = {}
        self._states: dict[str, dict[int, VersionState]] = {}
        self._labels: dict[str, Mapping[str, int]] = {}

    def set_labels(self, name: str, labels: Mapping[str, int]) -> None:
        """Give versions of a model names that clients may ask for them by."""
        self._labels[name] = labels

    def set_state(self, name: str, state: VersionState) -> None:
        """A version has come to a new state of its life."""
        self._states.setdefault(name, {})[state.version] = state

    def add(self, endpoint: Endpoint) -> None:
        """From now on requests find it."""
        served = endpoint.served
        self._endpoints.setdefault(served.name, {})[served.version] = endpoint
        self.set_state(served.name, VersionState(served.version, "AVAILABLE"))

    def remove(self, endpoint: Endpoint) -> None:
        """From now on requests do not find it, unless another has taken its place already."""
        served = endpoint.served
        versions = self._endpoints[served.name]
        if versions.get(served.version) is endpoint:
            del versions[served.version]

    def endpoint(self, served: ServedModel) -> Endpoint:
        """The endpoint of a model that `find` returned. Unavailable if it has gone since."""
        endpoint = self._endpoints[served.name].get(served.version)
        # The same version loaded anew may have other signatures.
        if endpoint is None or endpoint.served is not served:
            msg = f"model {served.name!r} version {served.version} has just been unloaded"
            raise Unavailable(msg)
        return endpoint

    def find(self, address: ModelAddress) -> ServedModel:
        """Who serves this address; the newest version, if it names none."""
        versions = self._endpoints.get(address.name, {})
        wanted = address.version
        if address.label is not None:
            wanted = self._labels.get(address.name, {}).get(address.label)
            if wanted is None:
                msg = f"model {address.name!r} has no version labelled {address.label!r}"
                raise InvalidArgument(msg)
        if wanted is not None:
            endpoint = versions.get(wanted)
        else:
            endpoint = versions[max(versions)] if versions else None
        if endpoint is not None:
            return endpoint.served
        states = self._states.get(address.name, {})
        coming = [
            state
            for state in states.values()
            if state.state in {"START", "LOADING"} and wanted in {None, state.version}
        ]
        if coming:
            told = ", ".join(f"version {state.version} is {state.state}" for state in coming)
            msg = f"model {address.name!r} is not ready: {told}"
            raise Unavailable(msg)
        raise _not_found(address)

    def states(self, address: ModelAddress) -> list[VersionState]:
        """The states of all versions of a model, or of the one asked for; newest first."""
        states = self._states.get(address.name, {})
        if address.version is not None:
            states = {k: v for k, v in states.items() if k == address.version}
        if not states:
            raise _not_found(address)
        return [states[version] for version in sorted(states, reverse=True)]

    def names(self) -> list[str]:
        """All models there are, ready or not."""
        return list(self._states)

    def versions(self, name: str) -> list[Endpoint]:
        """All versions of a model that serve, newest first."""
        versions = self._endpoints.get(name, {})
        return [versions[version] for version in sorted(versions, reverse=True)]

    def knows(self, name: str) -> bool:
        """Whether there is a model of this name, ready or not."""
        return name in self._states

    def endpoints(self) -> Iterable[Endpoint]:
        """All that serve."""
        return [e for versions in self._endpoints.values() for e in versions.values()]


def _not_found(address: ModelAddress) -> NotFound:
    return NotFound(f"no such model here: {address}")
