"""Which models and versions there are, and who serves an address. Event loop."""

from collections.abc import Collection, Iterable, Mapping

from server.endpoint import Endpoint
from server.errors import InvalidArgument, NotFound, Unavailable
from server.inference import ModelAddress, ServedModel, VersionState


class Repository:
    """The models by name and version: those that serve, and those on their way."""

    def __init__(self) -> None:
        self._endpoints: dict[str, dict[int, Endpoint]] = {}
        self._states: dict[str, dict[int, VersionState]] = {}
        self._labels: dict[str, Mapping[str, int]] = {}

    def set_labels(self, name: str, labels: Mapping[str, int]) -> None:
        """Give versions of a model names that clients may ask for them by."""
        self._labels[name] = labels

    def announce(self, name: str) -> None:
        """There is a model of this name to serve, even if no version of it is known yet."""
        self._states.setdefault(name, {})

    def forget(self, name: str) -> None:
        """There is no model of this name any more; none of its versions serves."""
        for known in (self._states, self._endpoints, self._labels):
            known.pop(name, None)

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
        endpoint = self._endpoints.get(served.name, {}).get(served.version)
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
        """All models of which there is a version, ready or not."""
        return [name for name, states in self._states.items() if states]

    def versions(self, name: str, *, among: Collection[int] | None = None) -> list[Endpoint]:
        """The versions of a model that serve, newest first; only those `among` some, if given.

        Whoever keeps the list keeps their models in memory.
        """
        versions = self._endpoints.get(name, {})
        return [
            versions[version]
            for version in sorted(versions, reverse=True)
            if among is None or version in among
        ]

    def serves(self, name: str, version: int) -> bool:
        """Whether requests find this version."""
        return version in self._endpoints.get(name, {})

    def all_states(self) -> Iterable[tuple[str, VersionState]]:
        """The states of all versions of all models."""
        return [(name, state) for name, states in self._states.items() for state in states.values()]

    def knows(self, name: str) -> bool:
        """Whether there is a model of this name, ready or not."""
        return name in self._states

    def endpoints(self) -> Iterable[Endpoint]:
        """All that serve."""
        return [e for versions in self._endpoints.values() for e in versions.values()]


def _not_found(address: ModelAddress) -> NotFound:
    return NotFound(f"no such model here: {address}")
