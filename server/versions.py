"""Which of the versions in a base folder are to be served, and what to do about it. Pure."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Latest:
    """The `count` highest versions."""

    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            msg = f"the number of latest versions must be at least 1, not {self.count}"
            raise ValueError(msg)

    def choose(self, found: Iterable[int]) -> frozenset[int]:
        """Those of the versions found that are to be served."""
        return frozenset(sorted(found)[-self.count :])

    def __str__(self) -> str:
        return f"latest {self.count}"


@dataclass(frozen=True, slots=True)
class All:
    """Every version."""

    def choose(self, found: Iterable[int]) -> frozenset[int]:
        """Those of the versions found that are to be served."""
        return frozenset(found)

    def __str__(self) -> str:
        return "all"


@dataclass(frozen=True, slots=True)
class Specific:
    """These versions and no others."""

    versions: frozenset[int]

    def __post_init__(self) -> None:
        if not self.versions or min(self.versions) < 0:
            told = ", ".join(map(str, sorted(self.versions))) or "none"
            msg = f"specific versions must be numbers from 0 on, and at least one, not {told}"
            raise ValueError(msg)

    def choose(self, found: Iterable[int]) -> frozenset[int]:
        """Those of the versions found that are to be served."""
        return self.versions.intersection(found)

    def __str__(self) -> str:
        return f"specific {', '.join(map(str, sorted(self.versions)))}"


Policy: TypeAlias = Latest | All | Specific


def wanted(
    policy: Policy,
    labelled: Iterable[int],
    found: Mapping[int, Hashable],
    failed: Mapping[int, Hashable],
) -> frozenset[int]:
    """The versions to serve, of those found, each with its mark: by policy, or for their labels.

    What failed to load is out until its mark changes: so a policy falls back to what it would have
    chosen before that version came.
    """
    usable = {v for v, mark in found.items() if v not in failed or failed[v] != mark}
    return policy.choose(usable) | usable.intersection(labelled)


def surplus(wanted: frozenset[int], serving: Iterable[int]) -> frozenset[int]:
    """The versions that serve and need not any more.

    None before all that are wanted serve, and none if nothing is wanted: whatever became of the
    folders, the last version goes only when it is told to.
    """
    serves = frozenset(serving)
    return serves - wanted if wanted and wanted <= serves else frozenset()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model of a new configuration that an administrator's request brings.

    `base_path` of "" is the one that was configured.
    """

    name: str
    base_path: str
    policy: Policy
    labels: Mapping[str, int]
