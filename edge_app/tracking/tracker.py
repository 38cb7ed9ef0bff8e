"""Assign track ids to detections: ByteTrack's two-stage association on whole arrays, with motion in seconds.

Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022; the filter is the
constant-velocity Kalman filter of SORT and DeepSORT, with noise that grows with time instead of frames. Center and size
are independent in it, so that the covariance is three numbers for each of them, and no matrix is inverted.
Not here: the meaning of tracks (rules/).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_app.config.rules import TrackConfig
from edge_app.frame import Detections, Float32, Frame
from edge_app.geometry.boxes import iou
from edge_app.tracking.assignment import assign
from edge_app.tracking.carried import carried

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Rows = NDArray[np.intp]

UNTRACKED = 0  # track_id of a detection without a track, or with an unconfirmed one; ids start at 1

# Standard deviations as fractions of the box's longer side: of the center, and of the size.
_MEASURED = np.array([0.07, 0.07])  # of a detection; DeepSORT has 1/20
_START_SPEED = np.array([2.0, 0.3])  # of the initial speed, per second: DeepSORT's 10/160 a frame at 30 Hz
_DRIFT = np.array([0.4, 0.04])  # of the speed after a second: a walker stops or turns within one
_LOW_SCORE_FACTOR = 2.0  # on the deviation of a low-scoring box, which often covers only a part of its object
_UNLIKELY = 0.3  # factor on the overlap if the filter excludes the position
_LEAST_RESCUE_GAIN = math.exp(-9.21 / 2)  # 99 % of a chi-square with 2 degrees of freedom
_LEAST_SIZE_RATIO = 0.6  # of the sides of a track and a rescued box
_LEAST_ONWARD_GAIN = math.exp(-7.38 / 2)  # 97.5 %; the region grows with the time since the last detection
_LEAST_HEIGHT_RATIO = 0.8  # of a lost track and a box that continues it; a width changes with every step of a walker
_LEAST_COSINE = 0.5  # 60 degrees, between the direction of a lost track and the way to that box


class Tracker:
    """Tracks the detections of one head. Keeps at most `settings.max_tracks` tracks; ids are never reused."""

    def __init__(self, settings: TrackConfig) -> None:
        self._settings = settings
        self._lost_ns = round(settings.lost_s * 1e9)
        self._tracks = _Tracks.empty()
        self._at_ns: int | None = None  # time of the last detections, and of the state of the tracks
        self._interval_ns = 0  # between the last two detections
        self._last_id = 0
        self._last_ids: Int64 = np.empty(0, np.int64)

    def track(self, frame: Frame) -> Frame:
        """Fill `frame.tracked` with the detections of the configured head and their track ids.

        If the head did not run for this frame, its boxes are the predictions of the tracks for the time of the frame.
        """
        output = None if frame.heads is None else frame.heads.get(self._settings.head)
        detections = None if output is None else output.result
        if output is None or not isinstance(detections, Detections):
            return frame
        if output.reused == "held" and self._at_ns is not None:
            last, size = replace(detections, track_id=self._ids(detections)), (frame.width, frame.height)
            predicted = _clipped(carried(self.predict(frame.captured_ns), last, size), *size)
            output = replace(output, result=predicted, reused="track")
        else:
            detected_ns = frame.captured_ns - (0 if output.fresh else output.age_ns)
            output = replace(output, result=self.update(detections, detected_ns))
        frame.tracked = {self._settings.head: output}
        return frame

    def update(self, detections: Detections, detected_ns: int) -> Detections:
        """Associate detections with tracks. Returns them in the same order, with `track_id` set.

        detected_ns: time of the image that the detections are from. For the same or an earlier time as in the last call
        the state is unchanged, and the same number of detections gets the same ids.
        """
        if self._at_ns is not None and detected_ns <= self._at_ns:
            return replace(detections, track_id=self._ids(detections))
        self._advance(detected_ns)
        ids = np.zeros(len(detections), np.int64)
        rows, columns = self._associate(detections, detected_ns)
        self._update_matched(rows, columns, detections, detected_ns)
        ids[columns] = self._tracks.id[rows]
        self._drop_lost(detected_ns)
        self._start_tracks(detections, columns, detected_ns)
        self._last_ids = ids
        return replace(detections, track_id=ids)

    def _ids(self, detections: Detections) -> Int64:
        """The ids of the last detections, if these are as many."""
        return self._last_ids if len(self._last_ids) == len(detections) else np.zeros(len(detections), np.int64)

    def predict(self, at_ns: int) -> Detections:
        """Predict the boxes of all confirmed tracks at `at_ns`, without changing the state.

        The score is 1 minus the time since the last detection, as a fraction of `lost_s`.
        """
        tracks = self._tracks[np.flatnonzero(self._tracks.id)]
        ahead_s = 0.0 if self._at_ns is None else self._horizon_s(at_ns - self._at_ns)
        center, size = tracks.center + tracks.center_speed * ahead_s, tracks.size
        unseen = (at_ns - tracks.detected_ns) / max(self._lost_ns, 1)
        return Detections(
            _corners(center, size),
            np.clip(1 - unseen, 0, 1).astype(np.float32),
            tracks.class_id.astype(np.int32),
            tracks.id.copy(),
        )

    def __len__(self) -> int:
        """Number of tracks, including unconfirmed ones."""
        return len(self._tracks)

    def _horizon_s(self, ahead_ns: int) -> float:
        """Seconds to extrapolate at constant speed, limited so that a long gap does not move tracks far away."""
        return min(ahead_ns, max(self._lost_ns, 2 * self._interval_ns)) / 1e9

    def _advance(self, detected_ns: int) -> None:
        if self._at_ns is not None:
            self._tracks.advance(self._horizon_s(detected_ns - self._at_ns))
            self._interval_ns = detected_ns - self._at_ns
        self._at_ns = detected_ns

    def _associate(self, detections: Detections, detected_ns: int) -> tuple[Rows, Rows]:
        """Match tracks and detections. Returns pairs as two arrays of row numbers.

        As in ByteTrack: all tracks with the high-scoring boxes, then the remaining tracks with the low-scoring boxes.
        Then a rescue of tracks that had a detection in the frame before and moved further than their own size, if the
        filter allows it. Last, lost tracks that were moving are found again further on in the same direction: an object
        that walked on while it was hidden.
        """
        settings, tracks = self._settings, self._tracks
        matching = _Matching(len(tracks), len(detections))
        if not len(tracks) or not len(detections):
            return matching.pairs()
        high = detections.score >= settings.high
        gain = self._gain(detections, high)
        all_tracks = np.ones(len(tracks), bool)
        for boxes in (high, ~high & (detections.score >= settings.low)):
            rows, columns = matching.unmatched(all_tracks, boxes)
            if len(rows) and len(columns):
                i, j = assign(gain[rows[:, None], columns], settings.overlap)
                matching.add(rows[i], columns[j])
        rows, columns = matching.unmatched(tracks.misses == 0, high)
        if len(rows) and len(columns):
            i, j = assign(_proximity(tracks[rows], detections[columns], settings.mix_classes), _LEAST_RESCUE_GAIN)
            matching.add(rows[i], columns[j])
        lost = (tracks.misses > 0) & (tracks.id != UNTRACKED) & (detected_ns - tracks.detected_ns <= self._lost_ns)
        rows, columns = matching.unmatched(lost, high)
        if len(rows) and len(columns):
            i, j = assign(self._onward(tracks[rows], detections[columns], detected_ns), _LEAST_ONWARD_GAIN)
            matching.add(rows[i], columns[j])
        return matching.pairs()

    def _onward(self, lost: _Tracks, detections: Detections, detected_ns: int) -> Float64:
        """`_proximity` (N, M); 0 if a track was not moving, or not towards the detection, or the heights differ."""
        center, size = _measured(detections.xyxy)
        unseen_s = (detected_ns - lost.detected_ns)[:, None] / 1e9
        way = center - (lost.center - lost.center_speed * unseen_s)[:, None]  # (N, M, 2), from the last position
        speed = np.hypot(lost.center_speed[:, 0], lost.center_speed[:, 1])[:, None]
        along = (way * lost.center_speed[:, None]).sum(axis=2)
        ratio = lost.size[:, 1, None] / size[:, 1]
        plausible = along >= _LEAST_COSINE * speed * np.hypot(way[..., 0], way[..., 1])
        plausible &= np.minimum(ratio, 1 / ratio) >= _LEAST_HEIGHT_RATIO
        plausible &= speed >= np.sqrt(lost.cov[:, 2, 0])[:, None]  # more than its standard deviation
        gain: Float64 = _proximity(lost, detections, self._settings.mix_classes) * plausible
        return gain

    def _gain(self, detections: Detections, high: NDArray[np.bool_]) -> Float32:
        """IoU (N, M) of predicted tracks and detections, reduced if the filter finds the position unlikely.

        With overlap alone, a neighbor takes over the track of an object that is hidden for a moment: twice the identity
        switches in `edge-app bench track`. An unlikely position needs about three times the overlap, so that an object
        with unexpected motion can still be tracked.
        """
        tracks = self._tracks
        overlap = iou(_corners(tracks.center, tracks.size), detections.xyxy)
        rows, columns = np.nonzero(overlap >= self._settings.overlap)
        center, _ = _measured(detections.xyxy)
        distance = ((tracks.center[rows] - center[columns]) ** 2).sum(axis=1)
        likely = np.exp(-0.5 * distance / tracks.spread(rows, np.where(high, 1.0, _LOW_SCORE_FACTOR)[columns]))
        value = overlap[rows, columns] * (_UNLIKELY + (1 - _UNLIKELY) * likely)
        if not self._settings.mix_classes:
            value *= tracks.class_id[rows] == detections.class_id[columns]
        gain = np.zeros_like(overlap)
        gain[rows, columns] = value
        return gain

    def _update_matched(self, rows: Rows, columns: Rows, detections: Detections, detected_ns: int) -> None:
        tracks = self._tracks
        tracks.misses += 1
        if len(rows):
            center, size = _measured(detections.xyxy[columns])
            factor = np.where(detections.score[columns] < self._settings.high, _LOW_SCORE_FACTOR, 1.0)
            tracks.correct(rows, center, size, factor)
            tracks.misses[rows] = 0
            tracks.hits[rows] += 1
            tracks.detected_ns[rows] = detected_ns
            confirmed = rows[(tracks.id[rows] == UNTRACKED) & (tracks.hits[rows] >= self._settings.confirm)]
            if len(confirmed):
                tracks.id[confirmed] = np.arange(self._last_id + 1, self._last_id + 1 + len(confirmed))
                self._last_id += len(confirmed)
        tracks.size_speed[tracks.misses > 0] = 0  # or a box that is being occluded would shrink away

    def _drop_lost(self, detected_ns: int) -> None:
        """Drop tracks that were lost for too long. A single miss never drops a track, however slow the camera."""
        tracks = self._tracks
        lost = (detected_ns - tracks.detected_ns > self._lost_ns) & (tracks.misses > 1)
        unconfirmed = (tracks.id == UNTRACKED) & (tracks.misses > 1)
        dropped = lost | unconfirmed
        if dropped.any():
            self._tracks = tracks[np.flatnonzero(~dropped)]

    def _start_tracks(self, detections: Detections, matched: Rows, detected_ns: int) -> None:
        new = detections.score >= self._settings.start
        new[matched] = False
        columns = np.flatnonzero(new)[: max(0, self._settings.max_tracks - len(self._tracks))]
        if len(columns):
            center, size = _measured(detections.xyxy[columns])
            started = _Tracks.start(center, size, detections.class_id[columns], detected_ns)
            self._tracks = self._tracks.joined(started)


class _Tracks:
    """Tracks as two arrays, so that adding or dropping tracks takes two copies. The attributes are views into them.

    motion: (N, 14) float64: center, size, their speeds per second, then the covariances of center and of size: of the
    value, of value and speed, of the speed. record: (N, 5) int64: id, class, time of the last detection, consecutive
    misses, number of detections.
    """

    def __init__(self, motion: Float64, record: Int64) -> None:
        self._motion, self._record = motion, record
        self.center, self.size = motion[:, 0:2], motion[:, 2:4]
        self.center_speed, self.size_speed = motion[:, 4:6], motion[:, 6:8]
        self.value, self.speed = motion[:, 0:4].reshape(-1, 2, 2), motion[:, 4:8].reshape(-1, 2, 2)
        self.cov = motion[:, 8:14].reshape(-1, 3, 2)  # (N, value | both | speed, center | size)
        self.id, self.class_id, self.detected_ns, self.misses, self.hits = record.T

    @classmethod
    def empty(cls) -> _Tracks:
        return cls(np.empty((0, 14)), np.empty((0, 5), np.int64))

    @classmethod
    def start(cls, center: Float64, size: Float64, class_id: NDArray[np.int32], detected_ns: int) -> _Tracks:
        """New tracks: at rest, with a large uncertainty of the speed."""
        n = len(center)
        tracks = cls(np.zeros((n, 14)), np.zeros((n, 5), np.int64))
        tracks.center[:], tracks.size[:] = center, size
        scale = tracks.scale[:, None]
        tracks.cov[:, 0], tracks.cov[:, 2] = (_MEASURED * scale) ** 2, (_START_SPEED * scale) ** 2
        tracks.class_id[:], tracks.detected_ns[:], tracks.hits[:] = class_id, detected_ns, 1
        return tracks

    def __len__(self) -> int:
        return len(self._record)

    def __getitem__(self, rows: Rows) -> _Tracks:
        return _Tracks(self._motion[rows], self._record[rows])

    def joined(self, other: _Tracks) -> _Tracks:
        return _Tracks(np.concatenate([self._motion, other._motion]), np.concatenate([self._record, other._record]))

    @property
    def scale(self) -> Float64:
        """The longer side (N,), the unit of all noise: BoT-SORT shows that wide objects need their width."""
        longer: Float64 = np.maximum(self.size.max(axis=1), 1.0)
        return longer

    def spread(self, rows: Rows, factor: Float64) -> Float64:
        """Variance (K,), along each axis, of the distance between a track's center and that of its detection."""
        expected: Float64 = self.cov[rows, 0, 0] + (_MEASURED[0] * factor * self.scale[rows]) ** 2
        return expected

    def advance(self, dt: float) -> None:
        """Predict all tracks `dt` seconds ahead: constant speed, with white noise acceleration."""
        self.value += self.speed * dt
        np.maximum(self.size, 1.0, out=self.size)
        drift = (_DRIFT * self.scale[:, None]) ** 2 * dt  # (N, 2), added to the variance of the speed
        value, both, speed = self.cov[:, 0], self.cov[:, 1], self.cov[:, 2]
        value += dt * (2 * both + dt * speed) + drift * (dt * dt / 3)
        both += dt * speed + drift * (dt / 2)
        speed += drift

    def correct(self, rows: Rows, center: Float64, size: Float64, factor: Float64) -> None:
        """Kalman update of `rows` with measurements. factor: (K,), on the deviation of each measurement."""
        cov = self.cov[rows]
        noise = (_MEASURED * (factor * self.scale[rows])[:, None]) ** 2  # (K, 2)
        gain = cov[:, :2] / (cov[:, :1] + noise[:, None])  # (K, value | speed, 2)
        offset = np.stack([center, size], axis=1) - self.value[rows]  # (K, center | size, 2)
        self.value[rows] += gain[:, 0, :, None] * offset
        self.speed[rows] += gain[:, 1, :, None] * offset
        cov[:, 2] -= gain[:, 1] * cov[:, 1]
        cov[:, :2] *= 1 - gain[:, :1]
        self.cov[rows] = cov


