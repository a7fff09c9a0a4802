"""The guide to all options is what the settings make of it."""

from server.configuration.settings import GLOBAL
from tests.options_guide import GUIDE, page


def test_it_is_up_to_date() -> None:
    assert GUIDE.read_text() == page(), "run: python -m tests.options_guide >server/docs/options.md"


def test_it_has_every_setting_and_what_tensorflow_serving_calls_it() -> None:
    lines = page().splitlines()
    for setting in GLOBAL.values():
        (line,) = [line for line in lines if f"<br>`{setting.variable}`<br>" in line]
        assert setting.option in line
        assert setting.help in line
    (threads,) = [line for line in lines if "<br>`intra_op_threads`" in line]
    assert "`tensorflow_intra_op_parallelism`" in threads
    (timeout,) = [line for line in lines if "<br>`batch_timeout_ms`" in line]
    assert "`batch_timeout_micros` in `batching_parameters_file`" in timeout
