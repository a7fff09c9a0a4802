"""TensorFlow Serving's REST API: every numbered case of the protocol note, in one table.

The id of a case begins with its number. Where this server has decided to differ, it goes on with
"ours"; where a case is of TensorFlow Serving's `--enable_batching`, this server behaves so always.
"""

from typing import Any

import pytest

from tests.server.conftest import Served
from tests.server.rest_asking import ask, assert_refused
from tests.server.rest_cases_examples import OF_EXAMPLES
from tests.server.rest_cases_models import WHO
from tests.server.rest_cases_tensors import BATCHING, BODIES, TENSORS_IN, TENSORS_OUT

CASES = [*TENSORS_IN, *BODIES, *TENSORS_OUT, *WHO, *OF_EXAMPLES, *BATCHING]


@pytest.mark.parametrize(("asked", "status", "said"), CASES)
def test_a_case_of_the_note_is_answered_as_it_says(
    served: Served, asked: tuple[str, str, str], status: int, said: Any
) -> None:
    if isinstance(said, tuple):
        assert_refused(ask(served, *asked), status, *said)
    elif isinstance(said, bytes):
        method, target, body = asked
        answer = served.ask(method, target, body.encode())
        assert (answer.status, answer.body) == (status, said)
    else:
        assert ask(served, *asked) == (status, said)


def test_no_case_of_the_note_is_missing() -> None:
    numbers = {int(str(case.id).partition("-")[0]) for case in CASES}
    assert numbers == set(range(1, 88))
