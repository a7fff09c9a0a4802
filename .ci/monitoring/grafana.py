"""Reads the dashboard as Grafana's own kit does, and says what the kit does not know of it.

python .ci/monitoring/grafana.py FILE
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def main(file: str) -> None:
    """Exit with 1 if anything of the file is lost on the way there and back."""
    given = json.loads(Path(file).read_text())
    register_default_plugins()
    returned = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(given)))
    lost = list(unknown(given, returned, file))
    print("\n".join(lost) or f"{file}: all {len(given['panels'])} panels are as Grafana knows them")
    sys.exit(bool(lost))


def unknown(given: Any, returned: Any, where: str) -> Iterator[str]:
    """The places where something was left out or changed."""
    if isinstance(given, dict) and isinstance(returned, dict):
        for key, value in given.items():
            yield from unknown(value, returned.get(key), f"{where}/{key}")
    elif isinstance(given, list) and isinstance(returned, list) and len(given) == len(returned):
        for place, (one, other) in enumerate(zip(given, returned, strict=True)):
            yield from unknown(one, other, f"{where}/{place}")
    elif given != returned:
        yield f"{where}: {json.dumps(given)} became {json.dumps(returned)}"


main(sys.argv[1])
