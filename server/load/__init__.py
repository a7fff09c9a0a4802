"""Load on a server: at a rate that does not depend on its answers (an open loop), or by clients.

    plan = Offered(rate=500.0, seconds=10.0)
    result = uvloop.run(offer(("127.0.0.1", 8501), request, plan))
    print(result.achieved, result.percentile(99.0))

A closed loop sends the next request when the last one is answered: a server that stalls gets less
to do meanwhile, and the percentiles hardly show it. Here each request has a time at which it is
due, drawn before the first one is sent, and its latency counts from then: whatever holds it up
afterwards, the server, a missing connection or this program, is part of it, and none is left out.
`keep_busy` is the closed loop: it tells how much a server answers at most.
"""

from server.load.arrivals import Clients, Kind, Offered, arrival_times
from server.load.clients import keep_busy
from server.load.ledger import Course
from server.load.offering import offer
from server.load.result import Result
from server.load.sweep import Stretch, sweep

__all__ = [
    "Clients",
    "Course",
    "Kind",
    "Offered",
    "Result",
    "Stretch",
    "arrival_times",
    "keep_busy",
    "offer",
    "sweep",
]
