"""Models that no family decodes although the shapes of their outputs resemble one: one row of KINDS each.

To support a kind, add a family to structure.py and delete the row of the kind.
Sources: the exporters of ultralytics, InsightFace, MediaPipe, PaddleOCR, PaddleDetection, PFLD, MTCNN, CRAFT, DETR,
MiDaS. Not here: single vectors (vectors.py), the families (families.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_app.compiler import faces, vectors
from edge_app.compiler.evidence import Evidence
from edge_app.compiler.metadata import Metadata
from edge_app.errors import foreign_text
from edge_app.heads._yolo_tables import runs

_KEYPOINTS = (16, 17, 68, 98, 106, 133)  # channels of published heatmaps, at stride 4
_TASKS = {
    "depth": "a depth map",
    "semantic": "class numbers instead of class scores",
}  # of ultralytics, in metadata


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of model. name: for the error. answers: the options by which a user says that the model is another kind.

    An answer is `option value` and its meaning: ("family segment", "a mask"). Without answers, the kind is certain.
    """

    name: str
    matches: Callable[[Evidence], bool]
    answers: tuple[tuple[str, str], ...] = ()


def find(evidence: Evidence, given: set[str]) -> Kind | None:
    """The kind of a model, unless an option in `given` says that it is another: `version v5`, `labels`."""
    for kind in FORMS if evidence.metadata.task else (*FORMS, *KINDS):
        answered = any(option in given or option.split()[0] in given for option, _ in kind.answers)
        if not answered and kind.matches(evidence):
            return kind
    return None


def described(kind: Kind, evidence: Evidence) -> str:
    """The error in one line, with the outputs that were found and the options that are expected."""
    if not kind.answers:
        return f"{kind.name}: not supported; found {outputs_text(evidence)}; expected another model"
    options = " or ".join(f"--{option} if it is {meaning}" for option, meaning in kind.answers)
    verdict = ": not supported" if len(kind.answers) == 1 else ""
    return f"{kind.name}{verdict}; found {outputs_text(evidence)}; expected {options}"


def outputs_text(evidence: Evidence) -> str:
    """The names and shapes of the outputs, the first eight of them."""
    texts = [
        f"{foreign_text(output.name, 40)} {'x'.join(str(n) if n else '?' for n in output.shape) or 'scalar'}"
        for output in evidence.outputs
    ]
    more = f" and {len(texts) - 8} more" if len(texts) > 8 else ""
    return ", ".join(texts[:8]) + more


def task(metadata: Metadata) -> str:
    """The name of the task in the metadata of a file, empty if a family decodes it or the metadata has none."""
    if metadata.task in ("", "detect", "classify", "pose", "obb", "segment"):
        return ""
    return _TASKS.get(metadata.task, f"the task '{metadata.task}'")


def cells(e: Evidence) -> set[int]:
    """The numbers of cells of the usual pyramids of detectors."""
    return {sum(grid.cells for grid in grids) for grids in runs(e.size)}


def _selects(e: Evidence) -> bool:
    return "NonMaxSuppression" in e.operations or any("nms" in node.op.lower() for node in e.net.nodes)


def _is_torchvision(e: Evidence) -> bool:
    """Boxes, scores and labels that the graph has selected: SSD, RetinaNet, Faster R-CNN."""
    if not _selects(e) or any("detection" in output.name.lower() for output in e.outputs):  # TensorFlow
        return False
    return sorted(map(len, e.shapes)) == [1, 1, 2] and [columns for _, columns in e.tables] == [4]


def _has_free_sizes(e: Evidence) -> bool:
    return any(0 in shape for shape in e.shapes)


def _is_class_map(e: Evidence) -> bool:
    return len(e.outputs) == 1 and e.ends_with("ArgMax") and len(e.shapes[0]) >= 2


