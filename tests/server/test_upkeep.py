"""What is served follows the folders and the requests, on virtual time: months of polling."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from structlog.typing import EventDict

from batcher import Batcher
from batcher.testing import VirtualTimeLoop
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
from server.folders import Mark, Seen
from server.inference import ModelAddress, ServedModel
from server.live.feed import Feed
from server.loading import Loader
from server.metrics import Metrics
from server.repository import Repository
from server.residents import Residents
from server.runtime import Runtime
from server.statistics import VersionStatistics
from server.threads import ModelThreads
from server.upkeep import Upkeep
from server.versions import All, Latest, Policy, Specific, Wanted

INTERVAL = 1.0
LOADING = 0.3
"""Seconds that a version takes to load here."""

BASE = Path("/models/half")

TEMPLATE = ModelConfig("template", Path(), max_batch_size=5)


@dataclass(frozen=True)
class OnDisk:
    """A version in a base folder; a `change` of its files gives it another mark."""

    change: int = 0
    loads: bool = True

    @property
    def mark(self) -> Mark:
        return (("saved_model.pb", self.change, 0),)


class Folders(Loader):
    """Base folders that tests write to."""

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[Path, dict[int, OnDisk]] = {BASE: {}}
        self.looks: list[Path] = []

    async def look(self, path: Path, unmarked: Collection[int] = ()) -> Mapping[int, Seen]:
        self.looks.append(path)
        versions = self.models.get(path)
        if not versions:
            msg = f"model path {path} holds no model"
            raise StartupError(msg)
        return {
            version: Seen(path / str(version), None if version in unmarked else each.mark)
            for version, each in versions.items()
        }


class Served(Residents):
    """Takes its time to load, as models do, and refuses what does not."""

    def __init__(self, repository: Repository, folders: Folders) -> None:
        super().__init__(
            repository,
            Metrics(),
            ModelThreads(),
            folders,
            Feed(),
            runtime=Runtime(),
            drain_timeout=1.0,
        )
        self.folders = folders
        self.loads: list[tuple[int, Mark]] = []
        self.begun: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)

    async def load(self, model: ModelConfig, version: int, path: Path) -> Mark:
        found = self.folders.models[path.parent][version]
        self.loads.append((version, found.mark))
        self.begun[version].set()
        await asyncio.sleep(LOADING)
        if self._draining:
            msg = "the load was given up"
            raise Unavailable(msg)
        if not found.loads:
            msg = f"cannot load {path}"
            raise StartupError(msg)
        batcher: Batcher[Any, Any] = Batcher(list)
        served = ServedModel(model.name, version, {}, "fake", model.max_batch_size)
        self._repository.add(Endpoint(served, batcher, VersionStatistics(model.name, version)))
        return found.mark

    async def let_go(self, endpoints: list[Endpoint]) -> None:
        while endpoints:
            self._repository.remove(endpoints.pop())

    async def drain(self) -> None:
        self._draining = True


class World:
    """An upkeep of the model `half`, and what it sees."""

    def __init__(self, *versions: int, roots: tuple[Path, ...] = (), **options: Any) -> None:
        self.folders = Folders()
        self.disk = self.folders.models[BASE]
        self.disk.update(dict.fromkeys(versions, OnDisk()))
        self.repository = Repository()
        self.residents = Served(self.repository, self.folders)
        self.upkeep = Upkeep(
            [ModelConfig("half", BASE, **options)],
            self.repository,
            self.residents,
            self.folders,
            roots=roots,
            template=TEMPLATE,
        )

    @property
    def serving(self) -> list[int]:
        return self.of("half")

    @property
    def loaded(self) -> list[int]:
        """Every version that was tried, in this order."""
        return [version for version, _ in self.residents.loads]

    def of(self, name: str) -> list[int]:
        return sorted(e.served.version for e in self.repository.versions(name))

    async def polls(self, count: int = 1) -> None:
        """So many looks, with time for what they lead to."""
        await asyncio.sleep(count * INTERVAL)


Story = Callable[[World], Coroutine[Any, Any, None]]


def live(world: World, story: Story, *, polling: bool = True) -> list[EventDict]:
    """Start, poll and tell a story, on virtual time; what was written to the log."""

    async def main() -> None:
        await world.upkeep.start()
        looking = asyncio.create_task(world.upkeep.poll(INTERVAL))
        if not polling:
            looking.cancel()
        await asyncio.sleep(INTERVAL / 2)
        await story(world)
        looking.cancel()
        await world.upkeep.drain()

    with capture_logs() as entries, asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    return entries


# -------------------------------------------------------------------------------- start and policy


@pytest.mark.parametrize(
    ("policy", "serving"),
    [
        (Latest(), [5]),
        (Latest(2), [3, 5]),
        (Latest(9), [1, 3, 5]),
        (All(), [1, 3, 5]),
        (Specific(frozenset({1, 3})), [1, 3]),
        (Specific(frozenset({3, 4})), [3]),
    ],
    ids=str,
)
def test_the_policy_says_which_versions_serve(policy: Policy, serving: list[int]) -> None:
    async def story(world: World) -> None:
        assert world.serving == serving
        assert world.loaded == sorted(serving, reverse=True)

    live(World(1, 3, 5, policy=policy), story)


def test_versions_with_a_label_serve_besides() -> None:
    async def story(world: World) -> None:
        assert world.serving == [1, 5]

    live(World(1, 3, 5, labels={"stable": 1, "new": 5}), story)


def test_at_the_start_an_older_version_stands_in_for_one_that_does_not_load() -> None:
    world = World(1, 2)
    world.disk[3] = OnDisk(loads=False)

    async def story(world: World) -> None:
        assert world.serving == [2]
        assert world.loaded == [3, 2]

    (entry,) = [e for e in live(world, story) if e["log_level"] == "error"]
    assert (entry["model"], entry["version"]) == ("half", 3)
    assert entry["error"] == "cannot load /models/half/3"


def test_what_does_not_load_at_all_does_not_start() -> None:
    world = World()
    with pytest.raises(StartupError, match="holds no model"):
        live(world, lambda _: asyncio.sleep(0))
    world.disk[1] = OnDisk(loads=False)
    with pytest.raises(StartupError, match="cannot load /models/half/1"):
        live(world, lambda _: asyncio.sleep(0))


def test_a_version_that_is_asked_for_and_not_there_is_told() -> None:
    missing = Specific(frozenset({7}))
    with pytest.raises(
        StartupError, match="model 'half': model path /models/half has no version 7"
    ):
        live(World(1, policy=missing), lambda _: asyncio.sleep(0))

    async def story(world: World) -> None:
        with pytest.raises(FailedPrecondition, match="has no version 7"):
            await world.upkeep.serve_only([wanted(policy=missing)])
        assert world.serving == [1]
        (state, *_) = world.repository.states(ModelAddress("half", 7))
        assert (state.state, state.error) == ("END", "model path /models/half has no version 7")
        await world.polls(100)
        world.disk[7] = OnDisk()
        await world.polls(3)
        assert world.serving == [7]

    (entry,) = [e for e in live(World(1), story) if e["log_level"] == "error"]
    assert (entry["model"], entry["version"]) == ("half", 7)


def test_models_that_load_serve_beside_those_that_do_not() -> None:
    world = World(1)
    other = ModelConfig("other", Path("/models/other"))
    configured = [ModelConfig("half", BASE), other]
    world.upkeep = Upkeep(
        configured, world.repository, world.residents, world.folders, template=TEMPLATE
    )

    async def story(world: World) -> None:
        assert (world.serving, world.of("other")) == ([1], [])
        world.folders.models[other.path] = {1: OnDisk()}
        await world.polls(3)
        assert world.of("other") == [1]

    (entry,) = [e for e in live(world, story) if e["log_level"] == "error"]
    assert "/models/other" in entry["error"]


def test_the_start_looks_once_at_each_folder_before_anything_is_loaded() -> None:
    world = World(1)
    other = ModelConfig("other", Path("/models/other"))
    world.folders.models[other.path] = {1: OnDisk(), 2: OnDisk()}
    configured = [ModelConfig("half", BASE), other]
    world.upkeep = Upkeep(
        configured, world.repository, world.residents, world.folders, template=TEMPLATE
    )

    async def story(world: World) -> None:
        assert world.folders.looks == [BASE, other.path]
        assert (world.serving, world.of("other")) == ([1], [2])

    live(world, story, polling=False)


# ----------------------------------------------------------------------------------------- polling


def test_a_new_version_is_loaded_when_it_has_stayed_the_same_for_a_look() -> None:
    async def story(world: World) -> None:
        for change in range(100):  # It is being copied, for a hundred looks.
            world.disk[2] = OnDisk(change)
            await world.polls()
            assert world.serving == [1]
        await world.polls(2)
        assert world.serving == [2]
        assert world.loaded == [1, 2]

    live(World(1), story)


def test_the_old_version_serves_until_the_new_one_does() -> None:
    async def story(world: World) -> None:
        world.disk[2] = OnDisk()
        seen = set()
        for _ in range(400):
            await asyncio.sleep(0.01)
            seen.add(tuple(world.serving))
        # Between the two lies no time: nothing was ever served by neither.
        assert seen <= {(1,), (1, 2), (2,)}
        assert (2,) in seen

    live(World(1), story)


def test_what_fails_is_not_tried_again_before_it_changes() -> None:
    async def story(world: World) -> None:
        world.disk[2] = OnDisk(loads=False)
        await world.polls(1000)
        assert (world.serving, world.loaded) == ([1], [1, 2])
        world.disk[2] = OnDisk(1)
        await world.polls(3)
        assert (world.serving, world.loaded) == ([2], [1, 2, 2])

    (entry,) = [e for e in live(World(1), story) if e["log_level"] == "error"]
    assert entry["error"] == "cannot load /models/half/2"


def test_what_serves_goes_on_whatever_becomes_of_its_folder_which_is_told_once() -> None:
    async def story(world: World) -> None:
        world.disk.clear()
        await world.polls(1000)
        assert world.serving == [1]
        world.disk[1] = OnDisk(7)
        await world.polls(1000)
        assert (world.serving, world.loaded) == ([1], [1])
        world.disk.clear()
        await world.polls(1000)

    told = [e for e in live(World(1), story) if e["log_level"] == "warning"]
    assert ["holds no model" in e["error"] for e in told] == [True, True]


def test_a_version_that_was_unloaded_on_request_stays_out() -> None:
    async def story(world: World) -> None:
        await world.upkeep.unload("half")
        world.disk[2] = OnDisk()
        await world.polls(1000)
        assert world.serving == []
        await world.upkeep.load("half")
        assert world.serving == [2]
        world.disk[3] = OnDisk()
        await world.polls(3)
        assert world.serving == [3]

    live(World(1), story)


def test_a_request_waits_for_what_polling_has_begun_and_then_does_its_own() -> None:
    async def story(world: World) -> None:
        world.disk[2] = OnDisk()
        await world.residents.begun[2].wait()
        asked = asyncio.create_task(world.upkeep.load("half"))
        await asyncio.sleep(0.01)
        assert not asked.done()
        await asked
        assert (world.serving, world.loaded) == ([2], [1, 2, 2])

    live(World(1), story)


def test_requests_do_not_wait_for_each_other() -> None:
    async def story(world: World) -> None:
        asked = asyncio.create_task(world.upkeep.load("half"))
        await asyncio.sleep(0.01)
        for change in (world.upkeep.load, world.upkeep.unload):
            with pytest.raises(Aborted):
                await change("half")
        await world.polls(3)
        await asked
        assert world.loaded == [1, 1]

    live(World(1), story)


def test_a_defect_of_one_look_does_not_end_the_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(1)

    async def story(world: World) -> None:
        def gone() -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(world.folders, "look", lambda *_: gone())
            await world.polls(2)
        world.disk[2] = OnDisk()
        await world.polls(3)
        assert world.serving == [2]

    entries = [e for e in live(world, story) if e["log_level"] == "error"]
    assert [e["event"] for e in entries] == ["looking for new versions met a defect"] * 2


def test_what_polling_loads_when_the_server_ends_is_given_up_without_a_word() -> None:
    async def story(world: World) -> None:
        world.disk[2] = OnDisk()
        await world.residents.begun[2].wait()

    assert [e for e in live(World(1), story) if e["log_level"] == "error"] == []


# -------------------------------------------------------------------- requests and configurations


def wanted(name: str = "half", base_path: str = "", **options: Any) -> Wanted:
    return Wanted(name, base_path, options.get("policy", Latest()), options.get("labels", {}))


def test_a_request_moves_a_model_to_other_versions_and_labels() -> None:
    async def story(world: World) -> None:
        find = world.repository.find
        await world.upkeep.serve_only([wanted(policy=Specific(frozenset({1})))])
        assert world.serving == [1]
        await world.upkeep.serve_only([wanted(policy=All(), labels={"canary": 3})])
        assert world.serving == [1, 2, 3]
        assert find(ModelAddress("half", None, "canary")).version == 3
        # What serves already is not loaded again.
        assert world.loaded == [3, 1, 3, 2]
        await world.upkeep.serve_only([])
        assert world.serving == []

    live(World(1, 2, 3), story, polling=False)


@pytest.mark.parametrize(
    ("models", "error", "words"),
    [
        ([wanted(), wanted()], InvalidArgument, "'half' is there more than once"),
        ([wanted(), wanted("new", "/secret/new")], PermissionDenied, "not below a --model-root"),
        ([wanted("new", "/models/../secret")], PermissionDenied, "'new' was not configured"),
        ([wanted("new", "os:system")], PermissionDenied, "'new' was not configured"),
        ([wanted("new")], InvalidArgument, "'new' was not configured, and has no base path"),
        ([wanted("new", "/models/a\0b")], InvalidArgument, "cannot be read"),
        ([wanted("half", "/else")], PermissionDenied, "another base path than '/else'"),
    ],
)
def test_a_request_is_refused_before_anything_changes(
    models: list[Wanted], error: type[Exception], words: str
) -> None:
    async def story(world: World) -> None:
        with pytest.raises(error, match=words):
            await world.upkeep.serve_only(models)
        assert (world.serving, world.loaded) == ([1], [1])

    live(World(1, roots=(Path("/models"),)), story)


def test_a_request_may_bring_models_from_below_a_root() -> None:
    async def story(world: World) -> None:
        world.folders.models[Path("/models/new")] = {7: OnDisk()}
        await world.upkeep.serve_only([wanted("new", "/models/new")])
        assert (world.serving, world.of("new")) == ([], [7])
        assert world.repository.find(ModelAddress("new")).max_batch_size == 5
        world.folders.models[Path("/models/new")][8] = OnDisk()
        await world.polls(3)
        assert world.of("new") == [8]

    live(World(1, roots=(Path("/models"),)), story)


def test_what_a_request_brings_is_never_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")

    async def story(world: World) -> None:
        with pytest.raises(FailedPrecondition, match="model path /os:system holds no model"):
            await world.upkeep.serve_only([wanted("new", "os:system")])

    live(World(1, roots=(Path("/"),)), story)


def test_a_link_among_versions_leads_no_further_than_the_request_may(tmp_path: Path) -> None:
    base, secret = tmp_path / "models" / "new", tmp_path / "secret"
    base.mkdir(parents=True)
    secret.mkdir()
    (base / "7").symlink_to(secret)

    async def story(world: World) -> None:
        world.folders.models[base] = {6: OnDisk(), 7: OnDisk()}
        await world.upkeep.serve_only([wanted("new", str(base))])
        assert world.of("new") == [6]

    live(World(1, roots=(base.parent,)), story)


def test_a_request_that_comes_to_nothing_leaves_nothing_behind() -> None:
    async def story(world: World) -> None:
        with pytest.raises(FailedPrecondition):
            await world.upkeep.serve_only([wanted(), wanted("new", "/models/typo")])
        world.folders.models[Path("/models/new")] = {1: OnDisk()}
        await world.upkeep.serve_only([wanted(), wanted("new", "/models/new")])
        assert (world.serving, world.of("new")) == ([1], [1])
        await world.upkeep.serve_only([wanted()])
        with pytest.raises(NotFound):
            await world.upkeep.load("new")

    live(World(1, roots=(Path("/models"),)), story)


def test_two_requests_for_everything_are_not_mixed() -> None:
    async def story(world: World) -> None:
        first = asyncio.create_task(world.upkeep.serve_only([wanted(policy=All())]))
        await asyncio.sleep(LOADING / 2)
        with pytest.raises(Aborted, match="a configuration is being loaded"):
            await world.upkeep.serve_only([])
        refreshed = asyncio.create_task(
            world.upkeep.refresh([ModelConfig("half", BASE, policy=Latest(2))], TEMPLATE)
        )
        await first
        assert world.serving == [1, 2, 3]
        await refreshed
        assert world.serving == [2, 3]

    live(World(1, 2, 3), story)


def test_a_new_configuration_waits_for_what_is_asked_for_meanwhile() -> None:
    async def story(world: World) -> None:
        asked = asyncio.create_task(world.upkeep.load("half"))
        await asyncio.sleep(LOADING / 2)
        await world.upkeep.refresh([ModelConfig("other", Path("/models/other"))], TEMPLATE)
        await asked
        assert world.serving == []
        with pytest.raises(NotFound):
            await world.upkeep.unload("half")

    live(World(1), story)


@pytest.mark.parametrize("gone", ["unloaded", "forgotten"])
def test_what_was_asked_for_during_a_look_counts(gone: str) -> None:
    world = World(1)
    looking, look = asyncio.Event(), world.folders.look

    async def slowly(path: Path, unmarked: Collection[int] = ()) -> Mapping[int, Seen]:
        looking.set()
        await asyncio.sleep(INTERVAL)
        return await look(path, unmarked)

    async def story(world: World) -> None:
        world.disk[2] = OnDisk()
        await world.polls()
        world.folders.look = slowly  # type: ignore[method-assign]
        looking.clear()
        await looking.wait()
        if gone == "unloaded":
            await world.upkeep.unload("half")
        else:
            await world.upkeep.refresh([], TEMPLATE)
        await world.polls(10)
        assert (world.serving, world.loaded) == ([], [1])

    live(world, story)


def test_what_did_not_load_by_new_settings_is_loaded_when_it_can() -> None:
    async def story(world: World) -> None:
        models = [ModelConfig("half", BASE, max_batch_size=7)]
        world.disk[1] = OnDisk(loads=False)
        await world.upkeep.refresh(models, TEMPLATE)
        assert world.repository.find(ModelAddress("half")).max_batch_size == 64
        world.disk[1] = OnDisk()
        await world.upkeep.refresh(models, TEMPLATE)
        assert world.repository.find(ModelAddress("half")).max_batch_size == 7
        assert world.loaded == [1, 1, 1]

    live(World(1), story, polling=False)


def test_a_label_for_what_does_not_serve_is_told() -> None:
    async def story(world: World) -> None:
        with pytest.raises(FailedPrecondition, match="'new' names version 9, which does not serve"):
            await world.upkeep.serve_only([wanted(labels={"new": 9})])

    live(World(1), story)


def test_what_a_request_wants_and_does_not_load_leaves_what_served() -> None:
    async def story(world: World) -> None:
        world.disk[2] = OnDisk(loads=False)
        for change in (
            world.upkeep.load("half"),
            world.upkeep.serve_only([wanted(policy=Specific(frozenset({2})))]),
        ):
            with pytest.raises(FailedPrecondition, match="cannot load /models/half/2"):
                await change
            assert world.serving == [1]

    live(World(1), story, polling=False)


def test_a_version_broken_in_place_is_not_replaced_by_an_older_one() -> None:
    async def story(world: World) -> None:
        world.disk[2] = OnDisk(1, loads=False)
        with pytest.raises(FailedPrecondition):
            await world.upkeep.load("half")
        assert (world.serving, world.loaded) == ([2], [2, 2])

    live(World(1, 2), story)


def test_a_new_configuration_adds_removes_and_changes_models() -> None:
    async def story(world: World) -> None:
        world.folders.models[Path("/models/new")] = {1: OnDisk()}
        kept = ModelConfig("half", BASE, policy=Latest(2))
        await world.upkeep.refresh([kept, ModelConfig("new", Path("/models/new"))], TEMPLATE)
        assert (world.serving, world.of("new")) == ([1, 2], [1])
        assert world.loaded == [2, 1, 1]
        # Other batches: everything is loaded anew.
        await world.upkeep.refresh([ModelConfig("half", BASE, max_batch_size=7)], TEMPLATE)
        assert (world.serving, world.of("new")) == ([2], [])
        assert world.loaded[3:] == [2]
        assert world.repository.names() == ["half"]
        with pytest.raises(NotFound):
            await world.upkeep.load("new")

    live(World(1, 2), story)


def test_a_refresh_loads_what_was_written_over() -> None:
    async def story(world: World) -> None:
        configured = [ModelConfig("half", BASE)]
        await world.upkeep.refresh(configured, TEMPLATE)
        assert world.loaded == [2]
        world.disk[2] = OnDisk(1)
        await world.upkeep.refresh(configured, TEMPLATE)
        assert (world.serving, world.loaded) == ([2], [2, 2])

    live(World(1, 2), story)


def test_what_a_refresh_cannot_do_keeps_nothing_else_from_it() -> None:
    async def story(world: World) -> None:
        world.folders.models[Path("/models/new")] = {1: OnDisk()}
        world.disk.clear()
        models = [ModelConfig("half", BASE), ModelConfig("new", Path("/models/new"))]
        await world.upkeep.refresh(models, TEMPLATE)
        assert (world.serving, world.of("new")) == ([1], [1])

    entries = [e for e in live(World(1), story) if e["log_level"] == "error"]
    assert [e["event"] for e in entries] == ["model not loaded"]


# --------------------------------------------------------------------------------------- histories

versions = st.integers(1, 4)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), versions, st.booleans()),
        st.tuples(st.just("remove"), versions),
        st.tuples(st.just("polls"), st.integers(1, 3)),
        st.tuples(st.just("load")),
    ),
    max_size=12,
)
policies = st.sampled_from([Latest(), Latest(2), All(), Specific(frozenset({2, 3}))])


@settings(deadline=None)
@given(steps, policies)
def test_whatever_happens_to_the_folders_the_right_versions_serve_in_the_end(
    history: list[tuple[Any, ...]], policy: Policy
) -> None:
    async def story(world: World) -> None:
        for change, (what, *values) in enumerate(history, start=1):
            before = len(world.loaded)
            if what == "write":
                world.disk[values[0]] = OnDisk(change, loads=values[1])
            elif what == "remove":
                world.disk.pop(values[0], None)
            elif what == "polls":
                await world.polls(values[0])
            else:
                try:
                    await world.upkeep.load("half")
                except FailedPrecondition:
                    tried = len(world.loaded) > before
                    assert tried or not world.disk or isinstance(policy, Specific)
            assert world.serving
        before_the_end = list(world.serving)
        await world.polls(8)
        # What serves from memory may have changed on disk since: that is loaded when asked for.
        good = {v for v, each in world.disk.items() if each.loads or v in before_the_end}
        assert set(world.serving) == (policy.choose(good) or set(before_the_end))
        failed = [load for load in world.residents.loads if load[0] not in world.serving]
        await world.polls(1000)
        assert [x for x in world.residents.loads if x[0] not in world.serving] == failed

    live(World(2, policy=policy), story)
