"""The heads that have to run, and their order. Not here: how often a head runs (inference/stage.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HeadPolicy:
    """on_change: the head does not run while nothing changes. priority: if time is short, lower ones wait first."""

    on_change: bool = True
    priority: int = 0


class HeadSchedule:
    """The heads that run on the whole image. outdated: the heads that have not run on the network's current outputs.

    every_frame: the heads that run although nothing changed. by_priority: all heads, highest priority first.
    """

    def __init__(self, policies: Mapping[str, HeadPolicy]) -> None:
        self.all = frozenset(policies)
        self.every_frame = frozenset(name for name, policy in policies.items() if not policy.on_change)
        self.by_priority = sorted(policies, key=lambda name: -policies[name].priority)
        self.outdated = self.all

    def mark_all_outdated(self) -> None:
        """The network's outputs are new."""
        self.outdated = self.all

    def mark_outdated(self, heads: Iterable[str]) -> None:
        """These heads have no result."""
        self.outdated |= frozenset(heads)

    def mark_run(self, heads: Iterable[str]) -> None:
        """These heads run on the current outputs."""
        self.outdated = self.outdated.difference(heads)
