"""Draw results into a copy of a frame.

Not here: writing annotated frames as a clip (clip_writer.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge_app.frame import Classification, Detections, Frame, HeadOutput, Segmentation, Text, UInt8
from edge_app.messages import label_of
from edge_app.rules import Overlay

Labels = Mapping[str, Sequence[str]]
Color = tuple[int, int, int]

# Safe for color-blind viewers (Okabe and Ito, 2008), as BGR.
_COLORS: tuple[Color, ...] = (
    (0, 159, 230),
    (233, 180, 86),
    (115, 158, 0),
    (66, 228, 240),
    (178, 114, 0),
    (0, 94, 213),
    (167, 121, 204),
)
_NORMAL: Color = (220, 220, 220)
_ALERT: Color = (80, 80, 255)
_BLACK: Color = (0, 0, 0)
_FILL = 0.2  # opacity of a segmented region
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, slots=True)
class _Style:
    """Sizes for a frame's height, pixels. scale: of OpenCV's font. line, stroke: thickness of lines and of text."""

    scale: float
    line: int
    stroke: int
    padding: int
    row: int

    @classmethod
    def of(cls, frame: Frame) -> _Style:
        scale = max(0.4, frame.height / 1150)
        return cls(scale, max(2, round(3.2 * scale)), max(1, round(1.8 * scale)), round(4 * scale), round(38 * scale))


def annotate(frame: Frame, labels: Labels, overlay: Sequence[Overlay] = ()) -> UInt8:
    """Return a copy of the image, BGR (H, W, 3) uint8, with the results of each head in its color, and the overlay.

    labels: class names of each head. overlay: shapes and texts of the rules.
    """
    image: UInt8 = frame.image.copy()
    style = _Style.of(frame)
    captions: list[tuple[str, Color]] = []
    colors = {name: _COLORS[position % len(_COLORS)] for position, name in enumerate(frame.outputs)}
    for name, output in frame.outputs.items():  # first, since their fill would cover the labels of boxes
        if isinstance(output.result, Segmentation):
            _draw_regions(image, output.result, labels[name], colors[name], style)
    for name, output in frame.outputs.items():
        if isinstance(output.result, Detections):
            _draw_boxes(image, output.result, labels[name], colors[name], style)
        elif isinstance(output.result, Classification):
            captions.append((_class_text(name, output, output.result, labels[name]), colors[name]))
        elif isinstance(output.result, Text) and output.result.text:
            captions.append((f"{name}: {output.result.text}", colors[name]))
    for shape in overlay:
        color = _ALERT if shape.alert else _NORMAL
        if shape.points:
            _draw_shape(image, shape, color, style)
        else:
            captions.append((shape.text, color))
    _draw_captions(image, captions, style)
    return image


def _draw_boxes(image: UInt8, detections: Detections, labels: Sequence[str], color: Color, style: _Style) -> None:
    """Draw boxes, masks and keypoints. Labels show text, class, track and score, unless they would overlap."""
    _draw_masks(image, detections, color, style)
    corners = [(int(x), int(y)) for x, y in detections.xyxy[:, :2].round()]
    names = [label_of(labels, int(class_id)) for class_id in detections.class_id]
    names = [f"{text} {name}" if text else name for name, text in zip(names, detections.texts or [""] * len(names))]
    shortest = [_label_box(image, name, corner, style) for name, corner in zip(names, corners)]
    tracks = [0] * len(detections) if detections.track_id is None else detections.track_id.tolist()
    for i, (name, corner, track) in enumerate(zip(names, corners, tracks)):
        if detections.corners is None:
            x2, y2 = detections.xyxy[i, 2:].round().astype(int).tolist()
            cv2.rectangle(image, corner, (x2, y2), color, style.line)
        else:
            cv2.polylines(image, [detections.corners[i].round().astype(np.int32)], True, color, style.line, cv2.LINE_AA)
        with_track = f"{name} #{track}" if track else name
        others = shortest[:i] + shortest[i + 1 :]
        candidates = (f"{with_track} {detections.score[i]:.2f}", with_track)
        boxes = {text: _label_box(image, text, corner, style) for text in candidates}
        fitting = (text for text, box in boxes.items() if not any(_overlap(box, other) for other in others))
        _draw_label(image, next(fitting, name), corner, color, style)
    for point in () if detections.keypoints is None else detections.keypoints.reshape(-1, 3):
        cv2.circle(image, (round(float(point[0])), round(float(point[1]))), style.line + 1, color, -1, cv2.LINE_AA)


def _draw_masks(image: UInt8, detections: Detections, color: Color, style: _Style) -> None:
    """Draw the outline and a transparent fill of each detection's mask."""
    polygons = [polygon.round().astype(np.int32) for polygon in detections.polygons or () if len(polygon)]
    if not polygons:
        return
    filled = image.copy()
    for polygon in polygons:
        cv2.fillPoly(filled, [polygon], color)
    cv2.addWeighted(filled, _FILL, image, 1 - _FILL, 0, dst=image)
    cv2.polylines(image, polygons, True, color, style.line, cv2.LINE_AA)


