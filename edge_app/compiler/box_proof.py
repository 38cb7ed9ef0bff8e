"""Match the boxes of a head one to one with those of the published file, decoded by its own rule.

The head runs with the options of the manifest. Its threshold is lowered until there are boxes to compare, and boxes are
compared before suppression, where a rounding error cannot replace one by its neighbor; suppression is checked after
that. Not here: the rules (reference/), running the graphs (proof.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app import registry
from edge_app.compiler import mask_proof
from edge_app.compiler.reference import Candidates, overlaps, rotated_overlaps
from edge_app.errors import ModelError
from edge_app.evaluation import match_optimal
from edge_app.frame import Detections
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec

Float64 = NDArray[np.float64]
LEAST_IOU = 0.9
FEW, MANY = 50, 300  # boxes of an image that are compared, if there are enough
_HEAD_LIMIT = 1000  # candidates that a head decodes at most
_SCORE, _LOWEST = 0.01, 1e-5  # tolerance of a score, relative to the image's best; lower scores are never compared
_EDGE_PX, _EDGE = 0.5, 0.005  # tolerance of an edge: pixels, and a fraction of the longer side
_MAX_SCORE_NOISE = 0.05  # the highest tolerance of a score that noise can cause
_MAX_EDGE_NOISE = 4  # the same of an edge, in multiples of its tolerance
_MARGIN = 8192  # pixels around the image in which boxes are compared too; a float32 is exact to 0.001 there
_SLIVER_PX = 0.1  # boxes with a shorter side may be dropped; edges that differ less are equal whatever the IoU
NOISE = 4  # tolerance in multiples of the difference between two runs of the published file


@dataclass(frozen=True, slots=True)
class BoxProof:
    """Result of a comparison over all images.

    compared: boxes above the threshold, of both sides; matched: those with a partner. threshold: the lowest one used;
    lowered: it is below that of the head's options. lowest_iou, score_error, edge_error, landmark_error: of the
    partners; errors in pixels. landmark_error, of landmarks or of the corners of oriented boxes, is None without them.
    masks: number compared; lowest_mask_iou: of them, None without masks.
    """

    compared: int = 0
    matched: int = 0
    threshold: float = 1.0
    lowered: bool = False
    lowest_iou: float = 1.0
    score_error: float = 0.0
    edge_error: float = 0.0
    landmark_error: float | None = None
    masks: int = 0
    lowest_mask_iou: float | None = None


def prove(
    spec: HeadSpec,
    options: Mapping[str, Any],
    outputs: Sequence[Mapping[str, NDArray[Any]]],
    published: Sequence[tuple[Candidates, Candidates]],
    *,
    few: int = FEW,
) -> BoxProof:
    """Compare the head's boxes in each image.

    outputs: of the compiled graph, by image. published: the boxes of two runs of the published file, which differ by
    rounding. few: boxes of an image to compare, even if they score less than the head's threshold. Raises ModelError,
    with one line, if a box has no partner.
    """
    total = BoxProof()
    for values, (reference, again) in zip(outputs, published):
        image = _Image.of(spec, options, (reference, again), few)
        if image is not None:
            total = _sum(total, image.compare(values))
    return total


def _sum(a: BoxProof, b: BoxProof) -> BoxProof:
    landmarks = [error for error in (a.landmark_error, b.landmark_error) if error is not None]
    masks = [iou for iou in (a.lowest_mask_iou, b.lowest_mask_iou) if iou is not None]
    return BoxProof(
        a.compared + b.compared, a.matched + b.matched, min(a.threshold, b.threshold), a.lowered or b.lowered,
        min(a.lowest_iou, b.lowest_iou), max(a.score_error, b.score_error), max(a.edge_error, b.edge_error),
        max(landmarks, default=None), a.masks + b.masks, min(masks, default=None),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Image:
    """The published boxes of one image that can matter, and the tolerances.

    threshold: boxes from here on need a partner, whose score may be lower by `score`. edge: (N,), of each box, pixels.
    """

    spec: HeadSpec
    options: Mapping[str, Any]
    boxes: Candidates
    best: Float64
    threshold: float
    lowered: bool
    score: float
    edge: Float64
    noise: Float64

    @classmethod
    def of(
        cls, spec: HeadSpec, options: Mapping[str, Any], runs: tuple[Candidates, Candidates], few: int
    ) -> _Image | None:
        """None if no box scores enough to be compared."""
        reference, again = runs
        best, ranked = reference.scores.max(axis=1, initial=0), _ranked(reference)
        if not len(ranked) or not ranked[0] >= _LOWEST:
            return None
        noise_of_scores = float(np.abs(ranked - _ranked(again))[:MANY].max())
        score = max(_SCORE * min(float(ranked[0]), 1.0), min(NOISE * noise_of_scores, _MAX_SCORE_NOISE))
        usual = float(_option(spec.family, options, "score"))
        lowest, highest = float(ranked[:few][-1]), float(ranked[: max(few, MANY)][-1])
        threshold = max(min(usual, lowest), 3 * score, _LOWEST, highest)
        if reference.final:
            threshold = max(threshold, float(best.min()) + score)  # rows below were not selected
        rows = np.flatnonzero(best >= threshold - score)
        rows = rows[np.argsort(-best[rows], kind="stable")][: 2 * _HEAD_LIMIT]
        near = _taken(reference, rows)
        side = np.maximum((near.xyxy[:, 2:] - near.xyxy[:, :2]).max(axis=1, initial=0), 0)
        edge, noise = _EDGE_PX + _EDGE * side, np.zeros(len(rows))
        if not reference.final:  # else the rows of the two runs are not in the same order
            noise = np.minimum(NOISE * _difference(near, _taken(again, rows)), _MAX_EDGE_NOISE * edge)
        edge = np.maximum(edge, noise)
        return cls(
            spec, options, near, best[rows], threshold, threshold < usual, score, edge, np.maximum(noise, _SLIVER_PX)
        )

    def compare(self, outputs: Mapping[str, NDArray[Any]]) -> BoxProof:
        """Match the boxes of the head. Raises ModelError if one has no partner."""
        found = self._detections(outputs, {"nms_iou": 1.0})
        self._check_landmarks(found)
        equal, iou = self._admissible(found)
        matches = match_optimal(np.where(equal, np.maximum(iou, 1e-3), 0).astype(np.float32), 1e-4)
        least = self.threshold
        if len(found) >= _HEAD_LIMIT:  # the head has dropped lower ones
            least = max(least, float(found.score.min()) + self.score)
        required = (self.best >= least) & (_shortest(self.boxes.xyxy) >= _SLIVER_PX)
        needed = (found.score >= self.threshold) & (_shortest(found.xyxy) >= _SLIVER_PX)
        lost = np.setdiff1d(np.flatnonzero(required), matches.rows)
        extra = np.setdiff1d(np.flatnonzero(needed), matches.columns)
        compared = int(required.sum() + needed.sum())
        if len(lost) or len(extra):
            raise self._refusal(found, lost, extra, compared)
        self._check_suppression(outputs, found)
        rows, columns = matches.rows, matches.columns
        masks, mask_iou = self._compare_masks(outputs, rows, columns)
        points, marks = None, _marks(found)
        if self.boxes.marks is not None and marks is not None:
            points = float(np.abs(self.boxes.marks[rows] - marks[columns]).max(initial=0))
        scores = np.abs(self.boxes.scores[rows, found.class_id[columns]] - found.score[columns])
        edges = np.abs(self.boxes.xyxy[rows] - found.xyxy[columns])
        lowest = float(iou[rows, columns].min(initial=1))
        return BoxProof(
            compared, compared, self.threshold, self.lowered, lowest, float(scores.max(initial=0)),
            float(edges.max(initial=0)), points, masks, mask_iou,
        )  # fmt: skip

    def _compare_masks(
        self, outputs: Mapping[str, NDArray[Any]], rows: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> tuple[int, float | None]:
        """The number of masks, and their lowest IoU, of the best boxes; rows, columns: of matched boxes."""
        if self.boxes.coefficients is None:
            return 0, None
        head, transform = self._head({"nms_iou": 1.0, "max_detections": mask_proof.MOST, "masks": True})
        found = head.decode_masks(outputs, transform)[1]
        pairs = [(row, column) for row, column in zip(rows.tolist(), columns.tolist()) if column < len(found)]
        return len(pairs), mask_proof.compare(self.spec.name, self.boxes, pairs, found, self.spec.input_size)

    def _detections(self, outputs: Mapping[str, NDArray[Any]], changed: Mapping[str, Any]) -> Detections:
        """The head's boxes in input pixels, also outside of the image."""
        boxes_only = {} if self.boxes.coefficients is None else {"masks": False}
        head, transform = self._head({**boxes_only, **changed})
        found = head.decode(outputs, transform)
        assert isinstance(found, Detections)
        keypoints, corners = found.keypoints, found.corners
        if keypoints is not None:
            keypoints = np.concatenate([keypoints[..., :2] - _MARGIN, keypoints[..., 2:]], axis=2)
        if corners is not None:
            corners = corners - _MARGIN
        return replace(found, xyxy=found.xyxy - _MARGIN, keypoints=keypoints, corners=corners)

    def _head(self, changed: Mapping[str, Any]) -> tuple[Any, Transform]:
        """The head with a low threshold, and a transform by which boxes outside of the image are not clipped."""
        score = max(self.threshold - self.score, _LOWEST / 2)
        known = {option.name for option in registry.options("heads", self.spec.family)}
        changed = {name: value for name, value in changed.items() if name in known}  # not every head suppresses
        options = {**self.options, "score": score, "max_detections": _HEAD_LIMIT, **changed}
        head = registry.build("heads", self.spec.family, self.spec, **options)
        width, height = self.spec.input_size
        image_size = width + 2 * _MARGIN, height + 2 * _MARGIN
        return head, Transform(*image_size, width, height, 1, 1, -_MARGIN, -_MARGIN)

    def _admissible(self, found: Detections) -> tuple[NDArray[np.bool_], Float64]:
        """Which pairs (N, M) of published and found boxes are equal within the tolerances; their IoU."""
        visible = np.clip(self.boxes.xyxy, -_MARGIN, np.tile(self.spec.input_size, 2) + _MARGIN)
        xyxy = found.xyxy.astype(np.float64)
        iou, difference = overlaps(visible, xyxy), np.zeros((len(visible), len(xyxy)))
        for edge in range(4):
            np.maximum(difference, np.abs(visible[:, None, edge] - xyxy[:, edge]), out=difference)
        equal = (difference <= self.edge[:, None]) & ((iou >= LEAST_IOU) | (difference <= self.noise[:, None]))
        scores = np.pad(self.boxes.scores, ((0, 0), (0, max(0, int(found.class_id.max(initial=0)) + 1))))
        of_class = scores[:, found.class_id]
        equal &= np.abs(of_class - found.score) <= self.score
        equal &= of_class >= self.best[:, None] - self.score
        expected, marks = self.boxes.marks, _marks(found)
        if expected is not None and marks is not None:
            if self.boxes.corners is None:  # landmarks are within the image
                expected = np.clip(expected, -_MARGIN, np.array(self.spec.input_size) + _MARGIN)
            apart = np.abs(expected[:, None] - marks[None]).max(axis=(2, 3), initial=0)
            equal &= apart <= self.edge[:, None]
        if self.boxes.visibility is not None and found.keypoints is not None:
            apart = np.abs(self.boxes.visibility[:, None] - found.keypoints[None, :, :, 2]).max(axis=2, initial=0)
            equal &= apart <= max(self.score, _SCORE)
        return equal, iou

    def _check_landmarks(self, found: Detections) -> None:
        expected = 0 if self.boxes.marks is None else self.boxes.marks.shape[1]
        marks = _marks(found)
        decoded = 0 if marks is None else marks.shape[1]
        if len(found) and expected != decoded:
            raise ModelError(
                f"{self.spec.name}: the head gives {decoded} landmarks a box; "
                f"expected {expected}, as in the published file"
            )

    def _check_suppression(self, outputs: Mapping[str, NDArray[Any]], every: Detections) -> None:
        """Kept boxes must not overlap above nms_iou. If the file has selected its boxes, all must be kept."""
        single = {} if _option(self.spec.family, self.options, "blend") is None else {"blend": False}
        kept = self._detections(outputs, single)  # averaged boxes may overlap
        nms_iou = float(_option(self.spec.family, self.options, "nms_iou") or 1)
        if self.boxes.final:
            if len(kept) != len(every):
                raise ModelError(
                    f"{self.spec.name}: the head suppresses {len(every) - len(kept)} of {len(every)} boxes; "
                    "expected none, as the published file has selected them"
                )
            return
        overlap = overlaps(kept.xyxy.astype(np.float64), kept.xyxy.astype(np.float64))
        if kept.corners is not None:
            overlap = rotated_overlaps(kept.corners.astype(np.float64), kept.corners.astype(np.float64))
        if _option(self.spec.family, self.options, "class_aware") is not False:
            overlap *= kept.class_id[:, None] == kept.class_id[None]
        np.fill_diagonal(overlap, 0)
        far = np.tile(self.spec.input_size, 2) + _MARGIN
        overlap[(kept.xyxy <= -_MARGIN).any(axis=1) | (kept.xyxy >= far).any(axis=1)] = 0  # clipped after suppression
        overlap[_shortest(kept.xyxy) < _SLIVER_PX] = 0  # their edges are rounded by moving them into the margin
        if overlap.max(initial=0) > nms_iou + 0.01:
            raise ModelError(
                f"{self.spec.name}: the head keeps boxes with an IoU of {overlap.max():.2f}; "
                f"expected at most {nms_iou:g}: the published file leaves suppression to its user"
            )

    def _refusal(self, found: Detections, lost: NDArray[np.intp], extra: NDArray[np.intp], compared: int) -> ModelError:
        counts = f"{len(lost) + len(extra)} of {compared} boxes differ"
        if len(lost):
            row = int(lost[0])
            example = _text(self.boxes.xyxy[row], self.best[row], int(self.boxes.scores[row].argmax()))
            near = overlaps(self.boxes.xyxy[row : row + 1], found.xyxy.astype(np.float64))[0] if len(found) else []
            nearest = "the head finds nothing there"
            if len(near) and max(near) > 0:
                column = int(np.argmax(near))
                box = _text(found.xyxy[column], found.score[column], int(found.class_id[column]))
                nearest = f"the head's nearest is {box}"
            detail = f"the file has {example}, {nearest}"
        else:
            column = int(extra[0])
            detail = f"only the head has {_text(found.xyxy[column], found.score[column], int(found.class_id[column]))}"
        return ModelError(
            f"{self.spec.name}: {counts} from those of the published file, decoded by its own rule: {detail}; "
            f"expected an IoU of {LEAST_IOU}, the same class and scores within {self.score:.1g}"
        )


