"""When the client tries again and when it gives up: decisions, and calls in virtual time."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from batcher.testing import run
from server.client.attempts import Answered, Attempts
from server.client.errors import (
    BadAnswer,
    ClientError,
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    NotFound,
    Refused,
    ServerFailed,
    Unreachable,
    of_status,
)
from server.client.messages import Reply, Request
from server.client.once import Once
from server.client.retries import Budget, Retries, next_wait, told_wait

EAGER = Retries(attempts=4, first=1.0, most=3.0, patience=60.0, share=0.1, reserve=10.0)
ASK = Request("POST", "/v2/models/m/infer", {"Content-Type": "application/json"}, b"{}")
GOOD = Reply(200, b"{}")


def refused(**headers: str) -> Reply:
    told = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Reply(503, b'{"error": "no room"}', told)


# ------------------------------------------------------------------------------------- decisions


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the time of day is not that of HTTP."""
    with monkeypatch.context() as there:
        there.setenv("TZ", "XXX+5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_away")
@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "3", "Retry-After-Ms": "12"}, 0.012),
        ({"Retry-After-Ms": "0"}, 0.0),
        ({"Retry-After": "3", "Retry-After-Ms": "soon"}, 3.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:01:45 GMT"}, 5.0),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:05 GMT"}, 0.0),
        ({"Retry-After": "Thu Jan  1 00:01:45 1970"}, 5.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
    ],
)
def test_when_a_server_wants_to_be_asked_again(headers: dict[str, str], wait: float | None) -> None:
    assert told_wait(CIMultiDict(headers), now=100.0) == wait


def test_a_refusal_waits_as_told_and_a_little_more() -> None:
    failure = Refused("no room", retry_after=5.0)
    waits = [next_wait(EAGER, failure, 1, math.inf, chance) for chance in (0.0, 0.5, 0.999)]
    assert waits == [5.0, 5.5, 5.999]


def test_without_a_hint_the_bound_of_the_wait_doubles_up_to_the_most() -> None:
    failure = Unreachable("refused")
    retries = Retries(attempts=6, first=1.0, most=3.0)
    waits = [next_wait(retries, failure, attempt, math.inf, 0.5) for attempt in range(1, 7)]
    assert waits == [0.5, 1.0, 1.5, 1.5, 1.5, None]
    assert next_wait(retries, failure, 5, math.inf, 0.0) == 0.0


@pytest.mark.parametrize(
    "failure",
    [
        Unreachable("broke", begun=True),
        InvalidRequest("wrong"),
        Forbidden("no"),
        NotFound("none"),
        DeadlineExceeded("late"),
        ServerFailed("failed"),
        BadAnswer("what"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(failure: ClientError) -> None:
    assert next_wait(EAGER, failure, 1, math.inf, 0.0) is None


def test_who_is_asked_for_too_much_patience_gives_up() -> None:
    assert next_wait(EAGER, Refused("no", retry_after=60.5), 1, math.inf, 0.0) is None
    assert next_wait(EAGER, Refused("no", retry_after=60.0), 1, math.inf, 0.0) == 60.0


@given(
    attempt=st.integers(1, 5000),
    left=st.floats(0, 100),
    chance=st.floats(0, 1, exclude_max=True),
    hint=st.none() | st.floats(0, 100),
)
def test_no_wait_reaches_the_deadline_or_is_shorter_than_told(
    attempt: int, left: float, chance: float, hint: float | None
) -> None:
    retries = Retries(attempts=10_000)
    wait = next_wait(retries, Refused("no", retry_after=hint), attempt, left, chance)
    if wait is not None:
        assert (hint or 0.0) <= wait < left
        assert wait <= (hint or 0.0) + retries.most


@given(
    calls=st.lists(st.integers(0, 5), max_size=300),
    share=st.floats(0, 1),
    reserve=st.floats(0, 20),
)
@settings(derandomize=True, deadline=None)
def test_however_calls_fail_the_budget_holds(
    calls: Sequence[int], share: float, reserve: float
) -> None:
    budget = Budget(Retries(share=share, reserve=reserve))
    retried = 0
    for wanted in calls:
        budget.earn()
        retried += sum(budget.spend() for _ in range(wanted))
    assert retried <= reserve + share * len(calls) + 1e-6


def test_a_budget_that_was_spent_is_earned_again_one_retry_for_ten_calls() -> None:
    budget = Budget(Retries(share=0.1, reserve=2.0))
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(10):
        budget.earn()
    assert [budget.spend(), budget.spend()] == [True, False]


def test_a_long_time_without_failures_saves_up_no_more_than_the_reserve() -> None:
    budget = Budget(Retries(share=0.5, reserve=2.0))
    for _ in range(100):
        budget.earn()
    assert [budget.spend() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"first": -1.0}, {"share": math.nan}, {"patience": math.inf}]
)
def test_retries_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Retries(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (413, InvalidRequest),
        (429, Refused),
        (500, ServerFailed),
        (501, InvalidRequest),
        (502, ServerFailed),
        (503, Refused),
        (504, DeadlineExceeded),
        (302, ServerFailed),
    ],
)
def test_a_status_says_what_the_caller_can_do(status: int, kind: type[ClientError]) -> None:
    error = of_status(status, "words", None)
    assert type(error) is kind
    assert (str(error), error.status) == ("words", status)


