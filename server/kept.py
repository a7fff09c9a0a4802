"""A configured model, what is known of its versions, and which of them come or go. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from server.config import ModelConfig
from server.folders import Mark, Seen
from server.versions import Latest, Specific, surplus, wanted


class Loaded(NamedTuple):
    """By what configuration a version that serves was loaded, and the mark of its files."""

    model: ModelConfig
    mark: Mark


@dataclass(slots=True, eq=False)
class Kept:
    """A configured model: its configuration now, and what is known of its versions by number.

    `loaded` are those that serve, `failed` the marks of those that did not load, `coming` of those
    that were new at the last look: they are loaded once they have stayed the same until the next.
    `unloaded` says that somebody asked for that, and only asking brings it back; `requested` that
    the model came by a request. `trouble` is the last that was logged.
    """

    model: ModelConfig
    loaded: dict[int, Loaded] = field(default_factory=dict)
    failed: dict[int, Mark | None] = field(default_factory=dict)
    coming: dict[int, Mark] = field(default_factory=dict)
    unloaded: bool = False
    requested: bool = False
    trouble: str = ""

    def wanted(self, seen: Mapping[int, Seen]) -> frozenset[int]:
        """Those to serve, of the versions seen: by policy or label, and not known to fail."""
        marks = {version: each.mark for version, each in seen.items()}
        return wanted(self.model.policy, self.model.labels.values(), marks, self.failed)

    def absent(self, seen: Mapping[int, Seen]) -> frozenset[int]:
        """Those asked for by their numbers that are neither there nor serve."""
        policy = self.model.policy
        asked = policy.versions if isinstance(policy, Specific) else frozenset[int]()
        return asked - seen.keys() - self.loaded.keys()

    def surplus(self, seen: Mapping[int, Seen]) -> frozenset[int]:
        """Those to let go, now that others serve."""
        return surplus(self.wanted(seen), self.loaded)

    def is_behind(self, seen: Mapping[int, Seen]) -> bool:
        """Whether there is anything to load or to let go."""
        return not self.wanted(seen) <= self.loaded.keys() or bool(self.surplus(seen))

    def settled(self, seen: Mapping[int, Seen]) -> Mapping[int, Seen]:
        """Those of the versions seen that serve, or were there just so at the last look as well.

        Versions that serve come without a mark.
        """
        before = self.coming
        self.coming = {v: each.mark for v, each in seen.items() if each.mark is not None}
        return {
            version: each
            for version, each in seen.items()
            if each.mark is None or before.get(version) == each.mark
        }

    def stale(self, seen: Mapping[int, Seen]) -> set[int]:
        """Those that serve, but with other files or by other settings than now."""
        return {
            version
            for version, loaded in self.loaded.items()
            if version in seen
            and (
                loaded.mark != seen[version].mark
                or _settings(loaded.model) != _settings(self.model)
            )
        }

    def load_failed(self, version: int, mark: Mark | None) -> None:
        """A version did not load. One that serves goes on, whatever became of its files."""
        if version not in self.loaded:
            self.failed[version] = mark


def _settings(model: ModelConfig) -> ModelConfig:
    """What counts when a version is loaded: which of them are, and their labels, may change."""
    return replace(model, policy=Latest(), labels={})
