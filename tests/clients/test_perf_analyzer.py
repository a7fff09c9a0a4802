"""NVIDIA's perf_analyzer finds its way around this server and measures it."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.served import served_to

SERVED = served_to("perf_analyzer")

import nvidia.cuda_runtime

PROGRAM = Path(sys.executable).with_name("perf_analyzer")
LIBRARIES = Path(nvidia.cuda_runtime.__path__[0]) / "lib"
REQUESTS = 200


def measure(report: Path, *arguments: str) -> tuple[str, dict[str, str]]:
    """Run it with 4 requests at a time until `REQUESTS` are answered: its output and its report."""
    fixed = ["--concurrency-range", "4", "--request-count", str(REQUESTS), "-f", str(report)]
    ended = subprocess.run(
        [PROGRAM, *fixed, *arguments],
        env=os.environ | {"LD_LIBRARY_PATH": str(LIBRARIES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (row,) = csv.DictReader(report.read_text().splitlines())
    return ended.stdout, row


@pytest.mark.parametrize(
    ("protocol", "tensors"), [("http", "binary"), ("http", "json"), ("grpc", "binary")]
)
def test_it_measures_and_reads_the_statistics(protocol: str, tensors: str, tmp_path: Path) -> None:
    address = SERVED.http if protocol == "http" else SERVED.grpc
    formats = ["--input-tensor-format", tensors, "--output-tensor-format", tensors]
    if protocol == "grpc":
        formats = []
    printed, row = measure(
        tmp_path / "report.csv", "-m", "digits", "-b", "4", "-u", address, "-i", protocol, *formats
    )
    assert "Batch size: 4" in printed
    assert "Throughput:" in printed
    assert f"Request count: {REQUESTS}" in printed
    assert "Inference count: " in printed
    assert float(row["Inferences/Second"]) > 0
    assert float(row["Server Compute Infer"]) > 0


@pytest.mark.parametrize("model", ["digits", "words"])
def test_it_takes_the_server_for_tensorflow_serving(model: str, tmp_path: Path) -> None:
    printed, row = measure(
        tmp_path / "report.csv",
        *("--service-kind", "tfserving", "-i", "grpc", "-u", SERVED.grpc),
        *("-m", model, "-b", "4"),
    )
    assert f"Request count: {REQUESTS}" in printed
    assert float(row["Inferences/Second"]) > 0
