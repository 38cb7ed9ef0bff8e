"""The rule of a family. Not here: the rules themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.compiler.reference import detectors, faces, queries, ssd, tasks, yolo
from edge_app.compiler.reference.candidates import Candidates, Float64, Outputs, Published

_RULES: Mapping[str, Callable[[Published, Outputs], Candidates | None]] = {
    "blazeface": faces.blazeface,
    "detr": queries.detr,
    "digits": detectors.digits,
    "fastestdet": detectors.fastestdet,
    "instances": tasks.instances,
    "nanodet": detectors.nanodet,
    "obb": tasks.obb,
    "pose": tasks.pose,
    "ppyoloe": queries.corners,
    "retinaface": faces.retinaface,
    "scrfd": faces.scrfd,
    "ssd": ssd.ssd,
    "ultraface": detectors.ultraface,
    "yolo": yolo.candidates,
    "yoloface": faces.yoloface,
    "yolonas": queries.corners,
    "yunet": detectors.yunet,
}


def candidates(published: Published, outputs: Mapping[str, NDArray[Any]]) -> Candidates | None:
    """The boxes of one image. outputs: of the file, by name, in its order. None: there is no rule for them here."""
    rule = _RULES.get(published.family)
    if rule is None:
        return None
    try:
        return rule(published, {name: _without_batch(array) for name, array in outputs.items()})
    except (ValueError, IndexError, TypeError):  # shapes that the rule does not know
        return None


def _without_batch(array: NDArray[Any]) -> Float64:
    return np.asarray(array[0] if array.ndim > 2 and array.shape[0] == 1 else array, np.float64)
