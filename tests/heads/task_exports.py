"""Synthetic outputs of heads with further values for each box, in the shapes of real exports (see exports.py)."""

import numpy as np

from tests.heads.exports import (
    CELLS,
    CLASSES,
    GRIDS,
    INPUT,
    Export,
    as_map,
    normal,
    objectness,
    pixel_boxes,
    probabilities,
)
from tests.heads.plain import logit

KEYPOINTS = 5
PROTOTYPES = 8


def _points(rng: np.random.Generator, cells: int) -> np.ndarray:
    """(cells, 3 * KEYPOINTS): x, y in pixels and a probability; some are outside of the input."""
    xy = rng.uniform(-0.1, 1.1, (cells, KEYPOINTS, 2)) * INPUT
    return np.concatenate([xy, rng.random((cells, KEYPOINTS, 1))], 2).reshape(cells, -1).astype(np.float32)


def _angles(rng: np.random.Generator, cells: int) -> np.ndarray:
    return rng.uniform(-0.8, 2.3, (cells, 1)).astype(np.float32)


def _table(rng: np.random.Generator, amount: str, extra: np.ndarray) -> np.ndarray:
    """(1, 4 + C + E, cells)."""
    values = [pixel_boxes(rng, CELLS), probabilities(rng, CELLS, CLASSES, amount), extra]
    return np.ascontiguousarray(np.concatenate(values, 1).T)[None]


def _final(rng: np.random.Generator, amount: str, box: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """(1, 300, 6 + E)."""
    score = np.sort(objectness(rng, 300, amount), axis=0)[::-1]
    values = [box, score, rng.integers(0, CLASSES, (300, 1)), extra]
    return np.concatenate(values, 1).astype(np.float32)[None]


def _corners(rng: np.random.Generator) -> np.ndarray:
    corner = rng.uniform(-20, 200, (300, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 120, (300, 2))], 1)


def _maps(rng: np.random.Generator, amount: str, kind: str, extra: int, bins: int = 16) -> dict[str, np.ndarray]:
    outputs = {}
    for w, h, s in GRIDS:
        box = rng.uniform(0, 6, (w * h, 4)).astype(np.float32) if bins == 1 else normal(rng, w * h, 4 * bins, scale=3)
        outputs[f"boxes{s}"] = as_map(box, w, h)
        outputs[f"scores{s}"] = as_map(logit(probabilities(rng, w * h, CLASSES, amount)), w, h)
        outputs[f"{kind}{s}"] = as_map(normal(rng, w * h, extra), w, h)
    return outputs


