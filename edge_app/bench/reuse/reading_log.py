"""The numbers that a model with digits reads from a clip: whether one is lost with reuse, or comes later.

Not here: how digits become a number (analytics/reading.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_app.config import rules as rule_blocks
from edge_app.config.rules import RuleConfig
from edge_app.frame import Frame
from edge_app.model.manifest import Manifest
from edge_app.rules import Rule as RunningRule


@dataclass(frozen=True, slots=True)
class ReadingComparison:
    """readings: of full inference. lost: those that never came. late_frames: the longest that one came later."""

    readings: int
    lost: int
    late_frames: int


class ReadingLog:
    """The numbers read so far: (text, the frame number in which it was told), in their order."""

    def __init__(self, manifest: Manifest, head: str, least_score: float) -> None:
        labels = {name: spec.labels for name, spec in manifest.heads.items()}
        panels = [name for name, spec in manifest.heads.items() if spec.family == "segment"]
        options = {"heads": (head, *panels[:1]), "min_score": least_score}
        self._rule: RunningRule = rule_blocks.build(RuleConfig("readings", "reading", options=options), labels, None)
        self._frames = 0
        self.told: list[tuple[str, int]] = []

    def note(self, frame: Frame) -> None:
        """Look at a frame with its heads filled."""
        for event in self._rule.step(frame):
            if event.type == "new":
                self.told.append((str(event.value["text"]), self._frames))
        self._frames += 1


def compare_readings(full: Sequence[tuple[str, int]], other: Sequence[tuple[str, int]]) -> ReadingComparison:
    """Find each reading of `full`, in order, among those of `other`."""
    lost = late = position = 0
    for text, frame in full:
        found = next((i for i in range(position, len(other)) if other[i][0] == text), None)
        if found is None:
            lost += 1
        else:
            late = max(late, other[found][1] - frame)
            position = found + 1
    return ReadingComparison(len(full), lost, late)
