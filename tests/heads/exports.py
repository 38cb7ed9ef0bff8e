"""Synthetic outputs of every family, in the shapes of real exports.

An `Export` has the outputs for one image. amount: whether "some", "none" or "all" cells contain an object.
"""

from dataclasses import dataclass, field

import numpy as np

from tests.heads.plain import build, logit

INPUT = (320, 256)  # not square, to detect swapped width and height
GRIDS = [(40, 32, 8), (20, 16, 16), (10, 8, 32)]  # width, height, stride
CELLS = sum(w * h for w, h, _ in GRIDS)
CLASSES = 7


@dataclass
class Export:
    family: str
    outputs: dict[str, np.ndarray]
    classes: int = CLASSES
    options: dict = field(default_factory=dict)
    input_size: tuple[int, int] = INPUT

    def head(self, labeled: bool = True, **options):
        classes = self.classes if labeled else 0
        return build(self.family, self.outputs, self.input_size, classes, **{**self.options, **options})


def probabilities(rng: np.random.Generator, cells: int, classes: int, amount: str) -> np.ndarray:
    """(cells, classes) float32 in 0..1."""
    p = rng.uniform(0.001, 0.05, (cells, classes))
    busy = {"some": rng.random(cells) < 0.04, "none": np.zeros(cells, bool), "all": np.ones(cells, bool)}[amount]
    rows = np.flatnonzero(busy)
    p[rows, rng.integers(0, classes, len(rows))] = rng.uniform(0.2 if amount == "some" else 0.7, 0.99, len(rows))
    return p.astype(np.float32)


def objectness(rng: np.random.Generator, cells: int, amount: str) -> np.ndarray:
    low, high = {"some": (0.001, 0.99), "none": (0.001, 0.1), "all": (0.9, 0.99)}[amount]
    return rng.uniform(low, high, (cells, 1)).astype(np.float32)


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    return rng.normal(0, scale, shape).astype(np.float32)


def pixel_boxes(rng: np.random.Generator, cells: int) -> np.ndarray:
    """(cells, 4): center and size; some boxes extend beyond the input."""
    center = rng.uniform(0, 1, (cells, 2)) * INPUT
    return np.concatenate([center, rng.uniform(5, 120, (cells, 2))], 1).astype(np.float32)


def as_map(values: np.ndarray, width: int, height: int) -> np.ndarray:
    """(cells, C) -> (1, C, H, W)."""
    return np.ascontiguousarray(values.T).reshape(1, -1, height, width)


def digits(rng, amount="some"):
    scores = logit(probabilities(rng, 40 * 32, 10, amount))
    boxes = rng.uniform(0, 6, (40 * 32, 4)).astype(np.float32)
    return Export("digits", {"scores": as_map(scores, 40, 32), "boxes": as_map(boxes, 40, 32)}, 10)


def fastestdet(rng, amount="some"):
    cells = 22 * 20
    values = [objectness(rng, cells, amount), normal(rng, cells, 4), probabilities(rng, cells, 80, amount)]
    return Export("fastestdet", {"758": as_map(np.concatenate(values, 1), 22, 20)}, 80, input_size=(352, 320))


def fastestdet_split(rng, amount="some"):
    case = fastestdet(rng, amount)
    values = case.outputs["758"]
    case.outputs = {"classes": values[:, 5:], "boxes": values[:, 1:5], "objectness": values[:, :1]}
    return case


def nanodet(rng, amount="some"):
    outputs = {f"c{s}": probabilities(rng, w * h, CLASSES, amount)[None] for w, h, s in GRIDS}
    outputs |= {f"b{s}": normal(rng, 1, w * h, 32, scale=2) for w, h, s in GRIDS}
    return Export("nanodet", outputs)


def nanodet_plus(rng, amount="some"):
    cells = CELLS + 5 * 4
    values = np.concatenate([probabilities(rng, cells, CLASSES, amount), normal(rng, cells, 32, scale=2)], 1)
    return Export("nanodet", {"output": values[None]})


def nanodet_plus_split(rng, amount="some"):
    case = nanodet_plus(rng, amount)
    values = case.outputs["output"]
    case.outputs = {"classes": values[..., :CLASSES], "boxes": values[..., CLASSES:]}
    return case


def ultraface(rng, amount="some"):
    face = probabilities(rng, 600, 1, amount)
    corner, size = rng.uniform(-0.1, 0.9, (600, 2)), rng.uniform(0.02, 0.4, (600, 2))
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
    return Export("ultraface", {"scores": np.concatenate([1 - face, face], 1)[None], "boxes": boxes[None]}, 1)


def ssd(rng, amount="some"):
    """Corners, and probabilities with a background."""
    corner, size = rng.uniform(-0.1, 0.9, (900, 2)), rng.uniform(0.02, 0.4, (900, 2))
    boxes = np.concatenate([corner, corner + size], 1).astype(np.float32)
    return Export("ssd", {"scores": with_background(rng, 900, amount)[None], "boxes": boxes[None]})


