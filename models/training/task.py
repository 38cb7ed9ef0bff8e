"""The digits model as a task of `edge-app slim shrink`: the scenes are its data, the losses those of train.py.

    DIGITS=digits.png edge-app slim shrink models/digits --recipe models/training/slim.yaml \
        --task models/training/task.py --out build/slim

$SCENES scenes (default 3000) are composed once and kept in `--out`/task; an interrupted composition goes on. Figures
are on $HELD_OUT scenes (default 200) with digits that are never trained on; they choose nothing. The figures of the
project, on the clip and on crops, are those of evaluate.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import camera
import canvas
import glyphs
import scenes
import train
from edge_app.errors import ConfigError
from edge_app.slim.data.pictures import Sample
from edge_app.slim.graph.model_folder import SlimModel
from edge_app.slim.objectives import Batch, Figure, Run
from edge_app.slim.tasks.classify import Classification
from edge_app.slim.tasks.detect import Detection
from edge_app.slim.tasks.segment import Segments

SIDE, WHOLE, BATCH = 192, 320, 16
FOCUS = 0.75
STYLES = (scenes.BUSY, scenes.CLEAR, scenes.CLEAR)
SHARD = 100  # scenes of a file
DIGITS = tuple(str(digit) for digit in range(10))
STATES = ("ok", "dark", "blurred", "covered")
NAMES = ("image", "core", "ring", "boxes", "panel", "kind")


class Digits:
    """The task. folder: for the composed scenes."""

    def __init__(self, folder: Path, digits: Path | None, count: int, held_out: int) -> None:
        self.module = nn.Module()
        trained_on, others = glyphs.load(digits)
        self._name = f"{digits and digits.name} {count} {held_out}"
        shards = [_shard(folder / f"scenes-{i:03}.npz", trained_on, i) for i in range(-(-count // SHARD))]
        self._train = {name: np.concatenate([shard[name] for shard in shards])[:count] for name in NAMES}
        self._held_out = _samples(others, held_out)

    def batches(self, seed: int, step: int) -> list[Batch]:
        rng = np.random.default_rng([seed, step])
        chosen = rng.integers(0, len(self._train["image"]), BATCH)
        images = self._train["image"][chosen][..., rng.permutation(3)]
        answers = tuple(torch.from_numpy(self._train[name][chosen]) for name in NAMES[1:])
        return [Batch(images, {"digits": answers, "panel": answers, "scene": answers})]

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        named = {name.rpartition("/")[2]: value for name, value in outputs.items()}
        terms = train.losses(named, *batch.targets["digits"], focus=FOCUS)
        return torch.stack(list(terms.values())).sum()

    def evaluate(self, run: Run) -> dict[str, Figure]:
        heads: dict[str, tuple[Any, tuple[str, ...]]] = {
            "digits": (Detection(DIGITS, 0), ("scores", "boxes")),
            "panel": (Segments(("panel",), 0), ("mask",)),
            "scene": (Classification(STATES, 0), ("scene",)),
        }
        counts: dict[str, Any] = dict.fromkeys(heads, 0.0)
        for sample in self._held_out:
            outputs = run(sample.image[None])
            for name, (objective, names) in heads.items():
                if name != "scene" or sample.label != camera.UNSURE:
                    found = [np.asarray(outputs[f"{name}/{each}"]) for each in names]
                    counts[name] = counts[name] + objective.count(found, sample)
        return {
            name: Figure(objective.METRIC, objective.score(np.asarray(counts[name])), len(self._held_out))
            for name, (objective, _) in heads.items()
        }

    def images(self, count: int) -> NDArray[np.uint8]:
        """Inputs of the whole size, from the scenes that are trained on."""
        chosen = np.linspace(0, len(self._train["image"]) - 1, count).astype(int)
        small = self._train["image"][chosen]
        before = (WHOLE - SIDE) // 2
        sides = before, WHOLE - SIDE - before
        return np.pad(small, ((0, 0), sides, sides, (0, 0)), mode="wrap")

    def fingerprint(self) -> str:
        return f"digits {self._name}"


def open_task(model: SlimModel, folder: Path) -> Digits:
    """The task of `slim shrink`. Raises ConfigError for another model."""
    names = {head.name for head in model.heads}
    if names != {"digits", "panel", "scene"}:
        raise ConfigError(f"{model.name}: found the heads {', '.join(sorted(names))}; expected digits, panel, scene")
    digits = os.environ.get("DIGITS")
    counts = (int(os.environ.get(name, default)) for name, default in (("SCENES", "3000"), ("HELD_OUT", "200")))
    return Digits(folder, Path(digits) if digits else None, *counts)


def _shard(path: Path, digits: glyphs.Glyphs, number: int) -> dict[str, NDArray[Any]]:
    """SHARD scenes with their targets, from the file, or composed and written."""
    if path.exists():
        with np.load(path) as file:
            return {name: file[name] for name in NAMES}
    schedule = train.Schedule(SIDE, 1, 1)
    stream = train.SceneStream(digits, STYLES, schedule, 0)
    rng = np.random.default_rng([11, number])
    composers = [scenes.Composer(digits, rng, style) for style in STYLES]
    rows = []
    for i in range(SHARD):
        scene = stream._scene(composers[i % len(composers)], rng)
        rows.append((scene.image, *train.targets(scene), np.int64(scene.kind)))
    arrays: dict[str, Any] = {name: np.stack(column) for name, column in zip(NAMES, zip(*rows))}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new.npz")
    np.savez(temporary, **arrays)
    temporary.replace(path)
    return arrays


def _samples(digits: glyphs.Glyphs, count: int) -> list[Sample]:
    """Whole scenes with digits that are held out."""
    stream = train.SceneStream(digits, STYLES, train.Schedule(WHOLE, 1, 1), 0)
    rng = np.random.default_rng(601)
    composers = [scenes.Composer(digits, rng, style) for style in STYLES]
    found = []
    for i in range(count):
        scene = stream._scene(composers[i % len(composers)], rng)
        seen = scene.visible >= canvas.MIN_VISIBLE
        found.append(Sample(scene.image, int(scene.kind), scene.boxes[seen], scene.labels[seen], scene.panel))
    return found
