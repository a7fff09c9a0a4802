"""What an event of the live page says: bounded, whatever happens, and nothing lost in the sums."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher import BatchRecord, Reason, Receipt
from server.inference import VersionState
from server.live.feed import MOST_BATCHES, MOST_REQUESTS, Feed, Times
from server.live.snapshot import (
    MOST_VERSIONS,
    Serves,
    Shown,
    bar,
    batch,
    expected,
    histogram,
    sizes_to_show,
    snapshot,
    step_begins,
    step_of,
)
from tests.server.test_metrics import record, stats

AVAILABLE = VersionState(1, "AVAILABLE")


def shown(name: str = "half", *, accepted: int = 0) -> Shown:
    return Shown(name, AVAILABLE, Serves(stats(accepted=accepted), [(1, 0.25)], draws=False))


def told(feed: Feed) -> dict[str, Any]:
    """What an event says of one version, through JSON and back."""
    event = json.loads(json.dumps(snapshot([shown()], feed.take())))
    (version,) = event["versions"]
    return {**version, "errors": event["errors"]}


def test_a_batch_is_a_bar() -> None:
    one = record(taken=5.0, size=3, padded_size=4, requests=2, run_time=0.02, failed=1, again=1)
    assert batch(one) == [5.0, 0.02, 3, 4, 2, "idle", 2]


def test_a_receipt_is_the_bar_of_its_batch() -> None:
    receipt = Receipt(0.001, 0.02, 3, 2, 4, Reason.FULL, 5.0)
    assert bar(receipt) == [5.0, 0.02, 3, 4, 2, "full", 0]


def test_a_version_is_told_with_its_queue_its_ends_and_what_is_learned() -> None:
    serves = Serves(stats(queued_rows=5, running_batches=1, refused=4), [(1, 0.25)], draws=True)
    (version,) = snapshot([Shown("half", AVAILABLE, serves)], Feed().take())["versions"]
    assert version["now"]["queued_rows"] == 5
    assert version["now"]["healthy"] is True
    assert version["totals"]["refused"] == 4
    assert version["expected"] == [[1, 0.25]]
    assert version["draws"] is True
    assert version["batches"] == []
    assert version["left_out"] is None
    assert version["stages"] == {}


def test_a_version_that_does_not_serve_is_told_with_its_error() -> None:
    failed = Shown("half", VersionState(2, "END", "no such file"))
    (version,) = snapshot([failed], Feed().take())["versions"]
    assert (version["state"], version["error"]) == ("END", "no such file")
    assert "now" not in version


def test_an_event_says_only_what_is_new() -> None:
    feed = Feed()
    feed.batch("half", 1, record())
    feed.answered("half", 1, Times(0.1, 0.2, 0.3, 0.4, 1.5))
    feed.refused("half", "UNAVAILABLE")
    first, second = told(feed), told(feed)
    assert len(first["batches"]) == 1
    assert first["stages"]["total"] == [[step_of(1.5), 1]]
    assert first["errors"] == {"half": {"UNAVAILABLE": 1}}
    assert second["batches"] == []
    assert second["stages"] == second["errors"] == {}


batches = st.builds(
    record,
    size=st.integers(1, 64),
    padded_size=st.just(64),
    run_time=st.floats(0.001, 1.0),
    taken=st.floats(0.0, 100.0),
)


@given(st.lists(batches, min_size=1, max_size=20), st.integers(0, MOST_BATCHES))
def test_batches_beyond_the_bound_are_told_as_a_sum(those: list[BatchRecord], before: int) -> None:
    feed = Feed()
    for _ in range(before):
        feed.batch("other", 1, record())
    for each in those:
        feed.batch("half", 1, each)
    version = told(feed)
    room = MOST_BATCHES - before
    beyond = those[room:]
    assert [each[2] for each in version["batches"]] == [each.size for each in those[:room]]
    assert version["sums"]["batches"] == len(those)
    assert version["sums"]["size"] == sum(each.size for each in those)
    assert version["sums"]["padded_size"] == 64 * len(those)
    assert version["sums"]["busy"] == pytest.approx(sum(each.run_time for each in those), abs=1e-5)
    if not beyond:
        assert version["left_out"] is None
        return
    out = version["left_out"]
    assert (out["count"], out["size"]) == (len(beyond), sum(each.size for each in beyond))
    assert out["begin"] == pytest.approx(min(each.taken for each in beyond), abs=1e-5)
    assert out["end"] == pytest.approx(max(e.taken + e.run_time for e in beyond), abs=1e-5)


def test_the_times_of_more_requests_than_the_bound_are_not_kept() -> None:
    feed = Feed()
    for _ in range(MOST_REQUESTS + 10):
        feed.answered("half", 1, Times(0.1, 0.2, 0.3, 0.4, 1.0))
    assert told(feed)["stages"]["queue"] == [[step_of(0.2), MOST_REQUESTS]]


@given(st.floats(0.0, 1e4))
def test_a_step_holds_its_durations(seconds: float) -> None:
    step = step_of(seconds)
    assert step >= 0
    assert seconds <= step_begins(step + 1) * (1 + 1e-9)
    if step:
        assert step_begins(step) <= seconds * (1 + 1e-9)


@given(st.lists(st.floats(0.0, 100.0)))
def test_a_histogram_counts_each_duration_once_ascending(seconds: list[float]) -> None:
    counted = histogram(seconds)
    assert sum(many for _, many in counted) == len(seconds)
    assert [step for step, _ in counted] == sorted({step_of(each) for each in seconds})


@given(st.integers(1, 5000))
def test_run_times_are_told_at_every_double_and_at_the_largest_size(most: int) -> None:
    sizes = sizes_to_show(most)
    assert sizes[-1] == most
    assert sizes[0] == 1
    assert all(low < high <= 2 * low for low, high in itertools.pairwise(sizes))


def test_what_is_not_learned_is_not_told() -> None:
    assert expected(lambda size: None if size < 3 else size / 10, 4) == [(4, 0.4)]


def test_of_many_versions_those_with_most_requests_are_told_in_their_order() -> None:
    most_used = {3, MOST_VERSIONS + 5}
    models = [
        shown(f"m{k}", accepted=10 if k in most_used else 0) for k in range(MOST_VERSIONS + 10)
    ]
    event = snapshot(models, Feed().take())
    names = [version["model"] for version in event["versions"]]
    assert event["left_out_versions"] == 10
    assert len(names) == MOST_VERSIONS
    assert {f"m{k}" for k in most_used} < set(names)
    assert names == sorted(names, key=lambda name: int(name[1:]))
