"""One run of wrk, the closed-loop load generator in C: `apt install wrk`."""

import json
import pathlib
import shutil
import subprocess
import tempfile
from typing import Any, Final, NamedTuple

import click

MARK: Final = "figures: "

SCRIPT: Final = """\
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = BODY
function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\nMARK{"requests": %d, "us": %d, "p50": %d, "p99": %d, "max": %d, "failed": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, e.connect + e.read + e.write + e.status + e.timeout))
end
"""
"""What wrk prints for people is rounded; this is not."""


PATIENCE: Final = 30
"""Seconds after which an answer counts as failed; wrk's own 2 are short for a slow model."""


class Figures(NamedTuple):
    """What wrk saw; times in milliseconds."""

    requests: int
    rate: float
    p50: float
    p99: float
    max: float
    failed: int


def run_wrk(url: str, body: bytes, *, connections: int, seconds: int) -> Figures:
    """Keep so many connections busy from one thread. ClickException."""
    wrk = shutil.which("wrk")
    if wrk is None:
        msg = "wrk is not installed: apt install wrk"
        raise click.ClickException(msg)
    with tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder, "post.lua")
        # A string literal of JSON is one of Lua as well, as long as it is ASCII without "\\u".
        script.write_text(
            SCRIPT.replace("BODY", json.dumps(body.decode("ascii"))).replace("MARK", MARK)
        )
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={PATIENCE}s"]
        command += ["-s", str(script), url]
        ended = subprocess.run(
            command, capture_output=True, check=False, text=True, timeout=seconds + 30
        )
    _, mark, figures = ended.stdout.rpartition(MARK)
    if not mark:
        msg = f"wrk failed: {ended.stderr or ended.stdout}"
        raise click.ClickException(msg)
    return _figures(json.loads(figures))


def _figures(told: dict[str, Any]) -> Figures:
    return Figures(
        requests=told["requests"],
        rate=told["requests"] / told["us"] * 1e6,
        p50=told["p50"] / 1e3,
        p99=told["p99"] / 1e3,
        max=told["max"] / 1e3,
        failed=told["failed"],
    )
