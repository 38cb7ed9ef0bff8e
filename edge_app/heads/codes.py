"""codes: QR codes and bar codes, read without a network: by zxing-cpp if it is installed, else by OpenCV.

OpenCV reads qr, ean13, ean8 and upce; zxing-cpp reads all kinds, and more codes that are small, tilted or blurred.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import Any, Literal, get_args

import numpy as np

from edge_app.errors import ConfigError
from edge_app.frame import Detections, UInt8
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._opencv import require_opencv
from edge_app.heads._outputs import Arrays
from edge_app.heads._quads import from_quads
from edge_app.heads._texts import published
from edge_app.heads._zxing import Reader
from edge_app.options import Positive
from edge_app.options.extras import install

Kind = Literal[
    "qr", "micro_qr", "data_matrix", "aztec", "pdf417", "ean13", "ean8", "upce", "code128", "code39", "code93",
    "codabar", "itf", "databar",
]  # fmt: skip
_KINDS: tuple[str, ...] = get_args(Kind)
_ON_REQUEST = ("upce", "codabar", "itf")  # a part of another bar code is read as one
_USUAL = tuple(kind for kind in _KINDS if kind not in _ON_REQUEST)
_OPENCV: Mapping[str, str] = {"EAN_13": "ean13", "UPC_A": "ean13", "EAN_8": "ean8", "UPC_E": "upce"}

_Found = tuple[str, str, Any]  # kind, content, four corners
_Read = Callable[[UInt8], Iterable[_Found]]


class Head:
    """Reads codes. The label is the kind, the text the content; what cannot be decoded is not reported.

    kinds: only these; empty: all that the engine reads, except upce, codabar and itf, which parts of other bar codes
    are taken for. A UPC-A code is `ean13` with a leading 0. bars: at `any` angle, or only those within 15 degrees of
    upright or lying, in a third of the time; zxing-cpp alone. engine: `auto` is `zxing` if zxing-cpp is installed.
    max_detections: per frame, from left to right.
    """

    result_type = Detections
    image: Literal["gray"] = "gray"
    labels = _KINDS
    extra = "codes"

    def __init__(
        self,
        spec: HeadSpec,
        *,
        kinds: tuple[Kind, ...] = (),
        bars: Literal["any", "upright"] = "any",
        engine: Literal["auto", "zxing", "opencv"] = "auto",
        max_detections: Positive = 50,
    ) -> None:
        self._limit = max_detections
        if engine == "auto":
            engine = "zxing" if find_spec("zxingcpp") else "opencv"
        where = f"heads.{spec.name}"
        if engine == "zxing":
            self._read = _zxing(kinds or _USUAL, any_angle=bars == "any")
        else:
            self._read = _opencv(where, kinds)

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Read the codes of a gray image (1, H, W)."""
        (image,) = outputs["image"]
        found = list(self._read(np.ascontiguousarray(image)))
        corners = np.array([quad for _, _, quad in found], np.float32).reshape(-1, 4, 2)
        kinds = [_KINDS.index(kind) for kind, _, _ in found]
        return from_quads(corners, kinds, [published(text) for _, text, _ in found], transform, self._limit)


def _zxing(kinds: Iterable[str], *, any_angle: bool) -> _Read:
    reader = Reader(kinds, any_angle=any_angle)
    return lambda image: ((code.kind, _digits(code.kind, code.text), code.corners) for code in reader.read(image))


def _opencv(where: str, kinds: tuple[Kind, ...]) -> _Read:
    import cv2

    require_opencv(where, cv2.__version__, "barcode", f"or {install('codes')}")
    readable = {"qr", *_OPENCV.values()}
    if unreadable := sorted(set(kinds) - readable):
        found = f"{where}.kinds: found {', '.join(unreadable)}, which OpenCV does not read"
        raise ConfigError(f"{found}; expected some of {', '.join(sorted(readable))}, or {install('codes')}")
    wanted = set(kinds) or readable.intersection(_USUAL)
    qr = cv2.QRCodeDetector() if "qr" in wanted else None
    bars = cv2.barcode.BarcodeDetector() if wanted - {"qr"} else None

    def read(image: UInt8) -> Iterable[_Found]:
        if qr is not None:
            _, texts, quads, _ = qr.detectAndDecodeMulti(image)
            yield from (("qr", text, quad) for text, quad in zip(texts, quads if texts else ()) if text)
        if bars is not None:
            _, texts, types, quads = bars.detectAndDecodeWithType(image)
            for text, type_, quad in zip(texts, types, quads if texts else ()):
                kind = _OPENCV.get(type_, "")
                if text and kind in wanted:
                    yield kind, _digits(kind, text), np.roll(quad, -1, axis=0)  # from the lower left corner

    return read


def _digits(kind: str, text: str) -> str:
    """Content as all engines give it: the 12 digits of a UPC-A code with a 0 in front."""
    return f"0{text}" if kind == "ean13" and len(text) == 12 else text
