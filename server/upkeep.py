"""Keeps what is served in step with what is configured and what is on disk. Event loop.

Versions come and go by the policy of their model (`versions`), when the server starts, when a look
into the base folders shows something new, and when somebody asks: an administrator, or a new
configuration. One change of a model at a time; a change that has begun goes on to its end, even if
whoever asked for it goes away. New versions serve before old ones go. What does not load leaves
what served before, and is not tried again before its files change or somebody asks.
"""

import asyncio
import functools
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import structlog

from server.config import ModelConfig
from server.endpoint import Endpoint
from server.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StartupError,
    Unavailable,
)
from server.folders import Seen
from server.inference import VersionState
from server.kept import Kept, Loaded
from server.loading import Loader
from server.repository import Repository
from server.residents import Residents
from server.versions import Wanted

log: Final = structlog.get_logger("server.upkeep")

ALL: Final = ""
"""In place of a model's name: a change of all of them together."""


class Failure(NamedTuple):
    """A version that did not load, or a model of which none was found; and why."""

    model: str
    version: int | None
    why: StartupError

    def __str__(self) -> str:
        return f"model {self.model!r}: {self.why}"


Change: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


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
        failures = [each for kept in self._kept.values() for each in await self._update(kept)]
        if failures and not any(kept.loaded for kept in self._kept.values()):
            # The last word is the caller's.
            _log(failures[1:])
            raise StartupError(str(failures[0])) from failures[0].why
        _log(failures)

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
        await self._change(ALL, functools.partial(self._serve_only, configs))

    async def refresh(self, models: Iterable[ModelConfig], template: ModelConfig) -> None:
        """Take over a new configuration, and load what has changed on disk in place as well.

        What goes wrong is in the log: the rest is done all the same.
        """
        await self._tried(ALL, functools.partial(self._refresh, list(models), template))

    # ------------------------------------------------------------------------------ changes

    async def _change(self, name: str, change: Change, *, patient: bool = False) -> None:
        """Make one change of a model, or of all together, at a time; who comes meanwhile is told.

        A change that nobody asked for is `patient`: it waits for others, and they for it.
        """
        while name in self._changes and (patient or self._changes[name] in self._patient):
            await asyncio.wait({self._changes[name]})
        if name in self._changes:
            what = f"model {name!r} is" if name != ALL else "a configuration is"
            msg = f"{what} being loaded or unloaded already"
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
        except FailedPrecondition:
            return  # What did not load is in the log.
        except Unavailable:
            return  # The server drains.
        except Exception:
            log.exception("a change of models met a defect", model=name)

    async def _load(self, kept: Kept) -> None:
        kept.unloaded = False
        kept.failed.clear()
        _raise(await self._update(kept, anew=lambda _: set(kept.loaded)))

    async def _unload(self, kept: Kept) -> None:
        kept.unloaded = True
        kept.loaded.clear()
        await self._residents.let_go(self._repository.versions(kept.model.name))

    async def _forget(self, kept: Kept) -> None:
        await self._unload(kept)
        name = kept.model.name
        if self._kept.get(name) is kept:
            del self._kept[name]
            self._repository.forget(name)

    async def _reconfigure(self, kept: Kept, model: ModelConfig) -> None:
        """Serve a model as a new configuration says, loading anew what that or the disk changed."""
        kept.model = model
        kept.unloaded = False
        kept.failed.clear()
        _raise(await self._update(kept, anew=kept.stale))

    async def _serve_only(self, models: Sequence[ModelConfig]) -> None:
        names = {model.name for model in models}
        try:
            for model in models:
                kept = self._kept.setdefault(model.name, Kept(model, requested=True))
                change = functools.partial(self._reconfigure, kept, model)
                await self._change(model.name, change)
                _check_labels(kept)
            for name, kept in list(self._kept.items()):
                if name not in names and kept.loaded:
                    await self._change(name, functools.partial(self._unload, kept))
        finally:
            # A request that comes to nothing leaves nothing behind.
            for kept in list(self._kept.values()):
                if kept.requested and not kept.loaded:
                    await self._tried(kept.model.name, functools.partial(self._forget, kept))

    async def _refresh(self, models: Sequence[ModelConfig], template: ModelConfig) -> None:
        self._template = template
        configured = {model.name for model in models}
        for name, kept in list(self._kept.items()):
            if name not in configured:
                await self._tried(name, functools.partial(self._forget, kept))
        for model in models:
            kept = self._kept.setdefault(model.name, Kept(model))
            kept.requested = False
            await self._tried(model.name, functools.partial(self._reconfigure, kept, model))

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
        settled = kept.settled(seen)
        if kept.is_behind(settled):
            await self._tried(name, functools.partial(self._catch_up, kept, settled))

    async def _catch_up(self, kept: Kept, seen: Mapping[int, Seen]) -> None:
        if kept.unloaded or self._kept.get(kept.model.name) is not kept:
            return  # Somebody has asked for something else since the look.
        _log(await self._update(kept, seen))

    # ------------------------------------------------------------------------- one change

    async def _update(
        self,
        kept: Kept,
        seen: Mapping[int, Seen] | None = None,
        anew: Callable[[Mapping[int, Seen]], set[int]] = lambda _: set(),
    ) -> list[Failure]:
        """Load what is wanted of the versions seen, then let the surplus go; what did not load.

        Of those that serve, the ones that `anew` names are loaded again.
        """
        if seen is None:
            try:
                seen = await self._look(kept)
            except StartupError as error:
                return [Failure(kept.model.name, None, error)]
        failures = await self._load_wanted(kept, seen, anew(seen))
        failures += [self._miss(kept, version) for version in sorted(kept.absent(seen))]
        # Who asks for a label finds its new version before the old one goes.
        self._repository.set_labels(kept.model.name, kept.model.labels)
        going = kept.surplus(seen)
        for version in going:
            del kept.loaded[version]
        await self._residents.let_go(self._versions(kept.model.name, going))
        for label, version in kept.model.labels.items():
            if version not in kept.loaded:
                note = "a label names a version that is not served"
                log.warning(note, model=kept.model.name, label=label, version=version)
        return failures

    def _versions(self, name: str, among: Collection[int]) -> list[Endpoint]:
        """Those of these versions that serve. Whoever keeps them would keep their models."""
        return [e for e in self._repository.versions(name) if e.served.version in among]

    def _miss(self, kept: Kept, version: int) -> Failure:
        """A version that is asked for by its number is not there."""
        why = StartupError(f"model path {kept.model.path} has no version {version}")
        self._repository.set_state(kept.model.name, VersionState(version, "END", str(why)))
        return Failure(kept.model.name, version, why)

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

    async def _look(self, kept: Kept, *, known: bool = False) -> Mapping[int, Seen]:
        """The versions on disk; `known` spares the marks of those that serve. StartupError."""
        seen = await self._loader.look(kept.model.path, tuple(kept.loaded) if known else ())
        if kept.requested:
            # A link among the versions must not lead further than the request may.
            seen = {v: each for v, each in seen.items() if self._is_below_a_root(each.path)}
        return seen

    async def _announce(self, kept: Kept) -> None:
        """Tell what is to come before it is loaded: it is not unknown, but not ready."""
        self._repository.announce(kept.model.name)
        self._repository.set_labels(kept.model.name, kept.model.labels)
        try:
            seen = await self._look(kept)
        except StartupError:
            return  # What is wrong is told when it is loaded.
        for version in kept.wanted(seen):
            self._repository.set_state(kept.model.name, VersionState(version, "START"))

    def _trouble(self, kept: Kept, told: str) -> None:
        """Log what a look met, once for as long as it stays the same."""
        if told and told != kept.trouble:
            log.warning("the look for new versions failed", model=kept.model.name, error=told)
        kept.trouble = told

    # ------------------------------------------------------------------------------- checks

    def _configured(self, name: str) -> Kept:
        kept = self._kept.get(name)
        if kept is None:
            told = ", ".join(repr(known) for known in self._kept)
            msg = f"model {name!r} is not configured here; there are {told}"
            raise NotFound(msg)
        return kept

    def _checked(self, model: Wanted) -> ModelConfig:
        """The configuration that a request asks for. PermissionDenied, InvalidArgument."""
        kept = self._kept.get(model.name)
        if kept is None:
            return self._brought(model)
        path = Path(model.base_path)
        if model.base_path and path.absolute() != kept.model.path.absolute():
            msg = f"model {model.name!r} was started with another base path than {str(path)!r}"
            raise PermissionDenied(msg)
        return replace(kept.model, policy=model.policy, labels=model.labels)

    def _brought(self, model: Wanted) -> ModelConfig:
        """The configuration of a model that only this request names.

        Its path becomes absolute: so it cannot be taken for a Python function.
        """
        if not model.base_path:
            msg = f"model {model.name!r} was not configured, and has no base path"
            raise InvalidArgument(msg)
        try:
            path = Path(model.base_path).resolve()
        except (OSError, RuntimeError, ValueError) as error:
            msg = f"model {model.name!r}: its base path cannot be read: {error}"
            raise InvalidArgument(msg) from error
        if not self._is_below_a_root(path):
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

    def _is_below_a_root(self, path: Path) -> bool:
        path = path.resolve()
        return any(path.is_relative_to(root.resolve()) for root in self._roots)


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
