"""TensorFlow starts once, in processes of its own here, as the first model's Runtime says."""

import json
import subprocess
import sys
from typing import Any

import pytest

from server import machine
from server.runtime import threads

START = """
import gc, json, sys
from server.models.tensorflow_runtime import on, placed, tf
from server.runtime import Runtime

def refused(**settings):
    try:
        with on(Runtime(**settings)):
            return None
    except ValueError as error:
        return str(error)

def held():
    told = tf.config.threading
    return told.get_intra_op_parallelism_threads(), told.get_inter_op_parallelism_threads()
"""

AS_ASKED = f"""{START}
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
with tf.Graph().as_default(), on(Runtime(intra_op_threads=3)):
    seen = {{"threads": held(), "collectable": len(gc.get_objects())}}
seen["the same"] = refused(intra_op_threads=3)
seen["not said"] = refused()
seen["other"] = refused(intra_op_threads=4)
seen["no device"] = refused(device="gpu:1")

def where(device):
    runtime = Runtime(device=device)
    with on(runtime):
        variable = tf.Variable(1.0)
        function = tf.function(lambda x: x + variable)
        signature = [tf.TensorSpec([], tf.float32)]
        function = function.get_concrete_function(*signature)
        loaded = variable.device
    answer = placed(lambda x: function(x), runtime)(tf.constant(1.0))
    return [loaded[-5:], answer.backing_device[-5:]]

seen["placed"] = [where(device) for device in ("", "cpu", "/CPU:1")]
print(json.dumps(seen))
"""

STARTED_BEFORE = f"""{START}
tf.constant(1.0)
print(json.dumps([refused(), held(), refused(inter_op_threads=7)]))
"""


@pytest.fixture(scope="module")
def seen() -> list[Any]:
    """What two processes saw: one where a model comes first, one that has used TensorFlow before.

    That nothing of its start shows, a test of the command line says.
    """
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for program in (AS_ASKED, STARTED_BEFORE)
    ]
    ended = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], ended
    return [json.loads(printed) for printed, _ in ended]


def test_threads_are_as_asked_for_or_sized_to_the_machine(seen: Any) -> None:
    assert seen[0]["threads"] == [3, threads(None, machine.cpus())]


def test_what_has_started_may_be_asked_for_again(seen: Any) -> None:
    assert (seen[0]["the same"], seen[0]["not said"]) == (None, None)


def test_what_can_no_more_be_changed_is_refused(seen: Any) -> None:
    refusal = "cannot become 4: TensorFlow has started in this process with 3"
    assert seen[0]["other"] == f"intra_op_threads {refusal}"


def test_where_others_have_started_it_only_what_was_asked_for_is_refused(seen: Any) -> None:
    refusal = "cannot become 7: TensorFlow has started in this process with its own choice"
    assert seen[1] == [None, [0, 0], f"inter_op_threads {refusal}"]


def test_a_device_that_does_not_exist_is_refused_and_those_named_that_do(seen: Any) -> None:
    assert seen[0]["no device"] == "there is no device 'gpu:1' here; there are CPU:0, CPU:1"


def test_a_model_runs_on_the_device_that_it_was_loaded_for(seen: Any) -> None:
    assert seen[0]["placed"] == [["CPU:0"] * 2, ["CPU:0"] * 2, ["CPU:1"] * 2]


def test_the_collector_never_looks_at_tensorflow_again(seen: Any) -> None:
    assert seen[0]["collectable"] < 1000
