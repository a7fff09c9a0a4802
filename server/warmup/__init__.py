"""Runs a fresh model first: compiles, and checks that it may be batched. Any thread.

Every signature runs at every batch size in use, in all of its buckets: the lengths that inputs are
padded to, and the shapes of its records (`warmup.records`). Without records the input is made up
(`warmup.inputs`).

Shapes alone do not tell whether rows of several requests may run together: a row must give the same
alone and in company. So two rows that differ run together and each of them alone; if one gives
something else, requests run alone from then on. Batch size changes the last bits of a float, which
is not a difference (`warmup.independence`).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from batcher.lengths import VariableLength
from server.errors import StartupError
from server.model import Model
from server.signature import Signature, Tensors, shape_text
from server.warmup.independence import UNSEEN, first_line, why_rows_influence
from server.warmup.inputs import Pair, tries
from server.warmup.rows import (
    ROWS,
    batches,
    fitted,
    grouped,
    lengths_of,
    of_lengths,
    planned,
    repeated,
    without,
)

MOST_RUNS: Final = 256
"""Batches of one signature: sizes times buckets. More of them are not run, and a note says so."""

TELL_EVERY: Final = 10.0
"""Seconds without a word."""


HINT: Final = (
    "records in assets.extra/tf_serving_warmup_requests of its folder would be run instead"
)


class Record(NamedTuple):
    """A request to warm up with: what it holds, and what errors call it."""

    signature: str
    inputs: Tensors
    place: str


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What came of it: the signatures, now known to be batchable or not, and notes for the log."""

    signatures: Mapping[str, Signature]
    notes: tuple[str, ...]
    runs: int = 0


