"""The anchors of published YOLO models: for each stride, width and height of each anchor in input pixels.

Sources: ultralytics/yolov5 models/*.yaml, WongKinYiu/yolov7 cfg/training/yolov7.yaml (yolov7-tiny has those of v5),
dog-qiuqiu/Yolo-FastestV2 data/coco.data.
"""

from __future__ import annotations

Anchors = tuple[tuple[float, ...], ...]

_Published = dict[tuple[int, ...], Anchors]

_V5: _Published = {
    (8, 16, 32): ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326)),
    (8, 16, 32, 64): (
        (19, 27, 44, 40, 38, 94), (96, 68, 86, 152, 180, 137), (140, 301, 303, 264, 238, 542),
        (436, 615, 739, 380, 925, 792),
    ),
}  # fmt: skip
_V7: _Published = {(8, 16, 32): ((12, 16, 19, 36, 40, 28), (36, 75, 76, 55, 72, 146), (142, 110, 192, 243, 459, 401))}
_FASTEST: _Published = {
    (16, 32): ((12.64, 19.39, 37.88, 51.48, 55.71, 138.31), (126.91, 78.23, 131.57, 214.55, 279.92, 258.87))
}


def published_anchors(version: str, strides: tuple[int, ...]) -> Anchors:
    """Empty if no published model has these strides. version: the option of the head."""
    known = _V5 | _FASTEST | (_V7 if version == "v7" else {})
    return known.get(strides, ())
