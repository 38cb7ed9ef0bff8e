"""Read codes by zxing-cpp, bar codes at any angle and twice.

zxing-cpp scans a bar code along rows and columns, so it misses those that are turned by more than about 15 degrees; and
noise may give it a wrong text whose check digit is right. So bar codes are searched in turned images too, and a text
counts only if it is read again in the code's own area, straightened. Not here: kinds and texts (codes.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edge_app.frame import UInt8
from edge_app.geometry.polygons import Float64

_FORMATS: Mapping[str, tuple[str, ...]] = {  # by kind, the names of zxing-cpp 2 and 3
    "qr": ("QRCode", "QRCodeModel1", "QRCodeModel2"),
    "micro_qr": ("MicroQRCode",),
    "data_matrix": ("DataMatrix",),
    "aztec": ("Aztec", "AztecCode"),
    "pdf417": ("PDF417", "CompactPDF417"),
    "ean13": ("EAN13", "UPCA"),
    "ean8": ("EAN8",),
    "upce": ("UPCE",),
    "code128": ("Code128",),
    "code39": ("Code39", "Code39Std", "Code39Ext"),
    "code93": ("Code93",),
    "codabar": ("Codabar",),
    "itf": ("ITF", "ITF14"),
    "databar": ("DataBar", "DataBarOmni", "DataBarStk", "DataBarStkOmni", "DataBarExpanded", "DataBarExp"),
}
_MATRIX = ("qr", "micro_qr", "data_matrix", "aztec", "pdf417")  # the others consist of bars
_ANGLES = (30.0, 60.0)  # degrees; each covers 15 to both sides, and as much around its perpendicular
_QUIET = 0.12  # of a bar code's length: the margin on both sides when it is read again
_SCALE, _TALLER, _LOWEST_PX = 1.4, 1.4, 8.0  # of the straightened area: other samples, more rows


@dataclass(frozen=True, slots=True, eq=False)
class Code:
    """A code. corners: (4, 2), image pixels, from its upper left one in the direction of reading."""

    kind: str
    text: str
    corners: Float64


class Reader:
    """Reads some kinds. any_angle: search bar codes in turned images too. Raises ImportError without zxing-cpp."""

    def __init__(self, kinds: Iterable[str], *, any_angle: bool) -> None:
        import zxingcpp

        self._zxing: Any = zxingcpp
        known = {kind: [name for name in _FORMATS[kind] if hasattr(zxingcpp.BarcodeFormat, name)] for kind in kinds}
        self._kinds = [(getattr(zxingcpp.BarcodeFormat, name), kind) for kind, names in known.items() for name in names]
        bars = [name for kind, names in known.items() if kind not in _MATRIX for name in names]
        everything = [name for names in known.values() for name in names]
        self._all = zxingcpp.barcode_formats_from_str(",".join(everything))
        self._bars = zxingcpp.barcode_formats_from_str(",".join(bars)) if bars else None
        self._angles = _ANGLES if any_angle and bars else ()

    def read(self, image: UInt8) -> list[Code]:
        """All codes of a gray image (H, W), each once; of bar codes at one place, the one with the longest text."""
        found: list[Code] = []
        for code in self._candidates(image):
            here = [other for other in found if _same_place(code, other)]
            if any(other.kind in _MATRIX or len(other.text) >= len(code.text) for other in here):
                continue
            if code.kind in _MATRIX or self._confirmed(code, image):
                found = [other for other in found if other not in here] + [code]
        return found

    def _candidates(self, image: UInt8) -> Iterator[Code]:
        yield from self._read(image, self._all)
        for angle in self._angles:
            turn, side = _turn(image, angle)
            turned = cv2.warpAffine(image, turn, (side, side), borderMode=cv2.BORDER_REPLICATE)
            back = cv2.invertAffineTransform(turn)
            for code in self._read(turned.astype(np.uint8, copy=False), self._bars):
                yield Code(code.kind, code.text, code.corners @ back[:, :2].T + back[:, 2])

    def _read(self, image: UInt8, formats: Any, *, upright: bool = False) -> Iterator[Code]:
        mode = self._zxing.TextMode.Plain
        for code in self._zxing.read_barcodes(image, formats=formats, text_mode=mode, try_rotate=not upright):
            kind = next((kind for format_, kind in self._kinds if format_ == code.format), None)
            if kind is not None and code.valid:
                at = code.position
                points = at.top_left, at.top_right, at.bottom_right, at.bottom_left
                yield Code(kind, code.text, np.array([(point.x, point.y) for point in points], np.float64))

    def _confirmed(self, code: Code, image: UInt8) -> bool:
        """Whether a bar code has the same text when its own area is read, straightened and in another scale."""
        area = _straightened(image, code.corners)
        again = () if area is None else self._read(area, self._bars, upright=True)
        return any((other.kind, other.text) == (code.kind, code.text) for other in again)


def _same_place(code: Code, other: Code) -> bool:
    """Whether two codes are one, found twice or in part: the center of one is within the box of the other.

    Matrix codes are found once, so that one of them is at the place of another only if the texts are the same.
    """
    if (code.kind in _MATRIX or other.kind in _MATRIX) and (code.kind, code.text) != (other.kind, other.text):
        return False
    reach = np.maximum(np.ptp(code.corners, axis=0), np.ptp(other.corners, axis=0)) / 2
    return bool((np.abs(code.corners.mean(axis=0) - other.corners.mean(axis=0)) <= reach).all())


def _turn(image: UInt8, angle: float) -> tuple[Float64, int]:
    """The map (2, 3) that turns an image, and the side of the square that holds all of it."""
    height, width = image.shape
    side = int(np.hypot(height, width))
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    turn[:, 2] += (side - width) / 2, (side - height) / 2
    return turn.astype(np.float64, copy=False), side


def _straightened(image: UInt8, corners: Float64) -> UInt8 | None:
    """The area of a bar code with its quiet zones, bars upright; None for corners that enclose no line."""
    left, right = (corners[0] + corners[3]) / 2, (corners[1] + corners[2]) / 2
    length = float(np.hypot(*(right - left)))
    if not 1 <= length <= 4 * max(image.shape):
        return None
    sides = np.hypot(*(corners[3] - corners[0])), np.hypot(*(corners[2] - corners[1]))
    height = max(_LOWEST_PX, float(np.mean(sides))) * _TALLER
    along = (right - left) / length
    down = np.array([-along[1], along[0]])
    origin = left - along * _QUIET * length - down * height / 2
    matrix = np.column_stack([along / _SCALE, down / _SCALE, origin])  # from the area to the image
    size = round((1 + 2 * _QUIET) * length * _SCALE), round(height * _SCALE)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)
