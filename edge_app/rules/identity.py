"""identity: who is seen: the embeddings of a head, compared with the people of a gallery; one event for each visit.

Not here: the gallery (gallery/), the command that enrolls people (cli/commands/gallery.py).
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from edge_app import gallery
from edge_app.errors import EdgeError, OptionError
from edge_app.frame import Crops, Detections, Embedding, Event, Float32, Frame, JsonValue
from edge_app.gallery import Gallery
from edge_app.geometry.boxes import iou
from edge_app.options import Fraction, Positive, Seconds, Secret
from edge_app.rules import Moment, Overlay, RuleContext
from edge_app.rules._ledger import Ledger
from edge_app.rules._objects import rounded

_LOG = logging.getLogger(__name__)

_RELOAD_NS = 2_000_000_000  # how often the file is checked
_MIN_IOU = 0.2  # of a face without a track and its visit
_MAX_VISITS = 1000


@dataclass(slots=True, eq=False)
class _Face:
    """One face of a frame. box: (4,) image pixels. who: a known person, None if there is none that is similar.

    vector: the embedding, (D,).
    """

    box: Float32
    track_id: int
    vector: Float32
    who: str | None
    similarity: float


@dataclass(slots=True, eq=False)
class _Visit:
    """A face over frames. votes: of each person and of None. key: of its event, None before it begins.

    box, similarity: of the best match with the person of the event.
    """

    first: Moment
    last: Moment
    face: _Face
    best: _Face
    votes: Counter[str | None] = field(default_factory=Counter)
    key: tuple[str, object] | None = None


class Rule:
    """One event for each visit: `new` when a face is recognized, or has stayed unknown; `end` when it is gone.

    head: computes the embeddings of faces. threshold: the least cosine similarity of a face with a picture of a known
    person; `edge-app gallery test --far` finds the one for a rate of false accepts. frames: how many must agree on a
    person. unknown_s: a face that has been seen so long, and in as many frames, without being recognized is unknown.
    grace_s: a visit ends when nobody has been seen so long; a person who returns within it continues the visit.
    report: which people have events. key: of an encrypted gallery.
    """

    def __init__(
        self,
        context: RuleContext,
        *,
        head: str,
        threshold: Fraction = 0.5,
        frames: Positive = 3,
        unknown_s: Seconds = 2.0,
        grace_s: Seconds = 5.0,
        report: Literal["all", "known", "unknown"] = "all",
        key: Secret | None = None,
        update_every_s: Seconds = 0.0,
    ) -> None:
        context.head("head", head)
        if not threshold:
            raise OptionError("threshold", "found 0, which everybody reaches; expected more")
        self._name, self._head, self._threshold, self._frames = context.name, head, threshold, frames
        self._unknown_ns, self._grace_ns = round(unknown_s * 1e9), round(grace_s * 1e9)
        self._report, self._key = report, key
        self._ledger = Ledger(context, update_every_s)
        self._visits: list[_Visit] = []
        self._size = (1, 1)  # of the image
        self._path = None if context.state_dir is None else gallery.path_of(context.state_dir, head)
        self._gallery: Gallery | None = None
        self._version: object = None
        self._looked_ns: int | None = None
        if self._path is not None:
            self._gallery, self._version = gallery.load(self._path, key), _version(self._path)

    def step(self, frame: Frame) -> Iterator[Event]:
        now = Moment.of(frame)
        self._size = (frame.width, frame.height)
        if self._reload(now):
            yield from self._forget_removed(now)
        faces = self._faces(frame)
        if faces is not None:
            for face in faces:
                self._add(face, now)
            yield from self._decide(now)
        yield from self._end(now)

    def finish(self, reason: str, at: Moment) -> list[Event]:
        self._visits = []
        return self._ledger.finish(reason, at)

    def state(self) -> dict[str, JsonValue]:
        present = sorted({str(visit.key[1]) for visit in self._visits if visit.key and visit.key[0] == "known"})
        unknown = sum(visit.key is not None and visit.key[0] == "unknown" for visit in self._visits)
        return {"present": list(present), "unknown": unknown}

    def overlay(self) -> list[Overlay]:
        present, unknown = self.state()["present"], self.state()["unknown"]
        names = [*(present if isinstance(present, list) else ()), *(["unknown"] if unknown else [])]
        return [Overlay((), f"{self._name}: {', '.join(map(str, names))}", alert=bool(unknown))] if names else []

    def _faces(self, frame: Frame) -> list[_Face] | None:
        """The faces of a frame whose embeddings are fresh; None if the head did not run."""
        output = frame.outputs.get(self._head)
        if output is None or not output.fresh or not isinstance(output.result, (Crops, Embedding)):
            return None
        result = output.result
        if isinstance(result, Embedding):
            whole = np.array([0, 0, frame.width, frame.height], np.float32)
            return self._recognized([result.vector], [whole], [0])
        of = frame.outputs.get(result.of)
        if of is None or not isinstance(of.result, Detections):
            return None
        boxes, ids = of.result.xyxy, of.result.track_id
        found = [(row, each.vector) for row, each in zip(result.row, result.results) if isinstance(each, Embedding)]
        rows = [row for row, _ in found]
        tracks = [0 if ids is None else int(ids[row]) for row in rows]
        return self._recognized([vector for _, vector in found], [boxes[row] for row in rows], tracks)

    def _recognized(self, vectors: list[Float32], boxes: list[Float32], tracks: list[int]) -> list[_Face]:
        usable = [i for i, vector in enumerate(vectors) if vector.any()]  # zeros: there is no embedding
        if not usable:
            return []
        if self._gallery is None or not self._gallery.people:
            return [_Face(boxes[i], tracks[i], vectors[i], None, 0.0) for i in usable]
        try:
            person, similarity = self._gallery.search(np.stack([vectors[i] for i in usable]))
        except ValueError:
            found = f"found embeddings of {len(vectors[0])} values, the gallery has {self._gallery.dimension}"
            raise EdgeError(f"rules.{self._name}: {found}; expected people enrolled with this model") from None
        names = [each.name for each in self._gallery.people]
        return [
            _Face(boxes[i], tracks[i], vectors[i], names[p] if s >= self._threshold else None, float(s))
            for i, p, s in zip(usable, person.tolist(), similarity.tolist())
        ]

    def _add(self, face: _Face, now: Moment) -> None:
        visit = self._visit_of(face, now)
        if visit is None:
            if len(self._visits) >= _MAX_VISITS:
                return
            visit = _Visit(now, now, face, face)
            self._visits.append(visit)
        if now.ns < visit.last.ns:  # the clock went back; a visit is never negative
            visit.first = now
        visit.last, visit.face = now, face
        visit.votes[face.who] += 1
        if (face.who is not None, face.similarity) > (visit.best.who is not None, visit.best.similarity):
            visit.best = face

    def _visit_of(self, face: _Face, now: Moment) -> _Visit | None:
        """The visit that a face of this frame continues: of its track, at its place, or of the same stranger."""
        free = [visit for visit in self._visits if visit.last is not now]
        if face.track_id:
            same = next((visit for visit in free if visit.face.track_id == face.track_id), None)
            return same or self._stranger_like(face, free)
        near = [visit for visit in free if not visit.face.track_id and not _is_another(visit, face)]
        if near:
            overlap = iou(face.box[None], np.stack([visit.face.box for visit in near]))[0]
            best = int(overlap.argmax())
            if overlap[best] >= _MIN_IOU:
                return near[best]
        return self._stranger_like(face, free)

    def _stranger_like(self, face: _Face, visits: list[_Visit]) -> _Visit | None:
        """The visit of an unknown person who looks the same: one who moved fast, or was hidden for a moment."""
        strangers = [visit for visit in visits if visit.key is not None and visit.key[0] == "unknown"]
        if face.who is not None or not strangers:
            return None
        similarity = np.stack([visit.face.vector for visit in strangers]) @ face.vector
        best = int(similarity.argmax())
        return strangers[best] if similarity[best] >= self._threshold else None

    def _decide(self, now: Moment) -> Iterator[Event]:
        """Begin or update the events of the visits that this frame has continued."""
        for visit in self._visits:
            if visit.last is not now:
                continue
            key = self._key_of(visit, now)
            if visit.key is not None and visit.key[0] == "unknown" and key is not None and key[0] == "known":
                if visit.key in self._ledger:
                    yield self._ledger.end(visit.key, now, "recognized")
                visit.key = None
            if visit.key is None and key is not None:
                visit.key = key
                if self._report in ("all", key[0]) and key not in self._ledger:  # else the visit of an earlier track
                    yield self._ledger.begin(key, visit.first, now, self._value(visit))
            elif visit.key is not None and visit.key in self._ledger:
                yield from self._ledger.update(visit.key, now, self._value(visit))

    def _key_of(self, visit: _Visit, now: Moment) -> tuple[str, object] | None:
        """Who a visit is by now: a person on whom most recognized frames agree, or unknown; None if that is open."""
        known = [(n, who) for who, n in visit.votes.items() if who is not None]
        votes, who = max(known, default=(0, None), key=lambda each: each[0])
        if votes >= self._frames and 2 * votes > sum(n for n, _ in known):
            return ("known", who)
        lasted = now.ns - visit.first.ns >= self._unknown_ns and visit.votes[None] >= self._frames
        return ("unknown", id(visit)) if lasted else None

    def _end(self, now: Moment) -> Iterator[Event]:
        """Forget the visits that are over, and end their events unless another visit continues them."""
        over = [visit for visit in self._visits if now.ns - visit.last.ns >= self._grace_ns and visit.last is not now]
        if not over:
            return
        self._visits = [visit for visit in self._visits if all(visit is not each for each in over)]
        continued = {visit.key for visit in self._visits}
        for visit in over:
            if visit.key is not None and visit.key in self._ledger and visit.key not in continued:
                yield self._ledger.end(visit.key, visit.last, "left")

    def _value(self, visit: _Visit) -> dict[str, JsonValue]:
        assert visit.key is not None
        known = visit.key[0] == "known"
        value: dict[str, JsonValue] = {"known": known, "identity": str(visit.key[1]) if known else None}
        width, height = self._size
        value |= {"similarity": round(visit.best.similarity, 4), "track_id": visit.face.track_id}
        return value | {"box": rounded(visit.best.box / np.array([width, height, width, height]))}

    def _reload(self, now: Moment) -> bool:
        """Read the gallery again if its file has changed: people are added and removed while the camera runs."""
        if self._path is None or (self._looked_ns is not None and 0 <= now.ns - self._looked_ns < _RELOAD_NS):
            return False
        self._looked_ns, version = now.ns, _version(self._path)
        if version == self._version:
            return False
        self._version = version
        try:
            self._gallery = gallery.load(self._path, self._key)
        except EdgeError as exc:
            _LOG.error("rules.%s: %s; using the gallery as it was", self._name, exc)
            return False
        return True

    def _forget_removed(self, now: Moment) -> Iterator[Event]:
        """End the events of people who are no longer in the gallery, and forget their votes."""
        names = set() if self._gallery is None else {person.name for person in self._gallery.people}
        for visit in self._visits:
            visit.votes = Counter({who: n for who, n in visit.votes.items() if who is None or who in names})
            if visit.best.who not in names:
                visit.best = replace(visit.best, who=None)
            if visit.key is not None and visit.key[0] == "known" and visit.key[1] not in names:
                if visit.key in self._ledger:
                    yield self._ledger.end(visit.key, now, "removed")
                visit.key = None


def _is_another(visit: _Visit, face: _Face) -> bool:
    """Whether a face is of another known person than its visit: somebody took the place of somebody else."""
    return visit.key is not None and visit.key[0] == "known" and face.who not in (None, visit.key[1])


def _version(path: Path) -> object:
    """Changes whenever the file is replaced; None without a file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
