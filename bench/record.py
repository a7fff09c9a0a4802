"""Results as JSON: the figures, with the machine and the versions they belong to."""

import datetime as dt
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final

ROOT: Final = pathlib.Path(__file__).resolve().parents[1]
"""Where the benchmarks and all that they start are run: the root of the repository."""

PACKAGES: Final = (
    *("aiohttp", "async-batcher", "batched", "numpy", "orjson", "protobuf", "tensorflow", "uvloop"),
)


def write_json(
    path: pathlib.Path, benchmark: str, settings: Mapping[str, Any], results: Mapping[str, Any]
) -> None:
    """Write one run of a benchmark."""
    record = {
        "benchmark": benchmark,
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "settings": settings,
        **results,
    }
    path.write_text(json.dumps(record, indent=2) + "\n")


def _machine() -> dict[str, Any]:
    return {
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": _commit(),
    }


def _cpu() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=ROOT,
            capture_output=True,
            check=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()
