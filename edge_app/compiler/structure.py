"""The families that a graph's outputs and last layers suggest, in the order in which they are tried.

The decoder of a family then checks whether it can read the outputs. Not here: the choice (families.py), kinds of models
that no family decodes (unsupported.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_app.compiler import faces, priors
from edge_app.compiler.evidence import Evidence
from edge_app.heads import ultraface
from edge_app.heads._yolo_tables import runs

_ZOO_BOX = 64  # channels of the boxes in rknn_model_zoo's exports


@dataclass(frozen=True, slots=True)
class Pattern:
    """A test for the models of a family. why: for the report."""

    family: str
    why: str
    matches: Callable[[Evidence], bool]


def _is_fastestdet(e: Evidence) -> bool:
    shapes = [output.shape for output in e.outputs]
    if any(len(shape) != 4 for shape in shapes):
        return False
    if len(shapes) == 3:
        return sorted(shape[1] or 0 for shape in shapes)[:2] == [1, 4] and len({shape[2:] for shape in shapes}) == 1
    last = e.producers.get(e.net.outputs[0])
    if len(shapes) != 1 or last is None or last.op != "Concat" or len(last.inputs) != 3:
        return False
    kinds = [e.producers[name].op for name in last.inputs if name in e.producers]
    return "Sigmoid" in kinds and "Softmax" in kinds


def _is_map(e: Evidence) -> bool:
    return len(e.outputs) == len(e.maps) == 1 and min(e.maps[0][1:]) > 1


def _is_vector(e: Evidence) -> bool:
    return len(e.outputs) == len(e.vectors) == 1


def _is_probabilities(e: Evidence) -> bool:
    return _is_vector(e) and e.ends_with("Softmax", "Sigmoid", "HardSigmoid")


def _is_embedding(e: Evidence) -> bool:
    kinds = ("Div", "LpNormalization", "BatchNormalization")
    return _is_vector(e) and not e.labels and e.ends_with(*kinds)


def _levels(count: int) -> Callable[[Evidence], bool]:
    """Build a test for graphs whose outputs are all tables, `count` for each number of rows."""

    def matches(e: Evidence) -> bool:
        rows = [rows for rows, _ in e.tables]
        return len(rows) == len(e.outputs) and all(rows.count(n) == count for n in rows)

    return matches


def _has_distributions(e: Evidence) -> bool:
    return _levels(2)(e) and any(columns == 32 for _, columns in e.tables)


def _has_background(e: Evidence) -> bool:
    return _levels(2)(e) and len(e.outputs) == 2 and any(columns == 4 for _, columns in e.tables)


def _is_digits(e: Evidence) -> bool:
    return len(e.outputs) == len(e.maps) == 2


def _is_joined(e: Evidence) -> bool:
    """One output (1, N, C + 32): NanoDet-Plus."""
    return len(e.outputs) == len(e.tables) == 1 and e.tables[0][1] in (112, len(e.labels) + 32 if e.labels else 112)


def _is_line(e: Evidence) -> bool:
    """Class scores of each position along a line: a class for each known character, the blank and perhaps the space.

    A table of selected boxes may have such a shape too, if there are few classes.
    """
    words = sum(len(label) > 1 for label in e.labels)  # a few entries of a dictionary may be longer than a character
    if len(e.outputs) != 1 or not e.labels or 10 * words > len(e.labels) or e.size[0] <= e.size[1]:
        return False
    if any(node.op in ("TopK", "NonMaxSuppression") for node in e.net.nodes):
        return False
    sizes = [size for size in e.outputs[0].shape[1:] if size != 1]
    return len(sizes) == 2 and any(size in (len(e.labels) + 1, len(e.labels) + 2) for size in sizes)


def _is_text_map(e: Evidence) -> bool:
    """One probability per pixel, at the end of transposed convolutions: the head of DB."""
    if len(e.outputs) != 1 or len(e.maps) != 1 or e.maps[0][0] != 1 or min(e.maps[0][1:]) <= 1:
        return False
    last = [node.op for node in e.last()]
    return last[:1] == ["Sigmoid"] and "ConvTranspose" in last


def _is_anomaly(e: Evidence) -> bool:
    """A map that anomalib names."""
    return any("anomaly" in output.name.lower() for output in e.outputs)


def _is_any(_: Evidence) -> bool:
    return True


def _is_instances(e: Evidence) -> bool:
    """A table of boxes, and prototypes of masks."""
    return len(e.outputs) == 2 and len(e.tables) == 1 and len(e.maps) == 1 and e.maps[0][0] <= min(e.tables[0])


def _is_detr(e: Evidence) -> bool:
    """A few hundred queries, each with class scores and a box as center and size."""
    if len(e.outputs) == 3 and len(e.tables) == 1:  # class numbers, corners and scores
        return e.tables[0][0] > 0 and e.tables[0][1] == 4 and e.vectors == [e.tables[0][0]] * 2
    if len(e.outputs) != 2 or len(e.tables) != 2:
        return False
    (rows, first), (others, second) = e.tables
    known = {sum(grid.cells for grid in grids) for grids in runs(e.size)} | {len(ultraface.priors(e.size))}
    return rows == others <= 1000 and 4 in (first, second) and rows not in known


def _is_corner_boxes(e: Evidence) -> bool:
    """The boxes of all cells (1, N, 4) in pixels, and their scores (1, N, C)."""
    return _tables_of_cells(e, by_class=False)


def _is_paddle(e: Evidence) -> bool:
    """The boxes of all cells (1, N, 4) in pixels, and their scores (1, C, N)."""
    return _tables_of_cells(e, by_class=True)


def _tables_of_cells(e: Evidence, *, by_class: bool) -> bool:
    if len(e.outputs) != 2 or len(e.tables) != 2:
        return False
    counts = {sum(grid.cells for grid in grids) for grids in runs(e.size)}
    return any(
        box[1] == 4 and box[0] in counts and box[0] == score[1 if by_class else 0]
        for box, score in (e.tables, e.tables[::-1])
    )


def _is_zoo_pose(e: Evidence) -> bool:
    """A map of boxes and classes for each grid, and the keypoints (K, 3, N) of all cells."""
    *maps, points = e.shapes
    sizes = [shape[1:] for shape in maps if len(shape) == 3 and shape[0] > _ZOO_BOX]
    total = sum(height * width for height, width in sizes)
    return (
        len(sizes) == len(maps) == len(set(sizes)) > 1 and len(points) == 3 and points[1:] in ((3, total), (2, total))
    )


def _is_zoo_instances(e: Evidence) -> bool:
    """Boxes, classes, their sum and mask coefficients for each grid, and prototypes."""
    *maps, prototypes = e.shapes
    if len(maps) % 4 or not maps or len(e.maps) != len(e.outputs):
        return False
    levels = [maps[i : i + 4] for i in range(0, len(maps), 4)]
    return all(
        len({shape[1:] for shape in level}) == 1 and level[0][0] == _ZOO_BOX and level[2][0] == 1
        and level[3][0] == prototypes[0] for level in levels
    )  # fmt: skip


SURE: tuple[Pattern, ...] = (  # certain by their last layers or their number of outputs
    Pattern("anomaly", "a map named anomaly", _is_anomaly),
    Pattern("ctc", "classes at each position of a line: one for each character, and the blank", _is_line),
    Pattern("dbtext", "one probability per pixel after transposed convolutions, as of DB", _is_text_map),
    Pattern("fastestdet", "one grid of objectness (sigmoid), boxes and classes (softmax)", _is_fastestdet),
    Pattern("instances", "a table of boxes with mask coefficients, and prototypes of masks", _is_instances),
    Pattern("pose", "a map for each grid, and the keypoints of all cells", _is_zoo_pose),
    Pattern("instances", "four maps for each grid, and prototypes of masks", _is_zoo_instances),
    Pattern("ssd", "final detections with the names of TensorFlow", priors.is_final),
    Pattern("ssd", "class scores with a background and boxes of a known number of priors", priors.is_ssd),
    Pattern("detr", "class scores and boxes of some hundred queries", _is_detr),
    Pattern("yolonas", "boxes and class scores of all cells in two tables", _is_corner_boxes),
    Pattern("ppyoloe", "boxes, and class scores by class, of all cells in two tables", _is_paddle),
    Pattern("yunet", "classes, objectness, boxes and five landmarks at each stride", _levels(4)),
    Pattern("scrfd", "scores, boxes and perhaps landmarks of one or two anchors at each stride", faces.is_scrfd),
    Pattern("retinaface", "scores with a background, boxes and five landmarks of all priors", faces.is_retinaface),
    Pattern("blazeface", "scores, and boxes with six landmarks relative to anchors", faces.is_blazeface),
    Pattern("yoloface", "boxes, objectness, landmarks arranged as in a face, one class", faces.is_yoloface),
)
LIKELY: tuple[Pattern, ...] = (
    Pattern("nanodet", "class scores and box distributions of 4 x 8 bins at each stride", _has_distributions),
    Pattern("nanodet", "class scores and box distributions of 4 x 8 bins in one output", _is_joined),
    Pattern("ssd", "scores of several classes with a background, and boxes of 4", priors.has_background),
    Pattern("ultraface", "scores with a background class, and boxes of 4", _has_background),
    Pattern("digits", "one grid of class scores and edge distances", _is_digits),
    Pattern("embed", "one vector, normalized at the end", _is_embedding),
    Pattern("classify", "one vector of class probabilities", _is_probabilities),
    Pattern("classify", "one vector, assumed to be class scores before the softmax", _is_vector),
    Pattern("segment", "one map of class scores", _is_map),
    Pattern("yolo", "grids or cells of boxes and class scores", _is_any),
)
