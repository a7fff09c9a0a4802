"""Who serves an address, and what is told of the others."""

from collections.abc import Collection

import pytest

from batcher import Batcher
from server.endpoint import Endpoint
from server.errors import InvalidArgument, NotFound, Unavailable
from server.inference import ModelAddress, ServedModel, VersionState
from server.repository import Repository
from server.signature import Tensors
from server.statistics import VersionStatistics


def endpoint(name: str, version: int) -> Endpoint:
    """An endpoint that nobody calls."""
    batcher: Batcher[Tensors, Tensors] = Batcher(list)
    served = ServedModel(name, version, {}, "doubler", 8)
    return Endpoint(served, batcher, VersionStatistics(name, version))


@pytest.fixture
def repository() -> Repository:
    """`half` serves 1 and 3; 4 is on its way, as is `slow`."""
    made = Repository()
    for version in (3, 1):
        made.add(endpoint("half", version))
    made.set_state("half", VersionState(4, "LOADING"))
    made.set_state("slow", VersionState(1, "START"))
    return made


@pytest.mark.parametrize(("asked", "version"), [(None, 3), (1, 1), (3, 3)])
def test_an_address_finds_its_version_or_the_newest_that_serves(
    repository: Repository, asked: int | None, version: int
) -> None:
    served = repository.find(ModelAddress("half", asked))
    assert (served.name, served.version) == ("half", version)
    assert repository.endpoint(served).served is served


@pytest.mark.parametrize(
    "address",
    [ModelAddress("nobody"), ModelAddress("nobody", 1), ModelAddress("half", 2)],
    ids=str,
)
def test_who_is_not_here_is_not_found(repository: Repository, address: ModelAddress) -> None:
    with pytest.raises(NotFound, match=f"no such model here: {address}"):
        repository.find(address)
    with pytest.raises(NotFound, match=f"no such model here: {address}"):
        repository.states(address)


@pytest.mark.parametrize(
    ("address", "state"),
    [
        (ModelAddress("slow"), "version 1 is START"),
        (ModelAddress("slow", 1), "version 1 is START"),
        (ModelAddress("half", 4), "version 4 is LOADING"),
    ],
)
def test_who_is_on_its_way_is_not_ready(
    repository: Repository, address: ModelAddress, state: str
) -> None:
    with pytest.raises(Unavailable, match=state):
        repository.find(address)


def test_another_version_of_one_on_its_way_is_not_found(repository: Repository) -> None:
    with pytest.raises(NotFound):
        repository.find(ModelAddress("slow", 2))


@pytest.mark.parametrize("name", ["half", "nobody"])
def test_an_unknown_label_is_the_clients_mistake(repository: Repository, name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"'{name}' has no version labelled 'stable'"):
        repository.find(ModelAddress(name, label="stable"))


def test_the_states_are_told_newest_first(repository: Repository) -> None:
    assert repository.states(ModelAddress("half")) == [
        VersionState(4, "LOADING"),
        VersionState(3, "AVAILABLE"),
        VersionState(1, "AVAILABLE"),
    ]
    assert repository.states(ModelAddress("half", 4)) == [VersionState(4, "LOADING")]
    assert len(repository.states(ModelAddress("half", label="any"))) == 3


def test_a_version_has_one_state_at_a_time(repository: Repository) -> None:
    repository.set_state("half", VersionState(4, "END", "no memory"))
    assert repository.states(ModelAddress("half", 4)) == [VersionState(4, "END", "no memory")]
    repository.add(endpoint("half", 4))
    assert repository.states(ModelAddress("half", 4)) == [VersionState(4, "AVAILABLE")]
    assert repository.find(ModelAddress("half")).version == 4


def test_it_knows_who_is_here_or_on_its_way(repository: Repository) -> None:
    assert [name for name in ("half", "slow", "nobody") if repository.knows(name)] == [
        "half",
        "slow",
    ]


@pytest.mark.parametrize(
    ("among", "expected"), [(None, [3, 1]), ({1, 4}, [1]), ({1, 3}, [3, 1]), ((), [])]
)
def test_the_versions_that_serve_are_listed_newest_first_or_some_of_them(
    repository: Repository, among: Collection[int] | None, expected: list[int]
) -> None:
    listed = repository.versions("half", among=among)
    assert [each.served.version for each in listed] == expected
    assert repository.versions("nobody", among=among) == []


def test_all_that_serve_are_listed(repository: Repository) -> None:
    repository.add(endpoint("other", 1))
    listed = {(e.served.name, e.served.version) for e in repository.endpoints()}
    assert listed == {("half", 1), ("half", 3), ("other", 1)}
