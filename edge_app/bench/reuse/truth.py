"""The ground truth of a clip, from CLIP.truth.jsonl in its folder: one JSON object per frame, in order.

By head name: objects `[{"label", "box"}]` with boxes 0..1, a region as its corners `[[x, y], …]`, or the label of the
image. A line may leave out heads. Not here: comparing (agreement.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.bench.reuse.objects import Objects, class_of
from edge_app.errors import ClipError
from edge_app.model.manifest import Manifest


def find_truth_file(clip: Path) -> Path | None:
    """The ground-truth file of a clip, or None if there is none."""
    path = clip.with_suffix(".truth.jsonl")
    return path if path.is_file() else None


def read_truth(path: Path, manifest: Manifest, size: tuple[int, int]) -> tuple[list[Objects], set[int]]:
    """The objects of every frame, in pixels of an image of `size`, and the indices of the heads that the file covers.

    Raises ClipError if a line is not valid.
    """
    frames, heads = [], set()
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            truth = dict(json.loads(text))
            named = [(number, name) for number, name in enumerate(manifest.heads) if name in truth]
            parts = [_head_objects(number, manifest.heads[name].labels, truth[name], size) for number, name in named]
            if not parts:
                raise KeyError("heads")
        except (ValueError, KeyError, TypeError) as exc:
            raise ClipError(f"{path}:{line}: found {text[:60]!r}; expected the true results of each head") from exc
        heads |= {number for number, _ in named}
        frames.append(Objects.joined(parts))
    return frames, heads


def _head_objects(number: int, labels: Sequence[str], truth: Any, size: tuple[int, int]) -> Objects:
    if isinstance(truth, str):
        boxes = [(truth, [0.0, 0.0, 1.0, 1.0])]
    elif truth and isinstance(truth[0], dict):
        boxes = [(item["label"], item["box"]) for item in truth]
    elif truth:
        corners = np.array(truth, np.float32)
        boxes = [(labels[0], [*corners.min(axis=0), *corners.max(axis=0)])]
    else:
        boxes = []
    classes = [class_of(number, labels.index(label)) for label, _ in boxes]
    xyxy = np.array([box for _, box in boxes], np.float32).reshape(-1, 4) * np.array(size * 2, np.float32)
    n = len(boxes)
    return Objects(xyxy, np.array(classes, np.int64), np.ones(n, np.float32), np.ones(n, bool))
