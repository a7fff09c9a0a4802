"""Spans of OpenTelemetry: one a request with its stages below it, one a batch, linked. Event loop.

    front.py      has each request that is sampled followed on its way          [event loop]
    recorder.py   whether it is sampled; its record; the batches it ran in      [event loop]
    sampling.py   how many are                                                  [pure]
    tree.py       a record as spans                                             [exporter's thread]
    exporting.py  from the queue to the exporter, within a share of a core      [exporter's thread]

Only here OpenTelemetry is imported, and only if it is asked for.
"""
