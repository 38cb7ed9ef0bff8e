"""Numbers that a model with a `digits` head reads from a clip: whether reuse loses one, or reads it later.

Not here: how digits become a number (edge_app/rules/reading.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_app.config import rules as rule_config
from edge_app.config.rules import RuleConfig
from edge_app.frame import Frame
from edge_app.model.manifest import Manifest
from edge_app.rules import Rule


@dataclass(frozen=True, slots=True)
class ReadingComparison:
    """readings: of full inference; lost: those the other method never read; late_frames: the longest delay."""

    readings: int
    lost: int
    late_frames: int


class ReadingLog:
    """The readings of a clip. entries: (text, index of the frame in which it was reported), in order."""

    def __init__(self, manifest: Manifest, head: str, min_score: float) -> None:
        labels = {name: spec.labels for name, spec in manifest.heads.items()}
        panels = [name for name, spec in manifest.heads.items() if spec.family == "segment"]
        options = {"heads": (head, *panels[:1]), "min_score": min_score}
        self._rule: Rule = rule_config.build(RuleConfig("readings", "reading", options=options), labels, None)
        self._frames = 0
        self.entries: list[tuple[str, int]] = []

    def append(self, frame: Frame) -> None:
        """Run the reading rule on the next frame, after inference, and record a new reading."""
        for event in self._rule.step(frame):
            if event.type == "new":
                self.entries.append((str(event.value["text"]), self._frames))
        self._frames += 1


def compare_readings(full: Sequence[tuple[str, int]], other: Sequence[tuple[str, int]]) -> ReadingComparison:
    """Match each reading of `full`, in order, to the next reading of `other` with the same text."""
    lost = late = position = 0
    for text, frame in full:
        match = next((i for i in range(position, len(other)) if other[i][0] == text), None)
        if match is None:
            lost += 1
        else:
            late = max(late, other[match][1] - frame)
            position = match + 1
    return ReadingComparison(len(full), lost, late)