# ------------------------------------------------------------------------- calls in virtual time


class FakeTransport:
    """Answers as scripted, after so many seconds; keeps when it was asked what."""

    def __init__(self, *script: tuple[float, Reply | Exception]) -> None:
        self._script = list(script)
        self.asked: list[tuple[float, Request]] = []
        self.cancelled = 0

    async def exchange(self, request: Request) -> Reply:
        self.asked.append((asyncio.get_running_loop().time(), request))
        seconds, outcome = self._script.pop(0)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.asked]

    @property
    def told(self) -> list[str | None]:
        """What time each attempt was told to have left."""
        return [request.headers.get("X-Request-Timeout-Ms") for _, request in self.asked]


def call(
    transport: FakeTransport,
    deadline: float = math.inf,
    retries: Retries = EAGER,
    chance: Callable[[], float] = lambda: 0.5,
) -> tuple[Answered | ClientError, float]:
    """What came of a call, and when."""

    async def main() -> tuple[Answered | ClientError, float]:
        outcome: Answered | ClientError
        try:
            outcome = await Attempts(transport, retries, chance).call(ASK, deadline)
        except ClientError as error:
            outcome = error
        return outcome, asyncio.get_running_loop().time()

    return run(main())


def test_who_is_refused_comes_back_when_told_and_is_answered() -> None:
    transport = FakeTransport(
        (0.25, refused(Retry_After="2")), (0.0, refused(Retry_After_Ms="250")), (1.0, GOOD)
    )
    outcome, at = call(transport)
    assert outcome == Answered(GOOD, attempts=3)
    # 0.25 + 2 + half of 1; then 0.25 and half of 2.
    assert transport.times == [0.0, 2.75, 4.0]
    assert at == 5.0
    assert transport.told == [None, None, None]


def test_a_connection_that_fails_is_tried_again_and_in_the_end_told() -> None:
    transport = FakeTransport(*[(0.0, Unreachable("refused"))] * 4)
    outcome, at = call(transport)
    assert isinstance(outcome, Unreachable)
    assert outcome.attempts == 4
    assert transport.times == [0.0, 0.5, 1.5, 3.0]
    assert at == 3.0


def test_each_attempt_is_told_the_time_that_is_left_of_the_whole_call() -> None:
    transport = FakeTransport((1.0, refused(Retry_After="1")), (0.5, GOOD))
    outcome, _ = call(transport, deadline=4.0)
    assert outcome == Answered(GOOD, attempts=2)
    assert transport.told == ["4000", "1500"]


def test_a_fraction_of_a_millisecond_is_not_told_as_none() -> None:
    transport = FakeTransport((0.0, GOOD))
    call(transport, deadline=0.0001)
    assert transport.told == ["1"]


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    transport = FakeTransport((0.5, refused(Retry_After="3")))
    outcome, at = call(transport, deadline=3.5)
    assert isinstance(outcome, Refused)
    assert (outcome.retry_after, outcome.attempts, at) == (3.0, 1, 0.5)
    assert str(outcome) == "no room"


def test_who_gets_no_answer_in_time_ends_the_attempt_and_says_so() -> None:
    transport = FakeTransport((0.0, refused()), (10.0, GOOD))
    outcome, at = call(transport, deadline=2.0)
    assert isinstance(outcome, DeadlineExceeded)
    assert isinstance(outcome, TimeoutError)
    assert (outcome.attempts, at, transport.cancelled) == (2, 2.0, 1)


def test_nothing_is_sent_after_the_deadline() -> None:
    transport = FakeTransport()
    outcome, _ = call(transport, deadline=-1.0)
    assert isinstance(outcome, DeadlineExceeded)
    assert transport.asked == []