def _is_text(e: Evidence) -> bool:
    """One row of class scores for each position along a line of text."""
    if len(e.outputs) != 1:
        return False
    if len(e.shapes[0]) != 2:
        return any(height == 1 and channels > 1 for channels, height, _ in e.maps)
    (rows, columns), (width, height) = e.shapes[0], e.size
    if "TopK" in e.operations:
        return False  # final detections
    if len(e.metadata.labels) in (columns - 1, columns - 2) and rows <= width:
        return True
    is_short = min(rows, columns) <= width and rows not in _anchored(e) and columns not in _anchored(e)
    return is_short and (width >= 2 * height or (e.ends_with("Softmax", "LogSoftmax") and columns > 10))


def _anchored(e: Evidence) -> set[int]:
    return {n * count for count in cells(e) for n in (1, 3)}


def _is_mediapipe(e: Evidence) -> bool:
    """Scores, and boxes with four or seven keypoints, relative to anchors."""
    widths = faces.widths(e)
    return len(widths) * 2 == len(e.outputs) and set(widths) <= {(1, 12), (1, 18)} and widths != []


def _is_face_grid(e: Evidence) -> bool:
    return faces.is_face_grid(e)


def _is_face_grid_with_scores(e: Evidence) -> bool:
    """Five landmarks with a score each: YOLOv7-face."""
    return faces.is_face_grid(e, (21,))


def _is_final_table(e: Evidence) -> bool:
    """Some hundred selected rows, but not of four corners, a score and a class number."""
    if len(e.outputs) != 1 or len(e.tables) != 1 or "TopK" not in e.operations:
        return False
    rows, columns = e.tables[0]
    return rows <= 1000 and not {rows, columns} & _anchored(e) and columns != 6


def _is_centernet(e: Evidence) -> bool:
    return len(e.maps) == len(e.outputs) >= 3 and len({m[1:] for m in e.maps}) == 1 and [
        m[0] for m in e.maps
    ].count(2) >= 2  # fmt: skip


def _map(e: Evidence) -> tuple[int, int, int] | None:
    """Channels and strides of a single map, stride 0 if the map is larger than the input."""
    if len(e.outputs) != 1 or len(e.maps) != 1 or 0 in e.maps[0]:
        return None
    channels, height, width = e.maps[0]
    return channels, e.size[1] // height, e.size[0] // width


def _is_depth(e: Evidence) -> bool:
    """A map without channels, or one channel of values that are not negative."""
    if len(e.outputs) != 1 or e.outputs[0].dtype != "float32":
        return False
    if len(e.shapes[0]) == 2 and len(e.outputs[0].shape) == 3:
        rows, columns = e.shapes[0]
        return rows * e.size[0] == columns * e.size[1] and e.size[0] // max(1, columns) in (1, 2, 4)
    found = _map(e)
    return found is not None and found[0] == 1 and e.ends_with("Relu", "Clip", "Softplus")


def _is_mtcnn(e: Evidence) -> bool:
    """Box offsets and two class scores, in the last stage also five landmarks, for a crop or for every cell."""
    sizes = sorted([*e.vectors, *(m[0] for m in e.maps if 4 * m[1] > e.size[1])])
    return len(sizes) == len(e.outputs) and sizes in ([2, 4], [2, 4, 10])


def _is_craft(e: Evidence) -> bool:
    """CRAFT: scores of characters and of the links between them at stride 2, and features for another network."""
    return sorted(m[0] for m in e.maps) == [2, 32] and len(e.outputs) == 2 and len({m[1:] for m in e.maps}) == 1


def _is_single_map(e: Evidence) -> bool:
    found = _map(e)
    return found is not None and found[0] == 1 and len(e.labels) != 1


def _is_channels_last(e: Evidence) -> bool:
    """(1, H, W, C), H and W in proportion to the input."""
    if len(e.outputs) != 1 or len(e.shapes[0]) != 3 or len(e.outputs[0].shape) != 4:
        return False
    first, second, third = e.shapes[0]
    width, height = e.size
    square = first * width == second * height and height % max(1, first) == 0
    return square and second * width != third * height and third < second


def _is_enlarged(e: Evidence) -> bool:
    found = _map(e)
    return found is not None and 0 in found[1:]


def _is_picture(e: Evidence) -> bool:
    found = _map(e)
    return found is not None and found == (3, 1, 1) and not e.ends_with(*vectors.PROBABILITIES) and not e.labels


