"""A head that runs on the whole image: its decoder, when it is due, and its last result.

Not here: running the heads (stage.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_app import registry
from edge_app.backends import TensorSpec
from edge_app.config import HeadConfig
from edge_app.frame import HeadOutput, Reused
from edge_app.heads import Head
from edge_app.inference.filters import DetectionFilter
from edge_app.inference.score_check import ScoreCheck
from edge_app.model.manifest import ManifestHead
from edge_app.reuse.head_schedule import HeadPolicy


@dataclass(slots=True)
class Branch:
    """One head. outputs: the tensors that it decodes.

    threshold: its least score, 0 if it has none. last: its last result; last_ns: the latest frame that it is valid for;
    since_ns: when its oldest part was computed.
    """

    spec: ManifestHead
    outputs: tuple[TensorSpec, ...]
    head: Head
    every_ns: int
    enabled: bool
    clock: HeadPolicy
    filter: DetectionFilter
    scores: ScoreCheck
    threshold: float = 0.0
    last: HeadOutput | None = None
    last_ns: int = 0
    reused: Reused = ""
    since_ns: int = 0

    @classmethod
    def of(cls, spec: ManifestHead, config: HeadConfig, outputs: tuple[TensorSpec, ...], scores: ScoreCheck) -> Branch:
        """Construct the head's plug-in. Raises EdgeError as the plug-in does."""
        head: Head = registry.build("heads", spec.family, spec.spec(outputs), **config.options)
        clock = HeadPolicy(config.common.on_change, config.common.priority)
        every_ns, filter_ = round(config.common.every_s * 1e9), DetectionFilter(config, spec.labels)
        return cls(
            spec, outputs, head, every_ns, config.common.enabled, clock, filter_, scores, _threshold(spec, config)
        )

    def output(self, now_ns: int) -> HeadOutput:
        """The result for a frame, with its age."""
        assert self.last is not None
        if self.since_ns == now_ns:
            return self.last
        reused: Reused = self.reused if self.last_ns == now_ns else "held"
        return HeadOutput(self.last.result, now_ns - self.since_ns, reused)

    def due(self, now_ns: int) -> bool:
        return self.enabled and (self.last is None or now_ns - self.last_ns >= self.every_ns or now_ns < self.last_ns)

    def reconfigure(self, config: HeadConfig) -> None:
        """Change the score and the filters from the next frame on."""
        self.head = registry.build("heads", self.spec.family, self.spec.spec(self.outputs), **config.options)
        self.filter, self.last = DetectionFilter(config, self.spec.labels), None
        self.threshold = _threshold(self.spec, config)

    def set_enabled(self, enabled: bool) -> None:
        """Enable or disable the head from the next frame on."""
        self.enabled = enabled
        self.scores.reset()
        if not enabled:
            self.last = None


def _threshold(spec: ManifestHead, config: HeadConfig) -> float:
    defaults = {option.name: option.default for option in registry.options("heads", spec.family)}
    score = config.options.get("score", defaults.get("score"))
    return float(score) if isinstance(score, (int, float)) else 0.0
