"""One run of wrk, the closed-loop load generator in C: `apt install wrk`."""

import json
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import click

MARK: Final = "figures: "

SCRIPT: Final = """\
wrk.method = "POST"
wrk.headers = HEADERS
wrk.body = BODY
function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\nMARK{"requests": %d, "us": %d, "p50": %d, "p99": %d, "max": %d, "bad": %d, "lost": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, e.status, e.connect + e.read + e.write + e.timeout))
end
"""
"""What wrk prints for people is rounded; this is not."""

JSON_TYPE: Final = {"Content-Type": "application/json"}

PATIENCE: Final = 30
"""Seconds after which an answer counts as failed; wrk's own 2 are short for a slow model."""


class Figures(NamedTuple):
    """What wrk saw; times in milliseconds. `rate` is of good answers, `requests` of all."""

    requests: int
    rate: float
    p50: float
    p99: float
    max: float
    failed: int


def find_wrk() -> str:
    """The program. ClickException without it."""
    wrk = shutil.which("wrk")
    if wrk is None:
        msg = "wrk is not installed: apt install wrk"
        raise click.ClickException(msg)
    return wrk


def run_wrk(
    url: str,
    body: bytes,
    *,
    connections: int,
    seconds: int,
    headers: Mapping[str, str] = JSON_TYPE,
) -> Figures:
    """Keep so many connections busy from one thread. ClickException."""
    wrk = find_wrk()
    with tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder, "post.lua")
        script.write_text(_script(body, headers))
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


def _script(body: bytes, headers: Mapping[str, str]) -> str:
    fields = (f"[{literal(k.encode())}] = {literal(v.encode())}" for k, v in headers.items())
    script = SCRIPT.replace("MARK", MARK).replace("HEADERS", f"{{{', '.join(fields)}}}")
    # Last, because a body may contain any of the other words.
    return script.replace("BODY", literal(body))


def literal(text: bytes) -> str:
    """Bytes as a string of Lua: what is not plain ASCII becomes its number. Pure."""
    plain = (chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\{c:03d}" for c in text)
    return f'"{"".join(plain)}"'


def _figures(told: dict[str, Any]) -> Figures:
    return Figures(
        requests=told["requests"],
        rate=(told["requests"] - told["bad"]) / told["us"] * 1e6,
        p50=told["p50"] / 1e3,
        p99=told["p99"] / 1e3,
        max=told["max"] / 1e3,
        failed=told["bad"] + told["lost"],
    )
