"""Draw what the heads saw onto a copy of the frame, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_app.errors import SinkError
from edge_app.frame import Classification, Detections, Frame, HeadOutput, Segmentation, UInt8
from edge_app.messages import label_of
from edge_app.rules import Overlay

Labels = Mapping[str, Sequence[str]]
Color = tuple[int, int, int]

# Colour-blind safe (Okabe and Ito, 2008), as BGR.
_COLORS: tuple[Color, ...] = (
    (0, 159, 230),
    (233, 180, 86),
    (115, 158, 0),
    (66, 228, 240),
    (178, 114, 0),
    (0, 94, 213),
    (167, 121, 204),
)
_QUIET: Color = (220, 220, 220)
_ALERT: Color = (80, 80, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def annotate(frame: Frame, labels: Labels, overlay: Sequence[Overlay] = ()) -> UInt8:
    """A copy of the picture, BGR (H, W, 3) uint8, with every head's result in that head's colour, then the rules'."""
    image: UInt8 = frame.image.copy()
    scale = max(0.4, frame.height / 900)
    lines: list[tuple[str, Color]] = []
    for position, (name, output) in enumerate(frame.outputs.items()):
        color = _COLORS[position % len(_COLORS)]
        if isinstance(output.result, Detections):
            _boxes(image, output.result, labels[name], color, scale)
        elif isinstance(output.result, Segmentation):
            _polygons(image, output.result, color)
        elif isinstance(output.result, Classification):
            lines.append((_headline(name, output, output.result, labels[name]), color))
    for shape in overlay:
        color = _ALERT if shape.alert else _QUIET
        if shape.points:
            _shape(image, shape, color, scale)
        else:
            lines.append((shape.text, color))
    _caption(image, lines, scale)
    return image


class ClipWriter:
    """Writes annotated frames as an MPEG-4 clip, at the pace of their timestamps' first interval."""

    def __init__(self, path: Path, labels: Labels) -> None:
        self._path = path
        self._labels = labels
        self._held: list[tuple[int, UInt8]] = []  # the first frame and its time, until the second one tells the pace
        self._writer: cv2.VideoWriter | None = None
        if not path.parent.is_dir():
            raise SinkError(f"{path}: the folder {path.parent} does not exist", retry=False)

    def write(self, frame: Frame, overlay: Sequence[Overlay] = ()) -> None:
        """Annotate and append. Raises SinkError where the file cannot be written."""
        image = annotate(frame, self._labels, overlay)
        if self._writer is not None:
            self._writer.write(image)
            return
        self._held.append((frame.captured_ns, image))
        if len(self._held) == 2:
            self._open(1e9 / max(1, self._held[1][0] - self._held[0][0]))

    def close(self) -> None:
        if self._writer is None and self._held:
            self._open(10.0)
        if self._writer is not None:
            self._writer.release()

    def _open(self, fps: float) -> None:
        height, width = self._held[0][1].shape[:2]
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self._path), code, min(fps, 120.0), (width, height))
        if not self._writer.isOpened():
            raise SinkError(
                f"{self._path}: cannot be written as a video; expected a new file ending in .mp4", retry=False
            )
        for _, image in self._held:
            self._writer.write(image)
        self._held.clear()


def _boxes(image: UInt8, found: Detections, labels: Sequence[str], color: Color, scale: float) -> None:
    """Each box with its label, track and score, or as much of that as leaves room for its neighbours' labels."""
    corners = [(int(x), int(y)) for x, y in found.xyxy[:, :2].round()]
    names = [label_of(labels, int(class_id)) for class_id in found.class_id]
    least = [_place(image, name, corner, scale) for name, corner in zip(names, corners)]
    tracks = [0] * len(found) if found.track_id is None else found.track_id.tolist()
    for i, (name, corner, track) in enumerate(zip(names, corners, tracks)):
        x2, y2 = found.xyxy[i, 2:].round().astype(int).tolist()
        cv2.rectangle(image, corner, (x2, y2), color, 2)
        followed = f"{name} #{track}" if track else name
        others = least[:i] + least[i + 1 :]
        texts = (f"{followed} {found.score[i]:.2f}", followed)
        room = (text for text in texts if not any(_meet(_place(image, text, corner, scale), other) for other in others))
        _label(image, next(room, name), corner, color, scale)
    for point in () if found.keypoints is None else found.keypoints.reshape(-1, 3):
        cv2.circle(image, (round(float(point[0])), round(float(point[1]))), 3, color, -1)


def _polygons(image: UInt8, found: Segmentation, color: Color) -> None:
    for polygon in found.polygons:
        cv2.polylines(image, [polygon.round().astype(np.int32)], True, color, 2)


def _shape(image: UInt8, shape: Overlay, color: Color, scale: float) -> None:
    size = (image.shape[1], image.shape[0])
    points = (np.array(shape.points) * size).round().astype(np.int32)
    cv2.polylines(image, [points], shape.closed, color, 2)
    if shape.text:
        _label(image, shape.text, (int(points[0, 0]), int(points[0, 1])), color, scale)


def _headline(name: str, output: HeadOutput, found: Classification, labels: Sequence[str]) -> str:
    best = f"{label_of(labels, int(found.class_id[0]))} {found.score[0]:.2f}" if len(found.score) else "nothing"
    age = f" ({output.age_ns / 1e9:.1f} s ago)" if output.age_ns else ""
    return f"{name}: {best}{age}"


def _label(image: UInt8, text: str, corner: tuple[int, int], color: Color, scale: float) -> None:
    """Dark text on the colour."""
    left, top, right, bottom = _place(image, text, corner, scale)
    _, base = cv2.getTextSize(text, _FONT, scale, 1)
    cv2.rectangle(image, (left, top), (right, bottom), color, -1)
    cv2.putText(image, text, (left, bottom - base // 2), _FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)


def _place(image: UInt8, text: str, corner: tuple[int, int], scale: float) -> tuple[int, int, int, int]:
    """Where a label goes, xyxy: above the corner, or below it at the frame's upper edge."""
    (width, height), base = cv2.getTextSize(text, _FONT, scale, 1)
    x = max(0, min(corner[0], image.shape[1] - width))
    y = corner[1] if corner[1] >= height + base else corner[1] + height + base
    return x, y - height - base, x + width, y


def _meet(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _caption(image: UInt8, lines: Sequence[tuple[str, Color]], scale: float) -> None:
    for position, (text, color) in enumerate(lines):
        _label(image, text, (0, round((position + 1) * 34 * scale)), color, scale)
