"""Keeps what is served in step with what is configured and what is on disk. Event loop.

Versions come and go by the policy of their model (`versions`), when the server starts, when a look
into the base folders shows something new, and when somebody asks: an administrator, or a new
configuration. One change of a model at a time; a change that has begun goes on to its end, even if
whoever asked for it goes away. New versions serve before old ones go. What does not load leaves
what served before, and is not tried again before its files change or somebody asks.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import structlog

from server.config import ModelConfig
from server.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StartupError,
    Unavailable,
)
from server.folders import Mark, Seen
from server.inference import VersionState
from server.loading import Loader
from server.repository import Repository
from server.residents import Residents
from server.versions import Wanted, surplus, wanted

log: Final = structlog.get_logger("server.upkeep")

Change = Callable[[], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class _Kept:
    """A configured model: its configuration now, and what is known of its versions by number.

    `loaded` are the marks of what serves, `failed` of what did not load, `coming` of what was new
    at the last look: it is loaded once it has stayed the same until the next. `unloaded` says that
    somebody asked for that, and only asking brings it back. `trouble` is the last that was logged.
    """

    model: ModelConfig
    loaded: dict[int, Mark] = field(default_factory=dict)
    failed: dict[int, Mark | None] = field(default_factory=dict)
    coming: dict[int, Mark] = field(default_factory=dict)
    unloaded: bool = False
    trouble: str = ""

    def wanted(self, marks: Mapping[int, Mark | None]) -> frozenset[int]:
        """Those to serve, of the versions with these marks."""
        return wanted(self.model.policy, self.model.labels.values(), marks, self.failed)


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
        self._kept = {model.name: _Kept(model) for model in models}
        self._repository = repository
        self._residents = residents
        self._loader = loader
        self._roots = roots
        self._template = template
        self._changes: dict[str, asyncio.Task[None]] = {}
        self._patient: set[asyncio.Task[None]] = set()

    # ----------------------------------------------------------------------- start and end

    async def start(self) -> None:
        """Load every model, one after the other. StartupError if none of them loads.

        Where some do, they serve; what became of the others is in the log and in their states.
        """
        for kept in self._kept.values():
            await self._announce(kept)
        errors: list[StartupError] = []
        for kept in self._kept.values():
            errors += await self._update(kept)
        if not any(self._repository.versions(name) for name in self._kept) and errors:
            raise errors[0]
        for error in errors:
            log.error("model not loaded", error=str(error))

    async def drain(self) -> None:
        """Load nothing more, and finish what was accepted."""
        await self._residents.drain()
        if self._changes:
            # Those that were leaving already have had their time as well.
            await asyncio.wait(self._changes.values())

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

    async def load(self, name: str) -> None:
        """Load a configured model, anew if it serves already, and switch to it.

        NotFound, Aborted; FailedPrecondition when it does not load: what served before goes on.
        Unavailable when the server drains.
        """
        kept = self._configured(name)
        await self._change(name, functools.partial(self._load, kept))

    async def unload(self, name: str) -> None:
        """Stop serving a configured model, once what it has accepted is answered.

        NotFound, Aborted.
        """
        kept = self._configured(name)
        await self._change(name, functools.partial(self._unload, kept))

    async def serve_only(self, models: Sequence[Wanted]) -> None:
        """Serve these models by these policies and labels, and no others.

        Models that were not configured are taken from below the roots. Nothing is changed before
        all has been checked: InvalidArgument, PermissionDenied. Aborted; FailedPrecondition when
        one does not load, or a label names a version that does not serve then.
        """
        names = [model.name for model in models]
        for name in names:
            if names.count(name) > 1:
                msg = f"model {name!r} is there more than once"
                raise InvalidArgument(msg)
        configs = [self._checked(model) for model in models]
        for model in configs:
            kept = self._kept.setdefault(model.name, _Kept(model))
            await self._change(model.name, functools.partial(self._reconfigure, kept, model))
            self._check_labels(model)
        for name, kept in self._kept.items():
            if name not in names and self._repository.versions(name):
                await self._change(name, functools.partial(self._unload, kept))

    async def refresh(self, models: Iterable[ModelConfig], template: ModelConfig) -> None:
        """Take over a new configuration, and load what has changed on disk in place as well.

        What goes wrong is in the log: the rest is done all the same.
        """
        self._template = template
        wanted = {model.name: model for model in models}
        for name in [name for name in self._kept if name not in wanted]:
            await self._tried(name, functools.partial(self._unload, self._kept[name]))
            del self._kept[name]
            self._repository.forget(name)
        for name, model in wanted.items():
            kept = self._kept.setdefault(name, _Kept(model))
            await self._tried(name, functools.partial(self._reconfigure, kept, model))

    # ------------------------------------------------------------------------------ changes

    async def _change(self, name: str, change: Change, *, patient: bool = False) -> None:
        """Make one change of a model at a time; whoever comes meanwhile is told so.

        A change that nobody asked for is waited for instead: it is `patient`.
        """
        while name in self._changes and self._changes[name] in self._patient:
            await asyncio.wait({self._changes[name]})
        if name in self._changes:
            msg = f"model {name!r} is being loaded or unloaded already"
            raise Aborted(msg)
        changing = asyncio.create_task(change(), name=f"change of model {name}")
        self._changes[name] = changing
        changing.add_done_callback(lambda _: self._changes.pop(name))
        if patient:
            self._patient.add(changing)
            changing.add_done_callback(self._patient.discard)
        await asyncio.shield(changing)

    async def _tried(self, name: str, change: Change) -> None:
        """A change that is not asked for by anybody who could be told."""
        try:
            await self._change(name, change, patient=True)
        except Unavailable:
            return  # The server drains.
        except Exception as error:  # noqa: BLE001 - one model must not keep the others from theirs
            log.error("model not changed", model=name, error=str(error))  # noqa: TRY400 - as above

    async def _load(self, kept: _Kept) -> None:
        kept.unloaded = False
        kept.failed.clear()
        _raise(await self._update(kept, anew=lambda *_: True))

    async def _unload(self, kept: _Kept) -> None:
        kept.unloaded = True
        kept.loaded.clear()
        await self._residents.let_go(self._repository.versions(kept.model.name))

    async def _reconfigure(self, kept: _Kept, model: ModelConfig) -> None:
        """Serve a model as a new configuration says, loading anew what that or the disk changed."""
        same = replace(kept.model, policy=model.policy, labels=model.labels) == model
        kept.model = model
        kept.unloaded = False
        kept.failed.clear()
        before = dict(kept.loaded)

        def changed(version: int, seen: Seen) -> bool:
            return not same or before[version] != seen.mark

        _raise(await self._update(kept, anew=changed))

    async def _poll(self, name: str) -> None:
        kept = self._kept.get(name)
        if kept is None or kept.unloaded or name in self._changes:
            return
        try:
            seen = await self._look(kept, known=True)
        except StartupError as error:
            self._trouble(kept, str(error))
            return
        self._trouble(kept, "")
        coming = {v: each.mark for v, each in seen.items() if each.mark is not None}
        settled = {version for version, mark in coming.items() if kept.coming.get(version) == mark}
        kept.coming = coming
        usable = {v: each for v, each in seen.items() if v in settled or each.mark is None}
        if self._is_behind(kept, usable):
            await self._tried(name, functools.partial(self._catch_up, kept, usable))

    def _is_behind(self, kept: _Kept, seen: Mapping[int, Seen]) -> bool:
        chosen = kept.wanted(_marks(seen))
        return not chosen <= kept.loaded.keys() or bool(surplus(chosen, kept.loaded))

    async def _catch_up(self, kept: _Kept, seen: Mapping[int, Seen]) -> None:
        for error in await self._update(kept, seen):
            log.error("model not loaded", model=kept.model.name, error=str(error))

    # ------------------------------------------------------------------------- one change

    async def _update(
        self,
        kept: _Kept,
        seen: Mapping[int, Seen] | None = None,
        anew: Callable[[int, Seen], bool] = lambda *_: False,
    ) -> list[StartupError]:
        """Load what is wanted of the versions seen, then let the surplus go; what did not load.

        Versions that serve are loaded again if `anew` says so.
        """
        if seen is None:
            try:
                seen = await self._look(kept)
            except StartupError as error:
                return [error]
        stale = {v for v, each in seen.items() if v in kept.loaded and anew(v, each)}
        errors = await self._load_wanted(kept, seen, stale)
        # Who asks for a label finds its new version before the old one goes.
        self._repository.set_labels(kept.model.name, kept.model.labels)
        await self._let_surplus_go(kept, seen)
        for label, version in kept.model.labels.items():
            if version not in kept.loaded:
                note = "a label names a version that is not served"
                log.warning(note, model=kept.model.name, label=label, version=version)
        return errors

    async def _load_wanted(
        self, kept: _Kept, seen: Mapping[int, Seen], stale: set[int]
    ) -> list[StartupError]:
        """Load what is wanted and does not serve, or is stale; the highest version first."""
        errors: list[StartupError] = []
        marks = _marks(seen)
        while missing := kept.wanted(marks) - (kept.loaded.keys() - stale):
            version = max(missing)
            stale.discard(version)
            try:
                mark = await self._residents.load(kept.model, version, seen[version].path)
            except StartupError as error:
                errors.append(error)
                if version not in kept.loaded:
                    kept.failed[version] = marks[version]
            else:
                kept.loaded[version] = mark
        return errors

    async def _let_surplus_go(self, kept: _Kept, seen: Mapping[int, Seen]) -> None:
        for version in sorted(surplus(kept.wanted(_marks(seen)), kept.loaded)):
            del kept.loaded[version]
            serving = self._repository.versions(kept.model.name)
            await self._residents.let_go([e for e in serving if e.served.version == version])

    async def _look(self, kept: _Kept, *, known: bool = False) -> Mapping[int, Seen]:
        """The versions on disk; `known` spares the marks of those that serve. StartupError."""
        return await self._loader.look(kept.model.path, tuple(kept.loaded) if known else ())

    async def _announce(self, kept: _Kept) -> None:
        """Tell what is to come before it is loaded: it is not unknown, but not ready."""
        self._repository.announce(kept.model.name)
        self._repository.set_labels(kept.model.name, kept.model.labels)
        try:
            seen = await self._look(kept)
        except StartupError:
            return  # What is wrong is told when it is loaded.
        for version in kept.wanted(dict.fromkeys(seen)):
            self._repository.set_state(kept.model.name, VersionState(version, "START"))

    def _trouble(self, kept: _Kept, told: str) -> None:
        """Log what a look met, once for as long as it stays the same."""
        if told and told != kept.trouble:
            log.warning("no versions found; what serves goes on", model=kept.model.name, error=told)
        kept.trouble = told

    # ------------------------------------------------------------------------------- checks

    def _configured(self, name: str) -> _Kept:
        kept = self._kept.get(name)
        if kept is None:
            told = ", ".join(repr(known) for known in self._kept)
            msg = f"model {name!r} is not configured here; there are {told}"
            raise NotFound(msg)
        return kept

    def _checked(self, model: Wanted) -> ModelConfig:
        """The configuration that a request asks for. PermissionDenied, InvalidArgument."""
        kept = self._kept.get(model.name)
        path = Path(model.base_path)
        if kept is None:
            if not any(path.resolve().is_relative_to(root.resolve()) for root in self._roots):
                told = ", ".join(repr(name) for name in self._kept)
                msg = (
                    f"model {model.name!r} was not configured when the server was started; it has"
                    f" {told}; and its base path is not below a --model-root"
                )
                raise PermissionDenied(msg)
            return replace(
                self._template,
                name=model.name,
                path=path,
                policy=model.policy,
                labels=model.labels,
            )
        if model.base_path and path.absolute() != kept.model.path.absolute():
            msg = f"model {model.name!r} was started with another base path than {str(path)!r}"
            raise PermissionDenied(msg)
        return replace(kept.model, policy=model.policy, labels=model.labels)

    def _check_labels(self, model: ModelConfig) -> None:
        for label, version in model.labels.items():
            if version not in self._kept[model.name].loaded:
                msg = (
                    f"model {model.name!r}: label {label!r} names version {version},"
                    " which does not serve"
                )
                raise FailedPrecondition(msg)


def _marks(seen: Mapping[int, Seen]) -> Mapping[int, Mark | None]:
    return {version: each.mark for version, each in seen.items()}


def _raise(errors: Sequence[StartupError]) -> None:
    """Tell whoever asked for a change what did not load. FailedPrecondition."""
    if errors:
        for error in errors:
            log.error("model not loaded", error=str(error))
        raise FailedPrecondition("; ".join(map(str, errors))) from errors[0]