def _prototypes(rng: np.random.Generator) -> np.ndarray:
    """Smooth maps (1, P, H, W) of one cell for 4 x 4 pixels, so that masks have areas."""
    y, x = np.mgrid[0 : INPUT[1] // 4, 0 : INPUT[0] // 4]
    waves = [np.sin(x * a + y * b + c + 1) for a, b, c in rng.uniform(-0.15, 0.15, (PROTOTYPES, 3))]
    return np.stack(waves).astype(np.float32)[None]


def pose(rng, amount="some"):
    return Export("pose", {"output0": _table(rng, amount, _points(rng, CELLS))}, options={"keypoints": (KEYPOINTS, 3)})


def pose_transposed(rng, amount="some"):
    case = pose(rng, amount)
    case.outputs = {"output0": np.ascontiguousarray(case.outputs["output0"].transpose(0, 2, 1))}
    return case


def pose_of_two(rng, amount="some"):
    """Keypoints without a probability."""
    points = _points(rng, CELLS).reshape(CELLS, KEYPOINTS, 3)[..., :2].reshape(CELLS, -1)
    return Export("pose", {"output0": _table(rng, amount, points)}, options={"keypoints": (KEYPOINTS, 2)})


def pose_maps(rng, amount="some", version="v11", bins=16):
    outputs = _maps(rng, amount, "points", 3 * KEYPOINTS, bins)
    return Export("pose", outputs, options={"keypoints": (KEYPOINTS, 3), "version": version})


def pose_v26_maps(rng, amount="some"):
    return pose_maps(rng, amount, "v26", 1)


def pose_zoo(rng, amount="some"):
    """Boxes and classes of each grid in one output, and decoded keypoints of all grids: rknn_model_zoo."""
    outputs = {}
    for w, h, s in GRIDS:
        box, scores = normal(rng, w * h, 64, scale=3), logit(probabilities(rng, w * h, CLASSES, amount))
        outputs[f"p{s}"] = as_map(np.concatenate([box, scores], 1), w, h)
    outputs["keypoints"] = np.ascontiguousarray(_points(rng, CELLS).T).reshape(1, KEYPOINTS, 3, CELLS)
    return Export("pose", outputs, options={"keypoints": (KEYPOINTS, 3)})


def pose_v10(rng, amount="some"):
    outputs = {"output0": _final(rng, amount, _corners(rng), _points(rng, 300))}
    return Export("pose", outputs, options={"keypoints": (KEYPOINTS, 3)})


def obb(rng, amount="some"):
    return Export("obb", {"output0": _table(rng, amount, _angles(rng, CELLS))})


def obb_maps(rng, amount="some", version="v11", bins=16):
    return Export("obb", _maps(rng, amount, "angle", 1, bins), options={"version": version})


def obb_v26_maps(rng, amount="some"):
    return obb_maps(rng, amount, "v26", 1)


def obb_v10(rng, amount="some"):
    return Export("obb", {"output0": _final(rng, amount, pixel_boxes(rng, 300), _angles(rng, 300))})


def instances(rng, amount="some"):
    table = _table(rng, amount, normal(rng, CELLS, PROTOTYPES))
    return Export("instances", {"output0": table, "output1": _prototypes(rng)})


def instances_maps(rng, amount="some"):
    outputs = _maps(rng, amount, "masks", PROTOTYPES)
    return Export("instances", {**outputs, "prototypes": _prototypes(rng)})


def instances_zoo(rng, amount="some"):
    """Four outputs for each grid, with the sum of the classes: rknn_model_zoo."""
    outputs = {}
    for w, h, s in GRIDS:
        chance = probabilities(rng, w * h, CLASSES, amount)
        outputs[f"boxes{s}"] = as_map(normal(rng, w * h, 64, scale=3), w, h)
        outputs[f"scores{s}"] = as_map(chance, w, h)
        outputs[f"sum{s}"] = as_map(np.clip(chance.sum(1, keepdims=True), 0, 1), w, h)
        outputs[f"masks{s}"] = as_map(normal(rng, w * h, PROTOTYPES), w, h)
    return Export("instances", {**outputs, "prototypes": _prototypes(rng)})


def instances_v5(rng, amount="some"):
    rows = 3 * CELLS
    values = [pixel_boxes(rng, rows), objectness(rng, rows, amount), probabilities(rng, rows, CLASSES, amount)]
    table = np.concatenate([*values, normal(rng, rows, PROTOTYPES)], 1)[None]
    return Export("instances", {"output0": table, "output1": _prototypes(rng)})


def instances_v5_maps(rng, amount="some"):
    outputs = {}
    for w, h, s in GRIDS:
        anchors = []
        for _ in range(3):
            values = [objectness(rng, w * h, amount), probabilities(rng, w * h, CLASSES, amount)]
            raw = [rng.uniform(0.05, 0.95, (w * h, 4)).astype(np.float32), *values]
            anchors.append(as_map(np.concatenate([*map(logit, raw), normal(rng, w * h, PROTOTYPES)], 1), w, h))
        outputs[f"grid{s}"] = np.concatenate(anchors, 1)
    return Export("instances", {**outputs, "prototypes": _prototypes(rng)})


def instances_v10(rng, amount="some"):
    table = _final(rng, amount, _corners(rng), normal(rng, 300, PROTOTYPES))
    return Export("instances", {"output0": table, "output1": _prototypes(rng)})


def _queries(rng: np.random.Generator) -> np.ndarray:
    """(60, 4): center and size, 0..1; some boxes extend beyond the input."""
    return np.concatenate([rng.uniform(0, 1, (60, 2)), rng.uniform(0.02, 0.4, (60, 2))], 1).astype(np.float32)


def detr(rng, amount="some"):
    logits = logit(probabilities(rng, 60, CLASSES, "all" if amount == "some" else amount))
    return Export("detr", {"logits": logits[None], "pred_boxes": _queries(rng)[None]})


def detr_swapped(rng, amount="some"):
    case = detr(rng, amount)
    case.outputs = {"dets": case.outputs["pred_boxes"], "labels": case.outputs["logits"]}
    return case


def detr_softmax(rng, amount="some"):
    """The original: a softmax with the background as the last class."""
    case = detr(rng, amount)
    background = np.full((1, 60, 1), 3 if amount == "none" else -3, np.float32)
    case.outputs["logits"] = np.concatenate([case.outputs["logits"], background], 2)
    case.options = {"activation": "softmax"}
    return case


def detr_joined(rng, amount="some"):
    scores = probabilities(rng, 60, CLASSES, "all" if amount == "some" else amount)
    return Export("detr", {"output0": np.concatenate([_queries(rng), scores], 1)[None]})


def detr_v10(rng, amount="some"):
    rows = [_queries(rng), objectness(rng, 60, amount), rng.integers(0, CLASSES, (60, 1))]
    return Export("detr", {"output0": np.concatenate(rows, 1).astype(np.float32)[None]})


def detr_official_v10(rng, amount="some"):
    """Class numbers, corners in pixels and scores apart."""
    box = _corners(rng)[:60].astype(np.float32)
    labels = rng.integers(0, CLASSES, (1, 60))
    return Export("detr", {"labels": labels, "boxes": box[None], "scores": objectness(rng, 60, amount).T})


def _corners_of_cells(rng: np.random.Generator) -> np.ndarray:
    box = pixel_boxes(rng, CELLS)
    return np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], 1)[None]


def yolonas(rng, amount="some"):
    return Export("yolonas", {"boxes": _corners_of_cells(rng), "x": probabilities(rng, CELLS, CLASSES, amount)[None]})


def yolonas_swapped(rng, amount="some"):
    case = yolonas(rng, amount)
    case.outputs = dict(reversed(case.outputs.items()))
    return case


def ppyoloe(rng, amount="some"):
    scores = np.ascontiguousarray(probabilities(rng, CELLS, CLASSES, amount).T)[None]
    return Export("ppyoloe", {"boxes": _corners_of_cells(rng), "scores": scores})


DETECTORS = [
    pose, pose_transposed, pose_of_two, pose_maps, pose_v26_maps, pose_zoo, pose_v10, obb, obb_maps, obb_v26_maps,
    obb_v10, instances, instances_maps, instances_zoo, instances_v5, instances_v5_maps, instances_v10, detr,
    detr_swapped, detr_softmax, detr_joined, detr_v10, detr_official_v10, yolonas, yolonas_swapped, ppyoloe,
]  # fmt: skip
