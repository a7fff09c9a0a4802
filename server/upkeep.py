"""Keeps what is served in step with what is configured and what is on disk. Event loop.

Versions come and go by the policy of their model (`versions`), when the server starts, when a look
into the base folders shows something new, and when somebody asks: an administrator, or a new
configuration. Each of these is one change (`changes`), and updates one model or each in its turn
(`updates`). What does not load is not tried again before its files change or somebody asks.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from server.changes import ALL, Changes
from server.config import ModelConfig
from server.errors import FailedPrecondition, NotFound, StartupError
from server.folders import Seen
from server.kept import Kept
from server.loading import Loader
from server.repository import Repository
from server.requested import requested
from server.residents import Residents
from server.updates import Failure, Updates
from server.versions import Wanted

log: Final = structlog.get_logger("server.upkeep")


class Upkeep:
    """Decides what the residents load and let go, for all models of the server."""

    def __init__(
        self,
        models: Iterable[ModelConfig],
        repository: Repository,
        residents: Residents,
        loader: Loader,
        *,
        roots: Sequence[Path] = (),
        template: ModelConfig,
    ) -> None:
        self._kept = {model.name: Kept(model) for model in models}
        self._repository = repository
        self._residents = residents
        self._roots = roots
        self._template = template
        self._changes = Changes()
        self._updates = Updates(repository, residents, loader, roots)

    # ----------------------------------------------------------------------- start and end

    async def start(self) -> None:
        """Load every model, one after the other. StartupError if none of them loads.

        Where some do, they serve; what became of the others is in the log and in their states.
        """
        announced = [(kept, await self._updates.announce(kept)) for kept in self._kept.values()]
        failures = [
            each for kept, seen in announced for each in await self._updates.update(kept, seen)
        ]
        if failures and not any(kept.loaded for kept in self._kept.values()):
            # The last word is the caller's.
            _log(failures[1:])
            raise StartupError(str(failures[0])) from failures[0].why
        _log(failures)

    async def drain(self) -> None:
        """Load nothing more, and finish what was accepted."""
        await self._residents.drain()
        # Those that were leaving already have had their time as well.
        await self._changes.ended()

    async def poll(self, interval: float) -> None:
        """Look for new versions every so many seconds, until cancelled."""
        while True:
            await asyncio.sleep(interval)
            for name in list(self._kept):
                try:
                    await self._poll(name)
                except Exception:
                    log.exception("looking for new versions met a defect", model=name)

    # --------------------------------------------------------------------- what may be asked

    @property
    def serving(self) -> list[str]:
        """The models of which a version serves."""
        return [name for name, kept in self._kept.items() if kept.loaded]

    async def load(self, name: str) -> None:
        """Load a configured model, anew if it serves already, and switch to it.

        NotFound, Aborted; FailedPrecondition when it does not load: what served before goes on.
        Unavailable when the server drains.
        """
        kept = self._configured(name)
        await self._changes.make(name, partial(self._load, kept))

    async def unload(self, name: str) -> None:
        """Stop serving a configured model, once what it has accepted is answered.

        NotFound, Aborted.
        """
        kept = self._configured(name)
        await self._changes.make(name, partial(self._updates.unload, kept))

    async def serve_only(self, models: Sequence[Wanted]) -> None:
        """Serve these models by these policies and labels, and no others.

        Models that were not configured are taken from below the roots. Nothing is changed before
        all has been checked: InvalidArgument, PermissionDenied. Aborted; FailedPrecondition when
        one does not load, or a label names a version that does not serve then.
        """
        configured = {name: kept.model for name, kept in self._kept.items()}
        configs = requested(models, configured, roots=self._roots, template=self._template)
        await self._changes.make(ALL, partial(self._serve_only, configs))

    async def refresh(self, models: Iterable[ModelConfig], template: ModelConfig) -> None:
        """Take over a new configuration, and load what has changed on disk in place as well.

        What goes wrong is in the log: the rest is done all the same.
        """
        await self._changes.tried(ALL, partial(self._refresh, list(models), template))

    # ------------------------------------------------------------------------------ changes

    async def _load(self, kept: Kept) -> None:
        kept.unloaded = False
        kept.failed.clear()
        _raise(await self._updates.update(kept, anew=lambda _: set(kept.loaded)))

    async def _forget(self, kept: Kept) -> None:
        await self._updates.unload(kept)
        name = kept.model.name
        if self._kept.get(name) is kept:
            del self._kept[name]
            self._repository.forget(name)

    async def _reconfigure(self, kept: Kept, model: ModelConfig) -> None:
        """Serve a model as a new configuration says, loading anew what that or the disk changed."""
        kept.model = model
        kept.unloaded = False
        kept.failed.clear()
        _raise(await self._updates.update(kept, anew=kept.stale))

    async def _serve_only(self, models: Sequence[ModelConfig]) -> None:
        names = {model.name for model in models}
        try:
            for model in models:
                kept = self._kept.setdefault(model.name, Kept(model, requested=True))
                change = partial(self._reconfigure, kept, model)
                await self._changes.make(model.name, change)
                _check_labels(kept)
            for name, kept in list(self._kept.items()):
                if name not in names and kept.loaded:
                    await self._changes.make(name, partial(self._updates.unload, kept))
        finally:
            # A request that comes to nothing leaves nothing behind.
            for kept in list(self._kept.values()):
                if kept.requested and not kept.loaded:
                    await self._changes.tried(kept.model.name, partial(self._forget, kept))

    async def _refresh(self, models: Sequence[ModelConfig], template: ModelConfig) -> None:
        self._template = template
        configured = {model.name for model in models}
        for name, kept in list(self._kept.items()):
            if name not in configured:
                await self._changes.tried(name, partial(self._forget, kept))
        for model in models:
            kept = self._kept.setdefault(model.name, Kept(model))
            kept.requested = False
            await self._changes.tried(model.name, partial(self._reconfigure, kept, model))

    async def _poll(self, name: str) -> None:
        kept = self._kept.get(name)
        if kept is None or kept.unloaded or name in self._changes:
            return
        try:
            seen = await self._updates.look(kept, known=True)
        except StartupError as error:
            self._trouble(kept, str(error))
            return
        self._trouble(kept, "")
        settled = kept.settled(seen)
        if kept.is_behind(settled):
            await self._changes.tried(name, partial(self._catch_up, kept, settled))

    async def _catch_up(self, kept: Kept, seen: Mapping[int, Seen]) -> None:
        if kept.unloaded or self._kept.get(kept.model.name) is not kept:
            return  # Somebody has asked for something else since the look.
        _log(await self._updates.update(kept, seen))

    def _trouble(self, kept: Kept, told: str) -> None:
        """Log what a look met, once for as long as it stays the same."""
        if told and told != kept.trouble:
            log.warning("the look for new versions failed", model=kept.model.name, error=told)
        kept.trouble = told

    def _configured(self, name: str) -> Kept:
        kept = self._kept.get(name)
        if kept is None:
            told = ", ".join(repr(known) for known in self._kept)
            msg = f"model {name!r} is not configured here; there are {told}"
            raise NotFound(msg)
        return kept


def _check_labels(kept: Kept) -> None:
    for label, version in kept.model.labels.items():
        if version not in kept.loaded:
            msg = (
                f"model {kept.model.name!r}: label {label!r} names version {version},"
                " which does not serve"
            )
            raise FailedPrecondition(msg)


def _log(failures: Sequence[Failure]) -> None:
    for model, version, why in failures:
        log.error("model not loaded", model=model, version=version, error=str(why))


def _raise(failures: Sequence[Failure]) -> None:
    """Tell whoever asked for a change what did not load. FailedPrecondition."""
    _log(failures)
    if failures:
        raise FailedPrecondition("; ".join(str(each.why) for each in failures))
