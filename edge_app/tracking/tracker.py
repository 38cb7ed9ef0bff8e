"""Give detections identities: ByteTrack's two-stage association on whole arrays, with motion in seconds.

Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022; the filter is the
constant-velocity one of SORT and DeepSORT with noise that grows with the time that passed, not with frames counted.
Centre and size do not influence one another in it, so its covariance is three numbers for each of the two: no matrix
is inverted. Not here: what tracks mean (analytics/).
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

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Rows = NDArray[np.intp]

UNTRACKED = 0  # track_id of a detection that is no track, or not yet; ids count from 1

# Deviations in shares of the box's longer side; centre, then size.
_MEASURED = np.array([0.07, 0.07])  # of a detection; DeepSORT has 1/20
_START_SPEED = np.array([2.0, 0.3])  # a second, of an object first seen: DeepSORT's 10/160 a frame at 30 Hz
_DRIFT = np.array([0.4, 0.04])  # of the speed after a second: a walker stops or turns within one
_WEAK = 2.0  # an unsure box is often a part of its object: so much larger is its deviation
_UNLIKELY = 0.3  # what an overlap counts where the filter thinks it impossible
_FURTHEST = math.exp(-9.21 / 2)  # 99 % of a chi-square with 2 degrees of freedom: how far off a rescued centre may be
_ALIKE = 0.6  # ratio of sides from which on a rescued box is of the same size


class Tracker:
    """Follows the detections of one head. State is bounded by `settings.max_tracks`; ids are never used again."""

    def __init__(self, settings: TrackConfig) -> None:
        self._settings = settings
        self._lost_ns = round(settings.lost_s * 1e9)
        self._tracks = _Tracks.empty()
        self._at_ns: int | None = None  # when the tracks' state holds: the last evidence
        self._step_ns = 0  # from the evidence before that
        self._last_id = 0
        self._last_ids: Int64 = np.empty(0, np.int64)

    def track(self, frame: Frame) -> Frame:
        """Fill `frame.tracked` with the detections of the configured head and their track ids.

        Where the head did not run for this frame, its tracks are predicted to the time of the frame.
        """
        output = None if frame.heads is None else frame.heads.get(self._settings.head)
        found = None if output is None else output.result
        if output is None or not isinstance(found, Detections):
            return frame
        if output.reused == "held" and self._at_ns is not None:
            predicted = _in_view(self.predict(frame.captured_ns), frame.width, frame.height)
            output = replace(output, result=predicted, reused="track")
        else:
            seen_ns = frame.captured_ns - (0 if output.fresh else output.age_ns)
            output = replace(output, result=self.update(found, seen_ns))
        frame.tracked = {self._settings.head: output}
        return frame

    def update(self, found: Detections, seen_ns: int) -> Detections:
        """Associate detections made from a picture of `seen_ns`; returns them in their order with `track_id` set.

        A result that is carried over has the `seen_ns` of its picture: no new evidence, so it gets its ids again.
        """
        if self._at_ns is not None and seen_ns <= self._at_ns:
            known = self._last_ids if len(self._last_ids) == len(found) else np.zeros(len(found), np.int64)
            return replace(found, track_id=known)
        self._advance(seen_ns)
        ids = np.zeros(len(found), np.int64)
        rows, columns = self._associate(found)
        self._absorb(rows, columns, found, seen_ns)
        ids[columns] = self._tracks.id[rows]
        self._forget(seen_ns)
        self._start(found, columns, seen_ns)
        self._last_ids = ids
        return replace(found, track_id=ids)

    def predict(self, at_ns: int) -> Detections:
        """Where the identified tracks are at `at_ns`, between detections; nothing is changed.

        The score is 1 minus the share of the lost buffer that has passed since the object was seen.
        """
        tracks = self._tracks[np.flatnonzero(self._tracks.id)]
        ahead_s = 0.0 if self._at_ns is None else self._horizon_s(at_ns - self._at_ns)
        centre, size = tracks.centre + tracks.centre_speed * ahead_s, tracks.size
        unseen = (at_ns - tracks.seen_ns) / max(self._lost_ns, 1)
        return Detections(
            _corners(centre, size),
            np.clip(1 - unseen, 0, 1).astype(np.float32),
            tracks.class_id.astype(np.int32),
            tracks.id.copy(),
        )

    def __len__(self) -> int:
        """How many tracks are kept, those still without an id among them."""
        return len(self._tracks)

    def _horizon_s(self, ahead_ns: int) -> float:
        """How far ahead a constant speed is believed: after a long silence objects are not sought at the horizon."""
        return min(ahead_ns, max(self._lost_ns, 2 * self._step_ns)) / 1e9

    def _advance(self, seen_ns: int) -> None:
        if self._at_ns is not None:
            self._tracks.advance(self._horizon_s(seen_ns - self._at_ns))
            self._step_ns = seen_ns - self._at_ns
        self._at_ns = seen_ns

    def _associate(self, found: Detections) -> tuple[Rows, Rows]:
        """Pairs of tracks and detections, as two arrays of row numbers.

        ByteTrack's stages: all tracks and the sure boxes, then the tracks that are left and the unsure boxes. Last,
        what was seen a moment ago and moved further than its own size, where the filter thinks that possible.
        """
        settings, tracks = self._settings, self._tracks
        matching = _Matching(len(tracks), len(found))
        if not len(tracks) or not len(found):
            return matching.pairs()
        sure = found.score >= settings.high
        gain = self._gain(found, sure)
        everyone = np.ones(len(tracks), bool)
        for boxes in (sure, ~sure & (found.score >= settings.low)):
            rows, columns = matching.free(everyone, boxes)
            if len(rows) and len(columns):
                i, j = assign(gain[rows[:, None], columns], settings.overlap)
                matching.note(rows[i], columns[j])
        rows, columns = matching.free(tracks.misses == 0, sure)
        if len(rows) and len(columns):
            i, j = assign(_nearness(tracks[rows], found[columns], settings.mix_classes), _FURTHEST)
            matching.note(rows[i], columns[j])
        return matching.pairs()

    def _gain(self, found: Detections, sure: NDArray[np.bool_]) -> Float32:
        """IoU (N, M) with where each track is expected, less where the filter finds that place unlikely.

        Overlap alone lets a neighbour take over a track that is hidden for a moment: twice the identity switches in
        `bench track`. Where motion says no, it takes three times the least overlap, so that an object which does what
        no filter expects is still followed.
        """
        tracks = self._tracks
        overlap = iou(_corners(tracks.centre, tracks.size), found.xyxy)
        rows, columns = np.nonzero(overlap >= self._settings.overlap)
        centre, _ = _measured(found.xyxy)
        distance = ((tracks.centre[rows] - centre[columns]) ** 2).sum(axis=1)
        likely = np.exp(-0.5 * distance / tracks.spread(rows, np.where(sure, 1.0, _WEAK)[columns]))
        value = overlap[rows, columns] * (_UNLIKELY + (1 - _UNLIKELY) * likely)
        if not self._settings.mix_classes:
            value *= tracks.class_id[rows] == found.class_id[columns]
        gain = np.zeros_like(overlap)
        gain[rows, columns] = value
        return gain

    def _absorb(self, rows: Rows, columns: Rows, found: Detections, seen_ns: int) -> None:
        tracks = self._tracks
        tracks.misses += 1
        if len(rows):
            centre, size = _measured(found.xyxy[columns])
            weak = np.where(found.score[columns] < self._settings.high, _WEAK, 1.0)
            tracks.correct(rows, centre, size, weak)
            tracks.misses[rows] = 0
            tracks.hits[rows] += 1
            tracks.seen_ns[rows] = seen_ns
            fresh = rows[(tracks.id[rows] == UNTRACKED) & (tracks.hits[rows] >= self._settings.confirm)]
            if len(fresh):
                tracks.id[fresh] = np.arange(self._last_id + 1, self._last_id + 1 + len(fresh))
                self._last_id += len(fresh)
        tracks.size_speed[tracks.misses > 0] = 0  # a box that shrinks into its occlusion must not shrink away

    def _forget(self, seen_ns: int) -> None:
        """Drop what was lost too long; one miss is always forgiven, however slow the camera."""
        tracks = self._tracks
        late = (seen_ns - tracks.seen_ns > self._lost_ns) & (tracks.misses > 1)
        unproven = (tracks.id == UNTRACKED) & (tracks.misses > 1)
        gone = late | unproven
        if gone.any():
            self._tracks = tracks[np.flatnonzero(~gone)]

    def _start(self, found: Detections, taken: Rows, seen_ns: int) -> None:
        new = found.score >= self._settings.start
        new[taken] = False
        columns = np.flatnonzero(new)[: max(0, self._settings.max_tracks - len(self._tracks))]
        if len(columns):
            centre, size = _measured(found.xyxy[columns])
            started = _Tracks.start(centre, size, found.class_id[columns], seen_ns)
            self._tracks = self._tracks.joined(started)


class _Tracks:
    """Tracks as two arrays, so that a birth or a death is two copies; the properties are views into them.

    motion (N, 14) float64: centre, size, their speeds a second, then the covariances of centre and of size: of the
    value, of value and speed, of the speed. record (N, 5) int64: id, class, when last seen, misses in a row, hits.
    """

    def __init__(self, motion: Float64, record: Int64) -> None:
        self._motion, self._record = motion, record
        self.centre, self.size = motion[:, 0:2], motion[:, 2:4]
        self.centre_speed, self.size_speed = motion[:, 4:6], motion[:, 6:8]
        self.value, self.speed = motion[:, 0:4].reshape(-1, 2, 2), motion[:, 4:8].reshape(-1, 2, 2)
        self.cov = motion[:, 8:14].reshape(-1, 3, 2)  # (N, value | both | speed, centre | size)
        self.id, self.class_id, self.seen_ns, self.misses, self.hits = record.T

    @classmethod
    def empty(cls) -> _Tracks:
        return cls(np.empty((0, 14)), np.empty((0, 5), np.int64))

    @classmethod
    def start(cls, centre: Float64, size: Float64, class_id: NDArray[np.int32], seen_ns: int) -> _Tracks:
        """Tracks of objects seen once: at rest, with a speed that is hardly known."""
        n = len(centre)
        tracks = cls(np.zeros((n, 14)), np.zeros((n, 5), np.int64))
        tracks.centre[:], tracks.size[:] = centre, size
        scale = tracks.scale[:, None]
        tracks.cov[:, 0], tracks.cov[:, 2] = (_MEASURED * scale) ** 2, (_START_SPEED * scale) ** 2
        tracks.class_id[:], tracks.seen_ns[:], tracks.hits[:] = class_id, seen_ns, 1
        return tracks

    def __len__(self) -> int:
        return len(self._record)

    def __getitem__(self, rows: Rows) -> _Tracks:
        return _Tracks(self._motion[rows], self._record[rows])

    def joined(self, other: _Tracks) -> _Tracks:
        return _Tracks(np.concatenate([self._motion, other._motion]), np.concatenate([self._record, other._record]))

    @property
    def scale(self) -> Float64:
        """The longer side (N,), which all noise is measured in: BoT-SORT shows that wide objects need their width."""
        longer: Float64 = np.maximum(self.size.max(axis=1), 1.0)
        return longer

    def spread(self, rows: Rows, weak: Float64) -> Float64:
        """Variance (K,) along each axis of how far a detection's centre lies from that of each of `rows`."""
        expected: Float64 = self.cov[rows, 0, 0] + (_MEASURED[0] * weak * self.scale[rows]) ** 2
        return expected

    def advance(self, dt: float) -> None:
        """Move everything `dt` seconds on: constant speed, and white acceleration as uncertainty."""
        self.value += self.speed * dt
        np.maximum(self.size, 1.0, out=self.size)
        drift = (_DRIFT * self.scale[:, None]) ** 2 * dt  # (N, 2), of the speed's variance
        value, both, speed = self.cov[:, 0], self.cov[:, 1], self.cov[:, 2]
        value += dt * (2 * both + dt * speed) + drift * (dt * dt / 3)
        both += dt * speed + drift * (dt / 2)
        speed += drift

    def correct(self, rows: Rows, centre: Float64, size: Float64, weak: Float64) -> None:
        """Kalman's update of `rows` with what was measured; `weak` (K,) multiplies the measurement's deviation."""
        cov = self.cov[rows]
        noise = (_MEASURED * (weak * self.scale[rows])[:, None]) ** 2  # (K, 2)
        gain = cov[:, :2] / (cov[:, :1] + noise[:, None])  # (K, value | speed, 2)
        offset = np.stack([centre, size], axis=1) - self.value[rows]  # (K, centre | size, 2)
        self.value[rows] += gain[:, 0, :, None] * offset
        self.speed[rows] += gain[:, 1, :, None] * offset
        cov[:, 2] -= gain[:, 1] * cov[:, 1]
        cov[:, :2] *= 1 - gain[:, :1]
        self.cov[rows] = cov