def test_a_timeout_of_the_transport_itself_is_not_taken_for_the_deadline() -> None:
    transport = FakeTransport((0.0, TimeoutError("of somebody else")))

    async def main() -> None:
        with pytest.raises(TimeoutError, match="of somebody else"):
            await Attempts(transport, EAGER).call(ASK, 5.0)

    run(main())


def test_a_cancelled_call_ends_its_attempt_and_its_wait() -> None:
    async def main(transport: FakeTransport, after: float, sent: int) -> None:
        calling = asyncio.create_task(Attempts(transport, EAGER).call(ASK, math.inf))
        await asyncio.sleep(after)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert len(transport.asked) == sent
        assert asyncio.all_tasks() == {asyncio.current_task()}

    under_way = FakeTransport((10.0, GOOD))
    run(main(under_way, 1.0, 1))
    assert under_way.cancelled == 1
    run(main(FakeTransport((0.0, refused(Retry_After="9"))), 1.0, 1))


def test_in_an_overload_a_client_sends_hardly_more_than_it_is_asked_for() -> None:
    calls, retries = 500, Retries(attempts=4, share=0.1, reserve=10.0)
    transport = FakeTransport(*[(0.01, refused(Retry_After_Ms="100"))] * 4 * calls)

    async def main() -> list[object]:
        attempts = Attempts(transport, retries)
        asked = [attempts.call(ASK, math.inf) for _ in range(calls)]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    outcomes = run(main())
    assert all(isinstance(outcome, Refused) for outcome in outcomes)
    assert calls < len(transport.asked) <= calls + 10 + calls // 10


def test_every_call_earns_a_part_of_a_retry() -> None:
    retries = Retries(attempts=2, share=0.5, reserve=1.0)
    refusals = [(0.0, refused())] * 2
    transport = FakeTransport(*refusals, *refusals[:1], (0.0, GOOD), (0.0, refused()), (0.0, GOOD))

    async def main() -> list[int]:
        attempts = Attempts(transport, retries)
        tried = []
        for _ in range(4):
            try:
                tried.append((await attempts.call(ASK, math.inf)).attempts)
            except Refused as error:
                tried.append(-error.attempts)
        return tried

    # The reserve; half a retry, which is none; nothing needed; a whole one again.
    assert run(main()) == [-2, -1, 1, 2]


# ------------------------------------------------------------------------------- asked but once


def test_those_who_ask_at_once_share_one_question() -> None:
    asked = []

    async def find() -> int:
        asked.append(1)
        await asyncio.sleep(1.0)
        return len(asked)

    async def main() -> None:
        once: Once[int] = Once()
        assert await asyncio.gather(*[once.get("k", find, math.inf) for _ in range(5)]) == [1] * 5
        assert await once.get("k", find, math.inf) == 1
        once.forget("k")
        assert await once.get("k", find, math.inf) == 2

    run(main())


def test_a_failure_is_told_to_all_who_wait_and_not_kept() -> None:
    outcomes: list[Exception | str] = [NotFound("none"), "found"]

    async def find() -> str:
        await asyncio.sleep(1.0)
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def main() -> None:
        once: Once[str] = Once()
        both = [once.get("k", find, math.inf) for _ in range(2)]
        told = await asyncio.gather(*both, return_exceptions=True)
        assert [type(error) for error in told] == [NotFound, NotFound]
        assert await once.get("k", find, math.inf) == "found"

    run(main())


def test_who_leaves_does_not_take_the_question_along() -> None:
    async def find() -> str:
        await asyncio.sleep(2.0)
        return "found"

    async def main() -> None:
        once: Once[str] = Once()
        hurried = asyncio.create_task(once.get("k", find, 1.0))
        cancelled = asyncio.create_task(once.get("k", find, math.inf))
        patient = asyncio.create_task(once.get("k", find, math.inf))
        await asyncio.sleep(0.5)
        cancelled.cancel()
        with pytest.raises(DeadlineExceeded):
            await hurried
        once.forget("k")
        assert await patient == "found"
        assert asyncio.get_running_loop().time() == 2.0

    run(main())


def test_to_close_ends_what_is_under_way() -> None:
    async def main() -> None:
        once: Once[None] = Once()
        waiting = asyncio.create_task(once.get("k", lambda: asyncio.sleep(math.inf), math.inf))
        await asyncio.sleep(1.0)
        await once.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())
