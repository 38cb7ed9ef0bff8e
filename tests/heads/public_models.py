"""The public models in the data folder, run with their authors' preprocessing, for tests with real outputs."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.geometry.boxes import Transform, fit


@dataclass(frozen=True)
class PublicModel:
    """size: width and height of the input. mean, std: in RGB or BGR order."""

    file: str
    size: tuple[int, int]
    rgb: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def run(self, data: Path, image: np.ndarray) -> dict[str, np.ndarray]:
        """All outputs for a BGR image, stretched to the input."""
        pixels = cv2.resize(image, self.size).astype(np.float32)
        pixels = (pixels[..., ::-1] if self.rgb else pixels) - np.float32(self.mean)
        tensor = np.ascontiguousarray((pixels / np.float32(self.std)).transpose(2, 0, 1))[None]
        session = _session(data / self.file)
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, {session.get_inputs()[0].name: tensor})))

    def cases(self, data: Path, count: int) -> Iterator[tuple[dict[str, np.ndarray], Transform]]:
        """Outputs and transform of `count` COCO images and one frame of the street clip."""
        pictures = [cv2.imread(str(path)) for path in sorted((data / "coco20").glob("*.jpg"))[:count]]
        pictures.append(cv2.VideoCapture(str(data / "vtest.avi")).read()[1])
        for picture in pictures:
            yield self.run(data, picture), fit((picture.shape[1], picture.shape[0]), self.size, "stretch")

    def faces(self, data: Path, folder: str, count: int) -> Iterator[tuple[dict[str, np.ndarray], Transform]]:
        """Outputs and transform of `count` pictures of a folder; those of COCO show people."""
        for path in sorted((data / folder).glob("*.jpg"))[:count]:
            picture = cv2.imread(str(path))
            yield self.run(data, picture), fit((picture.shape[1], picture.shape[0]), self.size, "stretch")


# All pictures take 30 s; the tests of the default tier run a few.
FACE_PICTURES = [
    ("coco20", 10),
    pytest.param("coco20", 20, marks=pytest.mark.long),
    pytest.param("coco128/images", 128, marks=pytest.mark.long),
]


@cache
def _session(file: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # one model lists its weights as inputs, which causes a warning each
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


FASTESTDET = PublicModel("FastestDet.onnx", (352, 352), False, (0, 0, 0), (255, 255, 255))
NANODET = PublicModel("nanodet_m.onnx", (416, 416), False, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395))
ULTRAFACE = PublicModel("version-RFB-320.onnx", (320, 240), True, (127, 127, 127), (128, 128, 128))
SCRFD = PublicModel("scrfd_500m.onnx", (640, 640), True, (127.5, 127.5, 127.5), (128, 128, 128))
YOLOFACE = PublicModel("yolov5n05face.onnx", (640, 640), True, (0, 0, 0), (255, 255, 255))
BLAZEFACE = PublicModel(
    "face_detection_short_range.onnx", (128, 128), True, (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)
)
