"""Run a tail on maps made for it, and compare the boxes of two decoders.

Whether a decoder does what a tail does is not concluded from the tail's nodes, which differ from exporter to exporter,
but tried: on maps with some random cells and a background that scores nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_app import registry
from edge_app.backends import TensorSpec
from edge_app.compiler.net import Net, subgraph
from edge_app.compiler.session import Array, HostSession
from edge_app.compiler.tails.branches import Branch
from edge_app.errors import ModelError
from edge_app.frame import Detections
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec

_SCORE, _MOST = 0.3, 1000
_BACKGROUND, _SPREAD, _CELLS = -8.0, 1.5, 24  # logits; random cells of each grid
_MARGIN = 4096  # pixels around the input, so that no box is clipped
_PIXELS, _RELATIVE, _SCORE_ERROR = 0.1, 2e-3, 2e-3


class Probe:
    """The tail of a graph, from the branches to the outputs.

    family: whose head decodes. fixed: tensors that the head gets in addition, by name.
    """

    def __init__(
        self,
        net: Net,
        levels: Sequence[Sequence[Branch]],
        family: str = "yolo",
        fixed: Mapping[str, Array] | None = None,
    ) -> None:
        self._family = family
        self._fixed = dict(fixed or {})
        self.branches = [branch for level in levels for branch in level]
        values = net.values()
        tail = subgraph(net, "tail", [values[branch.name] for branch in self.branches], net.outputs)
        self._session = HostSession(tail.serialize())
        height, width = net.inputs[0].shape[2:]
        self.size = width or 0, height or 0
        self.outputs = tuple(TensorSpec(name, values[name].shape, values[name].dtype) for name in net.outputs)

    def run(self, maps: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name. maps: of the branches, by name."""
        return dict(zip(self._session.outputs, self._session.feed({n: maps[n] for n in self._session.inputs})))

    def zeros(self) -> dict[str, Array]:
        return {b.name: np.zeros((1, b.channels, b.height, b.width), np.float32) for b in self.branches}

    def random(self, seed: int = 0) -> dict[str, Array]:
        """Maps in which the same few cells of every branch of a grid are random, and the others are background."""
        rng = np.random.default_rng(seed)
        cells: dict[tuple[int, int], Array] = {}
        maps = {name: np.full_like(zeros, _BACKGROUND) for name, zeros in self.zeros().items()}
        for branch in self.branches:
            size = branch.height, branch.width
            count = branch.height * branch.width
            chosen = cells.setdefault(size, rng.choice(count, min(_CELLS, count), replace=False))
            values = rng.normal(0, _SPREAD, (branch.channels, len(chosen)))
            maps[branch.name].reshape(branch.channels, -1)[:, chosen] = values
        return maps

    def decode(self, outputs: Mapping[str, Array], classes: int, options: Mapping[str, Any]) -> Detections | None:
        """The boxes of a head without NMS, not clipped; None if the head cannot read these outputs."""
        width, height = self.size
        outputs = {**outputs, **self._fixed}
        specs = tuple(TensorSpec(name, array.shape, array.dtype.name) for name, array in outputs.items())
        spec = HeadSpec("probe", self._family, tuple(str(i) for i in range(classes)), self.size, outputs=specs)
        transform = Transform(width + 2 * _MARGIN, height + 2 * _MARGIN, width, height, 1, 1, -_MARGIN, -_MARGIN)
        settings = {"nms_iou": 1.0, "max_detections": _MOST, "score": _SCORE, **options}
        try:
            result: Detections = registry.build("heads", self._family, spec, **settings).decode(outputs, transform)
        except ModelError:
            return None
        return result


def same_boxes(a: Detections, b: Detections) -> bool:
    """Whether each box of one has a counterpart in the other; the worst are ignored if a list is cut off."""
    least = min(len(a), len(b))
    if not least:
        return False
    limit = max(np.sort(d.score)[-least] for d in (a, b)) if len(a) != len(b) else 0.0
    return _contained(a, b, limit) and _contained(b, a, limit)


def _contained(inner: Detections, outer: Detections, limit: float) -> bool:
    """Whether every box of `inner` that scores more than `limit` is one of `outer`."""
    rows = inner.score > max(limit, _SCORE) + _SCORE_ERROR
    apart = np.abs(inner.xyxy[rows, None] - outer.xyxy[None])  # (n, m, 4)
    size = np.abs(inner.xyxy[rows, 2:] - inner.xyxy[rows, :2]).max(axis=1, initial=0)
    close = (apart <= (_PIXELS + _RELATIVE * size)[:, None, None]).all(axis=2)
    close &= np.abs(inner.score[rows, None] - outer.score[None]) <= _SCORE_ERROR
    close &= inner.class_id[rows, None] == outer.class_id[None]
    for a, b in ((inner.keypoints, outer.keypoints), (inner.corners, outer.corners)):
        if a is not None and b is not None:
            differ = np.abs(a[rows, None] - b[None]).max(axis=(2, 3), initial=0)
            close &= differ <= (_PIXELS + _RELATIVE * size)[:, None]
    return bool(rows.any() and close.any(axis=1).all())