def ssd_deltas(rng, amount="some"):
    """The flat outputs of MobileNet-SSD, which are for 300 x 300."""
    scores = with_background(rng, 1917, amount)
    outputs = {"mbox_loc": normal(rng, 1, 4 * 1917), "mbox_conf": scores.reshape(1, -1)}
    return Export("ssd", outputs, input_size=(300, 300))


def with_background(rng: np.random.Generator, cells: int, amount: str) -> np.ndarray:
    """(cells, 1 + CLASSES)."""
    p = probabilities(rng, cells, CLASSES, amount)
    return np.concatenate([np.maximum(1 - p.sum(axis=1, keepdims=True), 0), p], 1).astype(np.float32)


def yunet(rng, amount="some"):
    outputs = {}
    for name, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for w, h, s in GRIDS:
            chance = probabilities(rng, w * h, 1, "all" if name == "obj" else amount)
            outputs[f"{name}_{s}"] = chance[None] if channels == 1 else normal(rng, 1, w * h, channels)
    return Export("yunet", outputs, 1)


def scrfd(rng, amount="some"):
    outputs = {f"score_{s}": probabilities(rng, 2 * w * h, 1, amount)[None] for w, h, s in GRIDS}
    outputs |= {f"bbox_{s}": rng.uniform(0, 6, (1, 2 * w * h, 4)).astype(np.float32) for w, h, s in GRIDS}
    outputs |= {f"kps_{s}": normal(rng, 1, 2 * w * h, 10) for w, h, s in GRIDS}
    return Export("scrfd", outputs, 1)


def retinaface(rng, amount="some"):
    face = probabilities(rng, 2 * CELLS, 1, amount)
    outputs = {"conf": np.concatenate([1 - face, face], 1)[None], "loc": normal(rng, 1, 2 * CELLS, 4)}
    return Export("retinaface", {**outputs, "landms": normal(rng, 1, 2 * CELLS, 10)}, 1)


def retinaface_light(rng, amount="some"):
    """The priors of the light models, and logits."""
    cells = 3 * 40 * 32 + 2 * 20 * 16 + 2 * 10 * 8 + 3 * 5 * 4
    conf = np.concatenate([np.zeros((cells, 1), np.float32), logit(probabilities(rng, cells, 1, amount))], 1)
    return Export("retinaface", {"b": normal(rng, 1, cells, 4), "c": conf[None], "p": normal(rng, 1, cells, 10)}, 1)


def blazeface(rng, amount="some"):
    values = np.concatenate([normal(rng, 896, 2), rng.uniform(5, 60, (896, 2)), normal(rng, 896, 12, scale=9)], 1)
    outputs = {"regressors": values.astype(np.float32)[None], "scores": logit(probabilities(rng, 896, 1, amount))[None]}
    return Export("blazeface", outputs, 1, input_size=(128, 128))


def blazeface_split(rng, amount="some"):
    case = blazeface(rng, amount)
    boxes, scores = case.outputs["regressors"], case.outputs["scores"]
    case.outputs = {"b16": boxes[:, 512:], "s8": scores[:, :512], "s16": scores[:, 512:], "b8": boxes[:, :512]}
    return case


def yoloface_maps(rng, amount="some"):
    outputs = {}
    for w, h, s in GRIDS:
        cells = 3 * w * h
        values = [normal(rng, cells, 4), logit(objectness(rng, cells, amount)), normal(rng, cells, 10)]
        values.append(logit(probabilities(rng, cells, 1, amount)))
        outputs[f"stride_{s}"] = np.concatenate(values, 1).reshape(1, 3, h, w, 16)
    return Export("yoloface", outputs, 1)


def yoloface_channels(rng, amount="some"):
    case = yoloface_maps(rng, amount)
    case.outputs = {
        name: np.ascontiguousarray(values.transpose(0, 1, 4, 2, 3)).reshape(1, 48, *values.shape[2:4])
        for name, values in case.outputs.items()
    }
    return case


def yoloface(rng, amount="some"):
    cells = 3 * CELLS
    values = [pixel_boxes(rng, cells), objectness(rng, cells, amount), normal(rng, cells, 10, scale=99)]
    return Export("yoloface", {"out": np.concatenate([*values, probabilities(rng, cells, 1, amount)], 1)[None]}, 1)


def yolo_v5(rng, amount="some"):
    cells = 3 * CELLS
    values = [pixel_boxes(rng, cells), objectness(rng, cells, amount), probabilities(rng, cells, CLASSES, amount)]
    return Export("yolo", {"output0": np.concatenate(values, 1)[None]})


def yolo_v5_maps(rng, amount="some", logits=False):
    outputs = {}
    for w, h, s in GRIDS:
        anchors = []
        for _ in range(3):
            box = rng.uniform(0.05, 0.95, (w * h, 4)).astype(np.float32)
            values = [box, objectness(rng, w * h, amount), probabilities(rng, w * h, CLASSES, amount)]
            anchors.append(as_map(np.concatenate(values, 1), w, h))
        joined = np.concatenate(anchors, 1)
        outputs[f"p{s}"] = logit(joined) if logits else joined
    return Export("yolo", outputs)


