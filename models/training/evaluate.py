"""Measure the digits model and print a table: `python models/training/evaluate.py --digits PATH [--json]`.

The sample clip, and composed images of the held-out digits, go through `edge-app replay`, so the figures are those of
the published messages. Only the times are those of the graphs themselves. Needs edge_app, but not torch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import yaml
from numpy.typing import NDArray

import glyphs
import scenes
from camera import Camera
from edge_app.cli.parser import main as edge_app
from edge_app.evaluation import class_iou, f1, match_by_score
from edge_app.geometry import iou
from package import HEADS, Graphs, letterbox

SCORE, IOU, WIDTH, HEIGHT, ROW = 0.4, 0.5, 640, 480, 4
COMPOSITIONS = (500, 501, 502, 503)  # seeds; the required figure is that of the first
CONTRAST = 40.0  # gray levels; the digits of the clip have at least 52, and a median of 172
# Like the sample clip: rows on labels and loose digits, 36 to 96 pixels high in a 640 x 480 frame, not distorted.
CLIP_LIKE = scenes.Style(
    digit=(18.0, 48.0),
    tilt=5.0,
    perspective=0.05,
    pitch=(0.85, 1.15),
    occluded=0.0,
    bad=0.0,
    loose=0.2,
    hand=glyphs.Hand(threshold=0.45, softness=0.2),
    camera=Camera(scale=2.0, noise=4.0, blur=0.8),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. wanted: the required value, a minimum unless `at_most`."""

    name: str
    value: float
    wanted: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def reached(self) -> bool:
        return self.wanted is None or (self.value <= self.wanted if self.at_most else self.value >= self.wanted)


def replay(clip: Path, model: Path) -> list[dict[str, Any]]:
    """The `heads` that `edge-app replay` publishes for every frame of a clip or folder of images."""
    with tempfile.TemporaryDirectory() as folder:
        config, results = Path(folder) / "config.yaml", Path(folder) / "results.jsonl"
        settings = {
            "source": {"type": "video", "path": str(clip.resolve())},
            "model": {"path": str(model.resolve()), "backend": "onnx"},
            "heads": {"digits": {"score": SCORE}, "panel": {}, "scene": {}},  # all heads on every frame
        }
        config.write_text(yaml.safe_dump(settings))
        code = edge_app(["replay", str(clip), "-c", str(config), "--out", str(results)])
        if code:
            raise SystemExit(code)
        messages = [json.loads(line) for line in results.read_text().splitlines()]
    return [message["heads"] for message in messages if message["kind"] == "result"]


def overlaps(found: list[dict[str, Any]], true: list[dict[str, Any]]) -> NDArray[np.float64]:
    """IoU of every detection with every true box, regardless of their labels. Returns (detections, true boxes)."""
    return iou(_boxes(found), _boxes(true))


def matches(found: list[dict[str, Any]], true: list[dict[str, Any]]) -> int:
    """How many detections match a true box of the same label, one to one, highest score first."""
    labels = [np.array([each["label"] for each in side], np.str_) for side in (found, true)]
    overlap = class_iou(_boxes(found), labels[0], _boxes(true), labels[1])
    return len(match_by_score(overlap, np.array([d["score"] for d in found], np.float64), IOU))


def _boxes(first_frames: list[dict[str, Any]]) -> NDArray[np.float64]:
    return np.array([each["box"] for each in first_frames], np.float64).reshape(-1, 4)


def held_out_scenes(held: glyphs.Glyphs, folder: Path, seed: int) -> list[list[dict[str, Any]]]:
    """Write images that together show every held-out crop once. Returns the ground truth of each image."""
    rng = np.random.default_rng(seed)
    composer = scenes.Composer(held, rng, CLIP_LIKE)
    truths = []
    order = rng.permutation(len(held.labels))
    for number, start in enumerate(range(0, len(order), ROW)):
        wanted = [int(i) for i in order[start : start + ROW]]
        while True:  # repeat until all of them are in the image, completely visible and with enough contrast
            scene = composer.compose(HEIGHT, WIDTH, wanted)
            whole = len(scene.labels) == len(wanted) and scene.visible.min() > 0.99
            if whole and min(contrast(scene.image, box) for box in scene.boxes) >= CONTRAST:
                break
        cv2.imwrite(str(folder / f"{number:04}.png"), scene.image[:, :, ::-1])
        boxes = (scene.boxes / [WIDTH, HEIGHT, WIDTH, HEIGHT]).tolist()
        truths.append([{"label": str(label), "box": box} for label, box in zip(scene.labels, boxes)])
    return truths


def contrast(image: NDArray[np.uint8], box: NDArray[np.float32]) -> float:
    """Gray levels between the 10th and the 90th percentile inside a box."""
    left, top, right, bottom = box.astype(int)
    low, high = np.percentile(image[top : bottom + 1, left : right + 1].mean(2), [10, 90])
    return float(high - low)


def crops(model: Path, digits: Path | None) -> list[Figure]:
    """The share of held-out crops that is read correctly, in the first composition and in the others."""
    _, held = glyphs.load(digits)
    total = len(held.labels)
    (right, extra), *others = (_read_crops(model, held, seed) for seed in COMPOSITIONS)
    note = f"{right} of {total}; {extra} detections elsewhere"
    again = [right for right, _ in others]
    return [
        Figure("held-out crops read correctly", right / total, 0.98, note=note),
        Figure("the same crops in other images", statistics.fmean(again) / total, note=f"{again} of {total}"),
    ]


