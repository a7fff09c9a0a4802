"""The command: many histories, or one again."""

import argparse
import sys
import time
from collections.abc import Sequence

import tests.simulation
from tests.simulation.history import simulate


def replay(seed: int) -> bool:
    log: list[str] = []
    violations = simulate(seed, log=log).violations
    lines = [f"violated: {name} {told}" for name, told in violations] or ["no violation"]
    sys.stdout.write("\n".join([*log, *lines, ""]))
    return not violations


def run_many(first: int, histories: int) -> bool:
    started, requests, violated = time.perf_counter(), 0, 0
    for number in range(histories):
        history = simulate(first + number)
        requests += len(history.items)
        for name, told in history.violations[:1]:
            violated += 1
            sys.stdout.write(
                f"{name} {told}\n  python -m tests.simulation --seed {first + number}\n"
            )
        if sys.stdout.isatty() and number % 100 == 0:
            pace = (number + 1) / (time.perf_counter() - started)
            sys.stdout.write(f"\r{number / histories:4.0%}, {pace:.0f} histories/s ")
            sys.stdout.flush()
    end = "\r" if sys.stdout.isatty() else ""
    sys.stdout.write(f"{end}{histories} histories, {requests} requests, {violated} violations\n")
    return not violated


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=tests.simulation.__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args(arguments)
    seed: int | None = options.seed
    is_fine = run_many(options.first, options.histories) if seed is None else replay(seed)
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
