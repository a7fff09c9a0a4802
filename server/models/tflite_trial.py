"""Loads a .tflite file in a child process first: LiteRT may die of a corrupt one. Any thread.

LiteRT verifies the structure of a file, which finds one that was cut short, but not all that is in
it: of 5,000 damaged files, four ended the process and five kept it busy for over ten seconds.
A child that starts, loads the file and runs a row of zeros takes about 0.4 seconds.
"""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

SECONDS: Final = 120.0
"""How long a child may take."""

_PROGRAM: Final = """\
import resource, sys
content, *sys.path = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from pathlib import Path
from server.models.tflite import TFLite
TFLite(Path(content).read_bytes(), 1)
"""


def try_in_a_child(path: Path, seconds: float = SECONDS) -> None:
    """ValueError if LiteRT dies of this file, or is not done with it in time.

    Whatever else goes wrong in the child goes wrong here as well, and is told then.
    """
    command = [sys.executable, "-c", _PROGRAM, str(path), *sys.path]
    try:
        ended = subprocess.run(  # noqa: S603 - this program, and the path of a model
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        msg = f"it is corrupt: LiteRT runs on a row of zeros for more than {seconds:g} seconds"
        raise ValueError(msg) from None
    if ended.returncode < 0:
        name = signal.Signals(-ended.returncode).name
        msg = f"it is corrupt: LiteRT dies of it ({name})"
        raise ValueError(msg)