def _read_crops(model: Path, held: glyphs.Glyphs, seed: int) -> tuple[int, int]:
    """How many crops are read correctly in one composition, and how many detections match no crop."""
    with tempfile.TemporaryDirectory() as folder:
        truths = held_out_scenes(held, Path(folder), seed)
        heads = replay(Path(folder), model)
    right = extra = 0
    for found, true in zip(heads, truths):
        detections = sorted(found["digits"]["detections"], key=lambda d: -d["score"])
        near = overlaps(detections, true) >= IOU
        for column, t in enumerate(true):
            best = next((d for d, hit in zip(detections, near[:, column]) if hit), None)
            right += best is not None and best["label"] == t["label"]
        extra += int((~near.any(axis=1)).sum())
    return right, extra


def clip(model: Path) -> list[Figure]:
    """The sample clip against its ground truth."""
    truth = [json.loads(line) for line in (model / "sample.truth.jsonl").read_text().splitlines()]
    heads = replay(model / "sample.mp4", model)
    if len(heads) != len(truth):
        raise ValueError(f"{model}/sample.mp4: {len(heads)} results for {len(truth)} lines of truth")
    found = [head["digits"]["detections"] for head in heads]
    hits = sum(matches(f, t["digits"]) for f, t in zip(found, truth))
    total, true_total = sum(map(len, found)), sum(len(t["digits"]) for t in truth)
    scene = [head["scene"]["classification"][0]["label"] for head in heads]
    dim = [t["frame"] for s, t in zip(scene, truth) if s != t["scene"]]
    read = ["".join(d["label"] for d in sorted(f, key=lambda d: d["box"][0])) for f in found]
    readable = [(r, t) for r, t in zip(read, truth) if t["reading"]]
    wrong = [t["frame"] for r, t in readable if r != t["reading"]]
    numbers = {t["reading"] for t in truth if t["reading"]}
    invented = [t["frame"] for r, t in zip(read, truth) if len(r) >= ROW and r not in numbers]
    panels = [_panel_overlap(head["panel"]["segments"], t["panel"]) for head, t in zip(heads, truth) if t["panel"]]
    boxes = f"precision {hits / max(total, 1):.4f}, recall {hits / true_total:.4f}, {true_total} digits"
    plates = f"least {min(panels):.3f}, {len(panels)} frames"
    return [
        Figure("clip: F1 of digit boxes with class", f1([(2 * hits, total + true_total)]), 0.95, note=boxes),
        Figure("clip: frames whose scene is right", 1 - len(dim) / len(truth), 0.98, note=first_frames(dim)),
        Figure("clip: readable frames read right", 1 - len(wrong) / len(readable), 0.90, note=first_frames(wrong)),
        Figure(
            "clip: frames with a number that never was", len(invented), 0, at_most=True, note=first_frames(invented)
        ),
        Figure("clip: panel IoU, mean", statistics.fmean(panels), note=plates),
    ]


def first_frames(frames: list[int]) -> str:
    """The number of wrong frames and the first few of them, as text."""
    return f"{len(frames)} wrong: {', '.join(map(str, frames[:12]))}{' ...' * (len(frames) > 12)}" if frames else ""


def _panel_overlap(segments: list[dict[str, Any]], true: list[list[float]]) -> float:
    def filled(polygon: list[list[float]]) -> NDArray[np.uint8]:
        points = (np.array(polygon) * (WIDTH, HEIGHT)).astype(np.int32)
        return cv2.fillPoly(np.zeros((HEIGHT, WIDTH), np.uint8), [points], 1)

    wanted = filled(true)
    found = [filled(segment["polygon"]) for segment in segments]
    return max((float((f & wanted).sum() / (f | wanted).sum()) for f in found), default=0.0)


def time_ratio(model: Path, rounds: int = 60) -> Figure:
    """Time of one backbone with three heads against three networks with a backbone each; one thread, interleaved."""
    graphs = Graphs(model)
    found, frame = cv2.VideoCapture(str(model / "sample.mp4")).read()
    if not found:
        raise ValueError(f"{model}/sample.mp4: no frame")
    image = letterbox(frame)

    def shared() -> None:
        graphs.run(image)

    def separate() -> None:
        for name in HEADS:
            graphs.head(name, graphs.backbone(image))

    pairs = [(_seconds(shared), _seconds(separate)) for _ in range(rounds + 5)][5:]
    ours, theirs = (statistics.median(column) for column in zip(*pairs))
    ratio = statistics.median(a / b for a, b in pairs)
    return Figure("time, shared against three networks", ratio, 0.45, at_most=True,
                  note=f"{1e3 * ours:.1f} ms against {1e3 * theirs:.1f} ms, median of {rounds} pairs")  # fmt: skip


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def parameters(model: Path) -> Figure:
    """The number of weights in all graphs."""
    counts = {
        name: sum(int(np.prod(w.dims)) for w in onnx.load(str(model / f"{name}.onnx")).graph.initializer)
        for name in Graphs(model).sessions
    }
    return Figure("parameters, millions", sum(counts.values()) / 1e6, 0.6, at_most=True, note=str(counts))


def main() -> None:
    """Print the table. Exit code 1 if a required value is not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=Path, help="OpenCV's digits.png; default: scikit-learn's digits")
    parser.add_argument("--model", type=Path, default=Path("models/digits"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = [*crops(args.model, args.digits), *clip(args.model), time_ratio(args.model), parameters(args.model)]
    if args.json:
        print(json.dumps({f.name: {"value": f.value, "wanted": f.wanted, "note": f.note} for f in figures}))
    else:
        for f in figures:
            wanted = "" if f.wanted is None else f"{'<=' if f.at_most else '>='} {f.wanted:g}"
            print(f"{f.name:44} {f.value:8.4f}  {wanted:8} {'ok ' if f.reached else 'NOT'}  {f.note}")
    raise SystemExit(not all(f.reached for f in figures))


if __name__ == "__main__":
    main()
