"""Reads a server's metrics from standard input, and says what its answers were by protocol."""

import argparse
import re
import sys
from collections import Counter

SAMPLE = re.compile(
    r'batcher_requests_total\{.*protocol="(?P<protocol>[^"]*)",status="(?P<status>[0-9]+)"\}'
    r" (?P<count>\S+)"
)
WRONG = ("500", "502", "503")
"""No request that schemathesis can make should ever be answered so."""

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--least", type=int, default=0, help="how many requests there must have been")
least = parser.parse_args().least

answers: Counter[tuple[str, str]] = Counter()
for line in sys.stdin:
    if match := SAMPLE.match(line):
        answers[match["protocol"], match["status"]] += int(float(match["count"]))

for (protocol, status), count in sorted(answers.items()):
    print(f"{protocol:16} {status} {count:6}")
wrong = sum(count for (_, status), count in answers.items() if status in WRONG)
print(f"{answers.total()} requests, {wrong} failures of the server")
if wrong or answers.total() < least:
    sys.exit(f"expected at least {least} requests, and no failures")
