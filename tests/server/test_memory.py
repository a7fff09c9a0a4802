"""What a model held returns to the system when it has gone: seen in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from server import memory

MEGABYTES = 64

PROGRAM = f"""
import asyncio, json, sys
from pathlib import Path
from server.app import Application
from server.config import Config, ModelConfig
from server.demo import DIGITS
from server.models.tensorflow_runtime import tf

base = Path(sys.argv[1])
module = tf.Module()
module.v = tf.Variable(tf.random.normal([{MEGABYTES} * 2**18]))
row = tf.TensorSpec([None, 1], tf.float32, name="x")
function = tf.function(lambda x: {{"y": x + tf.reduce_sum(module.v)}}, input_signature=[row])
tf.saved_model.save(module, str(base / "1"), signatures=function)
del module, function

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

async def main():
    models = (ModelConfig("digits", DIGITS), ModelConfig("large", base, max_batch_size=2))
    app = Application(Config(models, poll_interval=None))
    app.open()
    await app.start()
    seen = []
    for _ in range(3):
        await app._serving.unload("large")
        seen.append(resident())
        await app._serving.load("large")
        seen.append(resident())
    await app.drain()
    app.close()
    print(json.dumps(seen))

asyncio.run(main())
"""


@pytest.mark.skipif(not memory.keep_large_blocks(), reason="the C library is not GNU's")
def test_what_an_unloaded_model_held_returns_to_the_system(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    without, loaded = seen[0::2], seen[1::2]
    for before, after in zip(without, loaded, strict=True):
        assert after - before > MEGABYTES * 0.9
    # Nothing of it adds up either.
    assert max(without) - min(without) < MEGABYTES / 4


def test_giving_back_is_allowed_at_any_time() -> None:
    memory.give_back()
    assert memory.keep_large_blocks() == memory.keep_large_blocks()
