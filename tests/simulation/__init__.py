"""Seeded histories of whole Batchers in virtual time, compared with books kept beside them.

    python -m tests.simulation --histories 10000     # seeds 0 to 9999
    python -m tests.simulation --seed 123            # that one again, with all that happened

A history is a function of one number. Its books (`books.Station`) know only what passes the
Batcher's public doors: what callers asked and were told, what the executor was given and gave
back, what `on_batch` said. From that they know at any moment who waits, who runs and how each
request ended. `oracle` works out from the same what has to happen. The `invariants` compare the
Batcher with both; a new one is a function in one of their lists. `features` says what is on.
"""
