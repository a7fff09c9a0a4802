"""Looks at the models that there are, for an event: states, queues, what is learned. Event loop."""

from server.endpoint import Endpoint
from server.live.digits import reads_digits
from server.live.snapshot import Serves, Shown, expected
from server.repository import Repository


def survey(repository: Repository) -> list[Shown]:
    """All versions of all models, by name, the newest first."""
    serving = {(e.served.name, e.served.version): e for e in repository.endpoints()}
    states = sorted(repository.all_states(), key=lambda told: (told[0], -told[1].version))
    return [
        Shown(name, state, _serves(serving.get((name, state.version)))) for name, state in states
    ]


def _serves(endpoint: Endpoint | None) -> Serves | None:
    if endpoint is None:
        return None
    stats = endpoint.batcher.stats()
    times = expected(endpoint.batcher.expected_run_time, stats.max_batch_size)
    return Serves(stats, times, draws=reads_digits(endpoint.served) is not None)