class _Matching:
    """Pairs of tracks (rows) and detections (columns). Each row and column is in at most one pair."""

    def __init__(self, rows: int, columns: int) -> None:
        self._free_rows, self._free_columns = np.ones(rows, bool), np.ones(columns, bool)
        self._pairs: list[tuple[Rows, Rows]] = []

    def unmatched(self, rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> tuple[Rows, Rows]:
        """The numbers of the unmatched rows and columns. rows, columns: masks of the candidates."""
        return np.flatnonzero(rows & self._free_rows), np.flatnonzero(columns & self._free_columns)

    def add(self, rows: Rows, columns: Rows) -> None:
        """Add pairs."""
        self._free_rows[rows] = False
        self._free_columns[columns] = False
        self._pairs.append((rows, columns))

    def pairs(self) -> tuple[Rows, Rows]:
        if not self._pairs:
            return np.empty(0, np.intp), np.empty(0, np.intp)
        rows, columns = zip(*self._pairs)
        return np.concatenate(rows), np.concatenate(columns)


def _proximity(tracks: _Tracks, detections: Detections, mix_classes: bool) -> Float64:
    """exp(-d² / 2) (N, M), d the distance of centers in standard deviations; 0 if sizes differ too much."""
    center, size = _measured(detections.xyxy)
    distance = ((tracks.center[:, None] - center) ** 2).sum(axis=2)
    ratio = tracks.size[:, None] / size  # (N, M, 2)
    similar = (np.minimum(ratio, 1 / ratio) >= _LEAST_SIZE_RATIO).all(axis=2)
    if not mix_classes:
        similar &= tracks.class_id[:, None] == detections.class_id
    spread = tracks.spread(np.arange(len(tracks)), np.ones(len(tracks)))
    proximity: Float64 = np.exp(-0.5 * distance / spread[:, None]) * similar
    return proximity


def _measured(xyxy: Float32) -> tuple[Float64, Float64]:
    """Centers and sizes (N, 2) float64 of boxes (N, 4). Sides are at least one pixel."""
    low, high = xyxy[:, :2].astype(np.float64), xyxy[:, 2:].astype(np.float64)
    return (low + high) / 2, np.maximum(high - low, 1.0)


def _clipped(detections: Detections, width: int, height: int) -> Detections:
    """Clip boxes to the image, and drop those that are outside."""
    xyxy = np.clip(detections.xyxy, 0, np.array([width, height] * 2, np.float32))
    return replace(detections, xyxy=xyxy)[np.flatnonzero((xyxy[:, 2:] > xyxy[:, :2]).all(axis=1))]


def _corners(center: Float64, size: Float64) -> Float32:
    half = size / 2
    return np.concatenate([center - half, center + half], axis=1).astype(np.float32)