def warm_up(
    model: Model,
    sizes: Sequence[int],
    *,
    lengths: VariableLength | None = None,
    records: Sequence[Record] = (),
    examples: Sequence[Pair] = (),
    tell: Callable[[str], object] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> WarmUp:
    """Run every signature at the batch sizes in use, which ascend. StartupError.

    A signature that has records runs each of them, and fails if the model refuses one. `examples`
    are pairs of serialized ones to make up input of. `tell` gets lines for the log meanwhile.
    """
    signatures: dict[str, Signature] = {}
    notes: list[str] = []
    runs = _Runs(model, tell, clock)
    for name, signature in model.signatures.items():
        warming = _Warming(runs, signature, sizes, lengths, examples)
        own = [record for record in records if record.signature == name]
        why = warming.with_records(own) if own else warming.with_made_up()
        notes += warming.notes
        signatures[name] = signature.running_alone(why)
        if why:
            notes.append(f"requests for signature {name!r} run alone: {why}")
    return WarmUp(signatures, tuple(notes), runs.count)


def batch_sizes(max_batch_size: int) -> Iterator[int]:
    """The powers of two below the cap, and the cap."""
    size = 1
    while size < max_batch_size:
        yield size
        size *= 2
    yield max_batch_size


class _Runs:
    """The model; counts its runs, and lets it be known that they take long."""

    def __init__(
        self, model: Model, tell: Callable[[str], object], clock: Callable[[], float]
    ) -> None:
        self.count = 0
        self.left = 0
        self._model = model
        self._tell = tell
        self._clock = clock
        self._due = clock() + TELL_EVERY

    def run(self, signature: str, inputs: Tensors) -> Tensors:
        outputs = self._model.run(signature, inputs)
        self.count += 1
        now = self._clock()
        if now >= self._due:
            self._due = now + TELL_EVERY
            left = f", {self.left} to go" if self.left else ""
            self._tell(f"warming up signature {signature!r}: {self.count} runs so far{left}")
        return outputs


class _Taken(NamedTuple):
    """What the model has run: an item as it came, and padded to a boundary if there are any."""

    item: Tensors
    rows: Tensors


class _Warming:
    """One signature that is being warmed up. Its methods tell why it must run alone, or ""."""

    def __init__(
        self,
        runs: _Runs,
        signature: Signature,
        sizes: Sequence[int],
        lengths: VariableLength | None,
        examples: Sequence[Pair],
    ) -> None:
        self.notes: list[str] = []
        self._runs = runs
        self._signature = signature
        self._sizes = sizes
        self._examples = examples
        self._lengths = lengths_of(signature, lengths)

    def with_records(self, records: Sequence[Record]) -> str:
        """Run the records, then batches of their rows. StartupError."""
        taken = [self._accepted(record) for record in records]
        if self._signature.alone:
            return self._signature.alone
        buckets = grouped([rows for _, rows in taken], max(self._sizes[-1], ROWS))
        return self._run_buckets([*buckets, *self._other_lengths(taken)])

    def with_made_up(self) -> str:
        """Run made-up input until the model takes one, then batches of it."""
        try:
            taken = self._first_accepted()
        except Exception as error:  # noqa: BLE001 - made-up input may be refused in any way
            name = self._signature.name
            self.notes.append(
                f"signature {name!r} refused the input made up to warm it up: {first_line(error)};"
                f" {HINT}"
            )
            return self._signature.alone or UNSEEN
        if self._signature.alone:
            return self._signature.alone
        return self._run_buckets([taken.rows, *self._other_lengths([taken])])

    def _run(self, inputs: Tensors) -> Tensors:
        return self._runs.run(self._signature.name, inputs)

    # ------------------------------------------------------------------------- what to run

    def _accepted(self, record: Record) -> _Taken:
        """A record that the model has run, in the batches that serve it."""
        try:
            item = fitted(self._signature, self._lengths, record.inputs)
            rows = item if self._lengths is None else self._lengths.pad(item)[0]
            for batch in [rows] if self._signature.alone else batches(rows, self._sizes):
                self._run(batch)
        except Exception as error:
            name, told = self._signature.name, first_line(error)
            msg = f"{record.place}: signature {name!r} refused it: {told}"
            raise StartupError(msg) from error
        return _Taken(item, rows)

    def _first_accepted(self) -> _Taken:
        """Made-up input of two rows that the model has run. Raises what the first one did."""
        refused: Exception | None = None
        for made_up in self._made_up():
            try:
                self._run(made_up.rows)
            except Exception as error:  # noqa: BLE001 - made-up input may be refused in any way
                refused = refused or error
            else:
                return made_up
        assert refused is not None
        raise refused

    def _made_up(self) -> Iterator[_Taken]:
        lengths = self._lengths
        if lengths is None:
            yield from (_Taken(r, r) for r in tries(self._signature, {}, self._examples))
            return
        signature = without(self._signature, lengths.mask)
        for boundary in dict.fromkeys([lengths.boundaries[0], lengths.boundaries[-1]]):
            known = {name: (axis, boundary) for name, (axis, _) in lengths.inputs.items()}
            for item in tries(signature, known, self._examples):
                yield _Taken(item, of_lengths(item, lengths, boundary))

    def _other_lengths(self, taken: Sequence[_Taken]) -> Iterator[Tensors]:
        """Rows at the boundaries that none of these are padded to, of the values of one."""
        lengths = self._lengths
        if lengths is None:
            return
        name, (axis, _) = next(iter(lengths.inputs.items()))
        there = {rows[name].shape[axis] for _, rows in taken}
        item = next((item for item, _ in taken if item[name].shape[axis]), None)
        for boundary in lengths.boundaries:
            if item is not None and boundary not in there:
                yield of_lengths(item, lengths, boundary)

    # ------------------------------------------------------------------------- running it

    def _run_buckets(self, buckets: Sequence[Tensors]) -> str:
        if self._sizes[-1] > 1:
            why = why_rows_influence(self._run, self._signature, buckets, self._examples)
            if why:
                return why
        name = self._signature.name
        plan = planned(len(buckets), self._sizes)
        if len(plan) > MOST_RUNS:
            self.notes.append(
                f"signature {name!r} has {len(plan)} batches to warm up, {len(self._sizes)} sizes"
                f" of {len(buckets)} shapes: only {MOST_RUNS} were run, the largest first"
            )
        refused: set[int] = set()
        for place, (bucket, size) in enumerate(plan[:MOST_RUNS], start=1):
            self._runs.left = len(plan[:MOST_RUNS]) - place
            told = "" if bucket in refused else self._refusal(buckets[bucket], size)
            if told:
                refused.add(bucket)
                if size > 1 and not self._refusal(buckets[bucket], 1):
                    return f"it refused {size} rows together: {told}"
                self.notes.append(f"signature {name!r} refused {_shapes(buckets[bucket])}: {told}")
        return ""

    def _refusal(self, rows: Tensors, size: int) -> str:
        """Run a batch of these rows; what the model says if it refuses it, "" if not."""
        batch = repeated(rows, size)
        try:
            self._run(batch)
        except MemoryError:
            # Whoever finds none is served in smaller batches.
            self.notes.append(
                f"signature {self._signature.name!r} has no memory for {_shapes(batch)}"
            )
        except Exception as error:  # noqa: BLE001 - nobody asked for this batch
            return first_line(error)
        return ""


def _shapes(tensors: Tensors) -> str:
    return ", ".join(f"{name!r} {shape_text(array.shape)}" for name, array in tensors.items())