def _text(xyxy: NDArray[Any], score: float, class_id: int) -> str:
    return f"[{', '.join(f'{edge:.0f}' for edge in xyxy)}] of class {class_id} with {score:.3g}"


def _option(family: str, options: Mapping[str, Any], name: str) -> Any:
    """The value of a head's option, None if the family does not have it."""
    defaults = {option.name: option.default for option in registry.options("heads", family)}
    return options.get(name, defaults.get(name))


def _ranked(boxes: Candidates) -> Float64:
    """The best score of every box, highest first."""
    return -np.sort(-boxes.scores.max(axis=1, initial=0))


def _taken(boxes: Candidates, rows: NDArray[np.intp]) -> Candidates:
    of_rows = ("xyxy", "scores", "points", "visibility", "corners", "coefficients")
    values = {name: getattr(boxes, name) for name in of_rows}
    return replace(boxes, **{name: array[rows] for name, array in values.items() if array is not None})


def _difference(a: Candidates, b: Candidates) -> Float64:
    """The largest difference of edges and landmarks of each box, (N,)."""
    edges: Float64 = np.abs(a.xyxy - b.xyxy).max(axis=1, initial=0)
    if a.marks is None or b.marks is None:
        return edges
    with_points: Float64 = np.maximum(edges, np.abs(a.marks - b.marks).max(axis=(1, 2), initial=0))
    return with_points


def _marks(found: Detections) -> NDArray[Any] | None:
    """The landmarks, or the corners of oriented boxes, (N, K, 2); None without both."""
    if found.corners is not None:
        return found.corners
    return None if found.keypoints is None else found.keypoints[..., :2]


def _shortest(xyxy: NDArray[Any]) -> NDArray[Any]:
    """The shorter side of each box, (N,)."""
    sides: NDArray[Any] = (xyxy[:, 2:] - xyxy[:, :2]).min(axis=1, initial=np.inf)
    return sides
