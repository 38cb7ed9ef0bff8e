"""The data types that pass through the pipeline: a frame, the outputs of its heads, and events.

Not here: labels, which are in the model's manifest; JSON (messages.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar, Union

import numpy as np
from numpy.typing import NDArray

PixelFormat = Literal["bgr", "nv12"]
Reused = Literal["", "features", "result", "held", "track"]
Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Objects that one head detected in one frame, as a struct of arrays.

    xyxy: (N, 4) float32, image pixels, x1 <= x2 and y1 <= y2.
    score: (N,) float32, 0..1.    class_id: (N,) int32, index into the head's labels.
    track_id: (N,) int64, 0 for detections without a track, or None before tracking.
    keypoints: (N, K, 3) float32: x, y in image pixels and a score 0..1, or None.
    corners: (N, 4, 2) float32: the corners of oriented boxes in image pixels, in order around the box, not clipped to
    the image; or None. `xyxy` then is the upright rectangle around them, clipped.
    polygons: for each detection the outline of its mask, (K, 2) float32, image pixels, K = 0 without one; or None.
    texts: for each detection what was read in it, such as the content of a QR code; or None.
    poses: (N, 6) float32: position x, y, z in meters and rotation vector in radians, in the camera's axes, which point
    to the right, down and forward; NaN where unknown; or None.
    Raises ValueError if shapes or dtypes differ.
    """

    xyxy: Float32
    score: Float32
    class_id: NDArray[np.int32]
    track_id: NDArray[np.int64] | None = None
    keypoints: Float32 | None = None
    corners: Float32 | None = None
    polygons: tuple[Float32, ...] | None = None
    texts: tuple[str, ...] | None = None
    poses: Float32 | None = None

    def __post_init__(self) -> None:
        n = len(self.score)
        _expect("xyxy", self.xyxy, (n, 4), np.float32)
        _expect("score", self.score, (n,), np.float32)
        _expect("class_id", self.class_id, (n,), np.int32)
        if self.track_id is not None:
            _expect("track_id", self.track_id, (n,), np.int64)
        if self.keypoints is not None:
            points = self.keypoints.shape[1] if self.keypoints.ndim == 3 else 0
            _expect("keypoints", self.keypoints, (n, points, 3), np.float32)
        if self.corners is not None:
            _expect("corners", self.corners, (n, 4, 2), np.float32)
        if self.polygons is not None:
            _expect_length("polygons", self.polygons, n)
            for polygon in self.polygons:
                _expect("polygons", polygon, (len(polygon), 2), np.float32)
        if self.texts is not None:
            _expect_length("texts", self.texts, n)
        if self.poses is not None:
            _expect("poses", self.poses, (n, 6), np.float32)

    @classmethod
    def empty(cls) -> Detections:
        """No detections: arrays of length 0."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))

    def __len__(self) -> int:
        return len(self.score)

    @property
    def angle(self) -> Float32 | None:
        """(N,) float32: the direction from corner 0 to corner 1, radians, clockwise in the image; or None."""
        if self.corners is None:
            return None
        side = self.corners[:, 1] - self.corners[:, 0]
        direction: Float32 = np.arctan2(side[:, 1], side[:, 0])
        return direction

    def __getitem__(self, index: slice | NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
        """Select rows. index: a slice, a boolean mask (N,) or an array of row numbers."""
        return Detections(
            self.xyxy[index],
            self.score[index],
            self.class_id[index],
            None if self.track_id is None else self.track_id[index],
            None if self.keypoints is None else self.keypoints[index],
            None if self.corners is None else self.corners[index],
            None if self.polygons is None else _selected(self.polygons, index),
            None if self.texts is None else _selected(self.texts, index),
            None if self.poses is None else self.poses[index],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """Classes of the whole image: class_id (N,) int32 and score (N,) float32, best first."""

    class_id: NDArray[np.int32]
    score: Float32

    def __post_init__(self) -> None:
        _expect("score", self.score, (len(self.class_id),), np.float32)
        _expect("class_id", self.class_id, (len(self.score),), np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Regions. class_id (N,) int32, score (N,) float32, polygons: N arrays (K, 2) float32, image pixels."""

    class_id: NDArray[np.int32]
    score: Float32
    polygons: tuple[Float32, ...]

    def __post_init__(self) -> None:
        n = len(self.polygons)
        _expect("class_id", self.class_id, (n,), np.int32)
        _expect("score", self.score, (n,), np.float32)
        for polygon in self.polygons:
            _expect("polygon", polygon, (len(polygon), 2), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A feature vector of the whole image: vector (D,) float32, of unit length."""

    vector: Float32

    def __post_init__(self) -> None:
        _expect("vector", self.vector, (self.vector.size,), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """A text that was read in the whole image, and its score, 0..1. An empty text: nothing was read."""

    text: str
    score: float


Result = Union[Detections, Classification, Segmentation, Embedding, Text]


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """Results of a second-stage head for single detections of another head.

    of: the head that made the detections. row: for each of `results`, the row number of its detection.
    results: coordinates are in image pixels, not in pixels of the crop.
    """

    of: str
    row: tuple[int, ...]
    results: tuple[Result, ...]


JsonValue = Union[None, bool, int, float, str, Sequence["JsonValue"], Mapping[str, "JsonValue"]]


@dataclass(frozen=True, slots=True, eq=False)
class HeadOutput:
    """The result of one head for a frame.

    age_ns: age of the oldest part of the result, relative to this frame; 0 if all of it was computed for this frame.
    reused: "" if nothing was reused; `features` if parts of the feature maps were, where the image had not changed;
    `result` if all of the result was, because nothing had changed; `held` if the last result is repeated, because the
    head was not due or there was no time; `track` if that result's boxes were moved to their tracks' predictions.
    """

    result: Result | Crops
    age_ns: int = 0
    reused: Reused = ""

    @property
    def fresh(self) -> bool:
        """Whether the result is valid for this frame: computed for it, or verified as unchanged. A held one is not."""
        return self.age_ns == 0 or self.reused in ("features", "result")


@dataclass(frozen=True, slots=True)
class Event:
    """The start, an update or the end of an event: a line crossed, a zone occupied, a reading, a camera fault.

    event_id: the same from `new` to `end`. rule, rule_type: the configured name of the rule, and its plug-in.
    start_ns, end_ns: CLOCK_BOOTTIME, as `Frame.captured_ns`; start_utc_ns, end_utc_ns: the same moments in UTC. The end
    is None before `end`. value: the rule's data, as it is published.
    """

    type: Literal["new", "update", "end"]
    event_id: str
    rule: str
    rule_type: str
    start_ns: int
    start_utc_ns: int
    end_ns: int | None = None
    end_utc_ns: int | None = None
    value: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Frame:
    """One image, and a slot for the output of each later stage. Each slot is filled once, by its stage.

    source: the configured name of the camera. sequence: counts from 0; gaps are dropped frames.
    captured_ns: CLOCK_BOOTTIME. utc_ns: since 1970, meaningless while the clock is not synchronized.
    pixels: as captured, uint8: `bgr` (H, W, 3) or `nv12` (H * 3 / 2, W). Read-only after capture.
    heads: filled by inference: outputs by head name. tracked: filled by tracking: outputs of tracked heads, with track
    ids. events: filled by the rules, in order. work: of inference, while the frame is between two of its steps.
    """

    source: str
    sequence: int
    captured_ns: int
    utc_ns: int
    pixels: UInt8
    format: PixelFormat = "bgr"
    heads: Mapping[str, HeadOutput] | None = None
    tracked: Mapping[str, HeadOutput] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    work: object = None
    _image: UInt8 | None = None
    _gray: UInt8 | None = None

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.format == "bgr" and (len(shape) != 3 or shape[2] != 3):
            raise ValueError(f"bgr pixels are (H, W, 3); found {shape}")
        if self.format == "nv12" and (len(shape) != 2 or shape[0] % 3 or shape[1] % 2):
            raise ValueError(f"nv12 pixels are (H * 3 / 2, W), H and W even; found {shape}")

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        rows = int(self.pixels.shape[0])
        return rows if self.format == "bgr" else rows * 2 // 3

    @property
    def outputs(self) -> Mapping[str, HeadOutput]:
        """Outputs by head name, for rules and sinks: with track ids if the head is tracked, else as inferred."""
        return {**(self.heads or {}), **self.tracked}

    @property
    def gray(self) -> UInt8:
        """Luma (H, W) uint8: a view of NV12; BGR is converted on first use and cached."""
        if self.format == "nv12":
            return self.pixels[: self.height]
        if self._gray is None:
            import cv2  # here, so that importing this module stays fast

            self._gray = cv2.cvtColor(self.pixels, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
        return self._gray

    @property
    def image(self) -> UInt8:
        """BGR (H, W, 3) uint8. NV12 is converted on first use and cached."""
        if self.format == "bgr":
            return self.pixels
        if self._image is None:
            import cv2  # here, so that importing this module stays fast

            self._image = cv2.cvtColor(self.pixels, cv2.COLOR_YUV2BGR_NV12).astype(np.uint8, copy=False)
        return self._image


_T = TypeVar("_T")


def _selected(items: tuple[_T, ...], index: slice | NDArray[np.bool_] | NDArray[np.intp]) -> tuple[_T, ...]:
    return tuple(items[row] for row in np.arange(len(items))[index].tolist())


def _expect_length(name: str, items: tuple[object, ...], length: int) -> None:
    if len(items) != length:
        raise ValueError(f"{name}: found {len(items)}, expected {length}")


def _expect(name: str, array: object, shape: tuple[int, ...], dtype: type) -> None:
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name}: found {type(array).__name__}, expected {np.dtype(dtype)}{shape}")
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name}: found {array.dtype}{array.shape}, expected {np.dtype(dtype)}{shape}")