def _is_heatmap(e: Evidence) -> bool:
    found = _map(e)
    return found is not None and found[0] in _KEYPOINTS and found[1:] == (4, 4) and not e.labels


def _is_feature_map(e: Evidence) -> bool:
    found = _map(e)
    return found is not None and found[0] >= 64 and found[0] % 64 == 0 and min(found[1:]) >= 8 and not e.labels


def _is_coarse_grid(e: Evidence) -> bool:
    """Too coarse for a segmentation: the grid of a detector with anchors."""
    found = _map(e)
    return found is not None and min(found[1:]) >= 32


def _is_tokens(e: Evidence) -> bool:
    """The tokens of a transformer, or features without pooling."""
    return len(e.outputs) == 1 and len(e.tables) == 1 and e.ends_with("LayerNormalization")


_SEGMENT = ("family segment", "a map of classes")
_CLASSIFY = ("family classify", "class scores")
FORMS: tuple[Kind, ...] = (  # of models of any task
    Kind(
        "non-maximum suppression in the graph, as of torchvision (of an SSD, export the outputs of `model.head`)",
        _is_torchvision,
    ),
    Kind("non-maximum suppression in the graph (export the model without it)", _selects),
    Kind("outputs whose size depends on what the image shows", _has_free_sizes),
)
KINDS: tuple[Kind, ...] = (  # by their shapes, for files whose metadata does not have the task
    Kind("class numbers instead of class scores (export the model without its ArgMax)", _is_class_map),
    Kind("a MediaPipe detector of palms or people (boxes and keypoints relative to anchors)", _is_mediapipe),
    Kind(
        "a detector whose rows may be landmarks of faces (YOLOv5-face) or the scores of 11 classes",
        _is_face_grid,
        (("family yoloface", "a face detector"), ("labels FILE", "a detector of 11 classes")),
    ),
    Kind(
        "a face detector with landmarks in YOLOv7-face form",
        _is_face_grid_with_scores,
        (("labels FILE", "a detector of 16 classes"),),
    ),
    Kind("CenterNet (heatmaps with sizes and offsets)", _is_centernet),
    Kind(
        "final detections with keypoints, masks or angles, or those of DETR",
        _is_final_table,
        (("family pose", "a pose"), ("family obb", "oriented boxes"), ("family detr", "a DETR detector")),
    ),
    Kind("text recognition (CTC)", _is_text, (("labels FILE", "a file with its characters"),)),
    Kind("a depth map", _is_depth, (_SEGMENT,)),
    Kind("a map with channels last (export it with channels first)", _is_channels_last, (_SEGMENT,)),
    Kind("an image as output (super resolution, denoising, style)", _is_enlarged),
    Kind("an image as output (super resolution, denoising, style)", _is_picture, (_SEGMENT,)),
    Kind("one map of values: depth, text or saliency", _is_single_map, (("family segment", "a mask"),)),
    Kind("heatmaps of keypoints", _is_heatmap, (_SEGMENT,)),
    Kind("a grid of anchors such as YOLOv2's", _is_coarse_grid, (_SEGMENT,)),
    Kind("a feature map", _is_feature_map, (_SEGMENT,)),
    Kind("landmarks (coordinates of points)", vectors.is_landmarks, (_CLASSIFY,)),
    Kind("one of the three networks of MTCNN", _is_mtcnn),
    Kind("text detection (CRAFT)", _is_craft),
    Kind("several vectors, such as attributes", vectors.is_attributes),
    Kind(
        "a vector that may be an embedding or class scores",
        vectors.is_vector_of_unknown_use,
        (("family embed", "an embedding"), _CLASSIFY),
    ),
    Kind("a single number, such as an age", vectors.is_number, (("family classify", "the score of one class"),)),
    Kind(
        "a vector that may be class scores, or values such as a box, angles or points",
        vectors.is_vector_without_softmax,
        (("labels FILE", "class scores"), ("family classify", "class scores without labels")),
    ),
    Kind("the tokens of a transformer", _is_tokens),
)
