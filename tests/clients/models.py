"""Write the models that clients ask for beside the bundled one, each in a folder of its name."""

import sys
from pathlib import Path

from tests.server import saved_models

if __name__ == "__main__":
    saved_models.words(Path(sys.argv[1]) / "words")
