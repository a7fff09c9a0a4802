"""Brings a model in step with its folder: looks, loads what is wanted, lets others go. Event loop.

New versions serve before old ones go. What does not load leaves what served before.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from server.errors import StartupError
from server.folders import Seen
from server.inference import VersionState
from server.kept import Kept, Loaded
from server.loading import Loader
from server.repository import Repository
from server.requested import is_below
from server.residents import Residents

log: Final = structlog.get_logger("server.updates")


class Failure(NamedTuple):
    """A version that did not load, or a model of which none was found; and why."""

    model: str
    version: int | None
    why: StartupError

    def __str__(self) -> str:
        return f"model {self.model!r}: {self.why}"


class Updates:
    """Updates one model at a time; whose turn it is, others decide."""

    def __init__(
        self,
        repository: Repository,
        residents: Residents,
        loader: Loader,
        roots: Sequence[Path],
    ) -> None:
        self._repository = repository
        self._residents = residents
        self._loader = loader
        self._roots = roots

    async def look(self, kept: Kept, *, known: bool = False) -> Mapping[int, Seen]:
        """The versions on disk; `known` spares the marks of those that serve. StartupError."""
        seen = await self._loader.look(kept.model.path, tuple(kept.loaded) if known else ())
        if kept.requested:
            # A link among the versions must not lead further than the request may.
            seen = {v: each for v, each in seen.items() if is_below(each.path, self._roots)}
        return seen

    async def announce(self, kept: Kept) -> Mapping[int, Seen] | None:
        """Tell what is to come before it is loaded: it is not unknown, but not ready.

        Returns the versions on disk; None where the look failed, which the update will tell.
        """
        self._repository.announce(kept.model.name)
        self._repository.set_labels(kept.model.name, kept.model.labels)
        try:
            seen = await self.look(kept)
        except StartupError:
            return None
        for version in kept.wanted(seen):
            self._repository.set_state(kept.model.name, VersionState(version, "START"))
        return seen

    async def update(
        self,
        kept: Kept,
        seen: Mapping[int, Seen] | None = None,
        anew: Callable[[Mapping[int, Seen]], set[int]] = lambda _: set(),
    ) -> list[Failure]:
        """Load what is wanted of the versions seen, then let the surplus go; what did not load.

        Of those that serve, the ones that `anew` names are loaded again. None looks first.
        """
        if seen is None:
            try:
                seen = await self.look(kept)
            except StartupError as error:
                return [Failure(kept.model.name, None, error)]
        failures = await self._load_wanted(kept, seen, anew(seen))
        failures += [self._miss(kept, version) for version in sorted(kept.absent(seen))]
        # Who asks for a label finds its new version before the old one goes.
        self._repository.set_labels(kept.model.name, kept.model.labels)
        going = kept.surplus(seen)
        for version in going:
            del kept.loaded[version]
        await self._residents.let_go(self._repository.versions(kept.model.name, among=going))
        for label, version in kept.model.labels.items():
            if version not in kept.loaded:
                note = "a label names a version that is not served"
                log.warning(note, model=kept.model.name, label=label, version=version)
        return failures

    async def unload(self, kept: Kept) -> None:
        """Let all versions go; none comes back before somebody asks."""
        kept.unloaded = True
        kept.loaded.clear()
        await self._residents.let_go(self._repository.versions(kept.model.name))

    async def _load_wanted(
        self, kept: Kept, seen: Mapping[int, Seen], stale: set[int]
    ) -> list[Failure]:
        """Load what is wanted and does not serve, or is stale; the highest version first."""
        failures: list[Failure] = []
        while missing := kept.wanted(seen) - (kept.loaded.keys() - stale):
            version = max(missing)
            stale.discard(version)
            model = kept.model
            try:
                mark = await self._residents.load(model, version, seen[version].path)
            except StartupError as error:
                failures.append(Failure(model.name, version, error))
                kept.load_failed(version, seen[version].mark)
            else:
                kept.loaded[version] = Loaded(model, mark)
        return failures

    def _miss(self, kept: Kept, version: int) -> Failure:
        """A version that is asked for by its number is not there."""
        why = StartupError(f"model path {kept.model.path} has no version {version}")
        self._repository.set_state(kept.model.name, VersionState(version, "END", str(why)))
        return Failure(kept.model.name, version, why)