class _Matching:
    """Pairs found so far between `rows` tracks and `columns` detections; each is used once."""

    def __init__(self, rows: int, columns: int) -> None:
        self._free_rows, self._free_columns = np.ones(rows, bool), np.ones(columns, bool)
        self._pairs: list[tuple[Rows, Rows]] = []

    def free(self, rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> tuple[Rows, Rows]:
        """The numbers of those among `rows` and `columns` (masks) that have no partner yet."""
        return np.flatnonzero(rows & self._free_rows), np.flatnonzero(columns & self._free_columns)

    def note(self, rows: Rows, columns: Rows) -> None:
        """These are pairs."""
        self._free_rows[rows] = False
        self._free_columns[columns] = False
        self._pairs.append((rows, columns))

    def pairs(self) -> tuple[Rows, Rows]:
        if not self._pairs:
            return np.empty(0, np.intp), np.empty(0, np.intp)
        rows, columns = zip(*self._pairs)
        return np.concatenate(rows), np.concatenate(columns)


def _nearness(tracks: _Tracks, found: Detections, mix_classes: bool) -> Float64:
    """exp(-d² / 2) of every track's centre to every detection's (N, M), d in deviations; 0 where sizes differ."""
    centre, size = _measured(found.xyxy)
    distance = ((tracks.centre[:, None] - centre) ** 2).sum(axis=2)
    ratio = tracks.size[:, None] / size  # (N, M, 2)
    alike = (np.minimum(ratio, 1 / ratio) >= _ALIKE).all(axis=2)
    if not mix_classes:
        alike &= tracks.class_id[:, None] == found.class_id
    spread = tracks.spread(np.arange(len(tracks)), np.ones(len(tracks)))
    near: Float64 = np.exp(-0.5 * distance / spread[:, None]) * alike
    return near


def _measured(xyxy: Float32) -> tuple[Float64, Float64]:
    """Centres and sizes (N, 2), float64, of boxes (N, 4); sides of at least a pixel."""
    low, high = xyxy[:, :2].astype(np.float64), xyxy[:, 2:].astype(np.float64)
    return (low + high) / 2, np.maximum(high - low, 1.0)


def _in_view(found: Detections, width: int, height: int) -> Detections:
    """What of the boxes lies in the picture; those wholly outside are left out."""
    xyxy = np.clip(found.xyxy, 0, np.array([width, height] * 2, np.float32))
    return replace(found, xyxy=xyxy)[np.flatnonzero((xyxy[:, 2:] > xyxy[:, :2]).all(axis=1))]


def _corners(centre: Float64, size: Float64) -> Float32:
    half = size / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