def yolo_v5_logits(rng, amount="some"):
    return yolo_v5_maps(rng, amount, logits=True)


def yolo_v5_train(rng, amount="some"):
    case = yolo_v5_maps(rng, amount, logits=True)
    case.outputs = {
        name: np.ascontiguousarray(a.reshape(1, 3, -1, *a.shape[2:]).transpose(0, 1, 3, 4, 2))
        for name, a in case.outputs.items()
    }
    return case


def yolo_v8(rng, amount="some"):
    values = np.concatenate([pixel_boxes(rng, CELLS), probabilities(rng, CELLS, CLASSES, amount)], 1)
    return Export("yolo", {"output0": np.ascontiguousarray(values.T)[None]})


def yolo_v8_transposed(rng, amount="some"):
    case = yolo_v8(rng, amount)
    case.outputs = {"output0": np.ascontiguousarray(case.outputs["output0"].transpose(0, 2, 1))}
    return case


def yolo_v8_split(rng, amount="some"):
    case = yolo_v8(rng, amount)
    values = case.outputs["output0"]
    case.outputs = {"boxes": values[:, :4], "classes": values[:, 4:]}
    return case


def yolo_v8_maps(rng, amount="some", bins=16, total=True):
    outputs = {}
    for w, h, s in GRIDS:
        chance = probabilities(rng, w * h, CLASSES, amount)
        box = rng.uniform(0, 6, (w * h, 4)).astype(np.float32) if bins == 1 else normal(rng, w * h, 4 * bins, scale=3)
        outputs[f"box{s}"] = as_map(box, w, h)
        outputs[f"class{s}"] = as_map(chance, w, h)
        if total:
            outputs[f"sum{s}"] = as_map(np.clip(chance.sum(1, keepdims=True), 0, 1), w, h)
    return Export("yolo", outputs)


def yolo_v8_pairs(rng, amount="some"):
    return yolo_v8_maps(rng, amount, total=False)


def yolo_v6_maps(rng, amount="some"):
    return yolo_v8_maps(rng, amount, bins=1)


def yolo_v8_joined(rng, amount="some"):
    outputs = {}
    for w, h, s in GRIDS:
        box, scores = normal(rng, w * h, 64, scale=3), logit(probabilities(rng, w * h, CLASSES, amount))
        outputs[f"p{s}"] = as_map(np.concatenate([box, scores], 1), w, h)
    return Export("yolo", outputs)


def yolo_v10(rng, amount="some"):
    corner = rng.uniform(-20, 200, (300, 2))
    box = np.concatenate([corner, corner + rng.uniform(5, 120, (300, 2))], 1)
    score = np.sort(objectness(rng, 300, amount), axis=0)[::-1]
    label = rng.integers(0, CLASSES, (300, 1))
    return Export("yolo", {"output0": np.concatenate([box, score, label], 1).astype(np.float32)[None]})


def yolo_x(rng, amount="some"):
    box = np.concatenate([rng.uniform(-0.5, 1.5, (CELLS, 2)), rng.normal(1, 0.7, (CELLS, 2))], 1)
    values = [box, objectness(rng, CELLS, amount), probabilities(rng, CELLS, CLASSES, amount)]
    return Export("yolo", {"output": np.concatenate(values, 1).astype(np.float32)[None]})


def yolo_x_decoded(rng, amount="some"):
    values = [pixel_boxes(rng, CELLS), objectness(rng, CELLS, amount), probabilities(rng, CELLS, CLASSES, amount)]
    cells = [((x + 0.5) * s, (y + 0.5) * s) for w, h, s in GRIDS for y in range(h) for x in range(w)]
    values[0][:, :2] = np.array(cells) + rng.uniform(-20, 20, (CELLS, 2))  # boxes are near their cell
    return Export("yolo", {"output": np.concatenate(values, 1)[None]})


def yolo_x_maps(rng, amount="some"):
    table = yolo_x(rng, amount).outputs["output"][0]
    outputs, first = {}, 0
    for w, h, s in GRIDS:
        outputs[f"p{s}"] = as_map(table[first : first + w * h], w, h)
        first += w * h
    return Export("yolo", outputs)


DETECTORS = [
    digits, fastestdet, fastestdet_split, nanodet, nanodet_plus, nanodet_plus_split, ultraface, ssd, ssd_deltas, yunet,
    yolo_v5,
    yolo_v5_maps, yolo_v5_logits, yolo_v5_train, yolo_v6_maps, yolo_v8, yolo_v8_transposed, yolo_v8_split, yolo_v8_maps,
    yolo_v8_pairs, yolo_v8_joined, yolo_v10, yolo_x, yolo_x_decoded, yolo_x_maps,
    scrfd, retinaface, retinaface_light, blazeface, blazeface_split, yoloface, yoloface_maps, yoloface_channels,
]  # fmt: skip
# the same image in one output and split into several
SPLIT = [
    (fastestdet, fastestdet_split), (nanodet_plus, nanodet_plus_split), (yolo_v8, yolo_v8_split),
    (blazeface, blazeface_split), (yoloface_maps, yoloface_channels),
]  # fmt: skip
