"""What a clip truly shows, from a file beside it: CLIP.truth.jsonl, a JSON object a frame, in order.

Of each head, by its name: objects `[{"label", "box"}]` with boxes 0..1, a region as its corners `[[x, y], …]`, or the
label of the whole picture. Heads that a line does not name are left out. Not here: comparing (agreement.py).
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
    """The truth file of a clip, where there is one."""
    path = clip.with_suffix(".truth.jsonl")
    return path if path.is_file() else None


def read_truth(path: Path, manifest: Manifest, size: tuple[int, int]) -> tuple[list[Objects], set[int]]:
    """The true objects of every frame, in pixels of a picture of `size`, and the numbers of the heads that it tells of.

    Raises ClipError where the file is something else.
    """
    frames, told = [], set()
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            said = dict(json.loads(text))
            named = [(number, name) for number, name in enumerate(manifest.heads) if name in said]
            parts = [_of_head(number, manifest.heads[name].labels, said[name], size) for number, name in named]
            if not parts:
                raise KeyError("heads")
        except (ValueError, KeyError, TypeError) as exc:
            raise ClipError(f"{path}:{line}: found {text[:60]!r}; expected what each head should see") from exc
        told |= {number for number, _ in named}
        frames.append(Objects.joined(parts))
    return frames, told


def _of_head(number: int, labels: Sequence[str], said: Any, size: tuple[int, int]) -> Objects:
    if isinstance(said, str):
        found = [(said, [0.0, 0.0, 1.0, 1.0])]
    elif said and isinstance(said[0], dict):
        found = [(each["label"], each["box"]) for each in said]
    elif said:
        corners = np.array(said, np.float32)
        found = [(labels[0], [*corners.min(axis=0), *corners.max(axis=0)])]
    else:
        found = []
    classes = [class_of(number, labels.index(label)) for label, _ in found]
    xyxy = np.array([box for _, box in found], np.float32).reshape(-1, 4) * np.array(size * 2, np.float32)
    n = len(found)
    return Objects(xyxy, np.array(classes, np.int64), np.ones(n, np.float32), np.ones(n, bool))