def _draw_regions(image: UInt8, segmentation: Segmentation, labels: Sequence[str], color: Color, style: _Style) -> None:
    """Draw the outline and a transparent fill of each region, and its label below the lower left corner."""
    polygons = [polygon.round().astype(np.int32) for polygon in segmentation.polygons]
    filled = image.copy()
    for points in polygons:
        cv2.fillPoly(filled, [points], color)
    cv2.addWeighted(filled, _FILL, image, 1 - _FILL, 0, dst=image)
    for class_id, score, points in zip(segmentation.class_id, segmentation.score, polygons):
        cv2.polylines(image, [points], True, color, style.line, cv2.LINE_AA)
        text = f"{label_of(labels, int(class_id))} {score:.2f}"
        _, top, _, bottom = _label_box(image, text, (0, 0), style)
        x, y = points[(points[:, 1] - points[:, 0]).argmax()].tolist()  # the lower left corner
        _draw_label(image, text, (x, min(y + bottom - top, image.shape[0])), color, style)


def _draw_shape(image: UInt8, shape: Overlay, color: Color, style: _Style) -> None:
    size = (image.shape[1], image.shape[0])
    points = (np.array(shape.points) * size).round().astype(np.int32)
    cv2.polylines(image, [points], shape.closed, color, style.line, cv2.LINE_AA)
    if shape.text:
        _draw_label(image, shape.text, (int(points[0, 0]), int(points[0, 1])), color, style)


def _class_text(name: str, output: HeadOutput, classification: Classification, labels: Sequence[str]) -> str:
    best = (
        f"{label_of(labels, int(classification.class_id[0]))} {classification.score[0]:.2f}"
        if len(classification.score)
        else "nothing"
    )
    age = f" ({output.age_ns / 1e9:.1f} s ago)" if output.age_ns else ""
    return f"{name}: {best}{age}"


def _draw_label(image: UInt8, text: str, corner: tuple[int, int], color: Color, style: _Style) -> None:
    """Draw dark text on a filled rectangle."""
    left, top, right, bottom = _label_box(image, text, corner, style)
    _, base = cv2.getTextSize(text, _FONT, style.scale, style.stroke)
    cv2.rectangle(image, (left, top), (right, bottom), color, -1)
    baseline = (left + style.padding, bottom - style.padding - base // 2)
    cv2.putText(image, text, baseline, _FONT, style.scale, _BLACK, style.stroke, cv2.LINE_AA)


def _label_box(image: UInt8, text: str, corner: tuple[int, int], style: _Style) -> tuple[int, int, int, int]:
    """Rectangle of a label, xyxy, in pixels: above the corner, or below it at the upper edge of the frame."""
    (width, height), base = cv2.getTextSize(text, _FONT, style.scale, style.stroke)
    width, height = width + 2 * style.padding, height + base + 2 * style.padding
    x = max(0, min(corner[0], image.shape[1] - width))
    y = corner[1] if corner[1] >= height else corner[1] + height
    return x, y - height, x + width, y


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _draw_captions(image: UInt8, captions: Sequence[tuple[str, Color]], style: _Style) -> None:
    """Draw texts without a place in the image, one below the other, in the upper left corner."""
    for position, (text, color) in enumerate(captions):
        _draw_label(image, text, (0, (position + 1) * style.row), color, style)
