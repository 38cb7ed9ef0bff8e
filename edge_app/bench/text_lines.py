"""Compare lines of text that edge-app reads with those of rapidocr, from the files that the package rapidocr contains.

`python -m edge_app.bench.text_lines FOLDER [PAGES]` needs rapidocr. It writes the model folder FOLDER, as the example
in models/README.md has it, and reads pages of eight lines: half as drawn, half photographed, with perspective, shadow,
blur, noise and JPEG. Not here: the heads (heads/dbtext.py, heads/ctc.py).
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_app import registry
from edge_app.backends import Backend
from edge_app.config import HeadCommon, HeadConfig
from edge_app.frame import Crops, Frame, Text, UInt8
from edge_app.inference.stage import Inference
from edge_app.model import manifest

SIDE = 736  # pixels; rapidocr then does not resize the page
_LINES = 8
_DETECTION, _RECOGNITION = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"
_MODEL = f"""format: 1
name: ocr
input: {{width: {SIDE}, height: {SIDE}, color: bgr, mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5]}}
heads:
  lines: {{family: dbtext, graph: {{onnx: {_DETECTION}}}, labels: [text]}}
  text:
    family: ctc
    graph: {{onnx: {_RECOGNITION}}}
    labels: characters.txt
    crops:
      of: lines
      align: quad
      margin: 0
      limit: 50
      input: {{width: 640, height: 48, color: bgr, mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5],
              resize: line, pad: 127}}
"""
_WORDS = (
    "Invoice Total LOT No. EXP 2027-03-15 Serial kg Weight EUR 1,299.00 Net Order #48213 Origin Germany Batch Temp "
    "-18°C Volt 230 V 50/60 Hz Model XR-7 Part B-204/9 Max. 16 A Danger High Voltage Exit Gate 12 Platform 4b Keep dry "
    "Ref: 7741-QX Email a@b.org Fragile Handle with care Room 3.14 Open 8:30-17:45 (Mon) Qty x24 100% cotton"
)


def write_folder(folder: Path) -> None:
    """Write the model folder from rapidocr's files. The characters are in the metadata of its recognition file."""
    import onnxruntime
    import rapidocr

    files = Path(rapidocr.__file__).parent / "models"
    folder.mkdir(parents=True, exist_ok=True)
    for name in (_DETECTION, _RECOGNITION):
        shutil.copy(files / name, folder)
    session = onnxruntime.InferenceSession(files / _RECOGNITION, providers=["CPUExecutionProvider"])
    characters = session.get_modelmeta().custom_metadata_map["character"]
    (folder / "characters.txt").write_text(characters, encoding="utf-8", newline="")
    (folder / "model.yaml").write_text(_MODEL, encoding="utf-8")


def page(rng: np.random.Generator, *, photographed: bool) -> UInt8:
    """A page (SIDE, SIDE, 3) with lines of random words in random fonts and sizes."""
    from PIL import Image, ImageDraw, ImageFont

    fonts = sorted(Path("/usr/share/fonts").rglob("DejaVuS*.ttf"))
    paper = tuple(int(value) for value in rng.integers(200, 256, 3))
    image = Image.new("RGB", (SIDE, SIDE), paper)
    draw = ImageDraw.Draw(image)
    for line in range(_LINES):
        font = ImageFont.truetype(str(rng.choice(np.array(fonts, object))), int(rng.integers(20, 40)))
        text = ""
        while len(text) < rng.integers(8, 26):
            text = f"{text} {rng.choice(_WORDS.split())}".strip()
        while font.getlength(text) > SIDE - 120:
            text = text[:-1]
        place = int(rng.integers(40, 60)), 60 + line * (SIDE - 120) // _LINES
        draw.text(place, text, font=font, fill=tuple(int(value) for value in rng.integers(0, 90, 3)))
    pixels = np.ascontiguousarray(np.array(image)[..., ::-1])
    return _photographed(pixels, rng) if photographed else pixels


def _photographed(image: UInt8, rng: np.random.Generator) -> UInt8:
    corners = np.array([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]], np.float32)
    moved = (corners + rng.uniform(-45, 45, (4, 2))).astype(np.float32)
    warp = cv2.getPerspectiveTransform(corners, moved)
    seen = cv2.warpPerspective(image, warp, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    shade = np.linspace(rng.uniform(0.6, 1), rng.uniform(0.6, 1), SIDE, dtype=np.float32)
    blurred = cv2.GaussianBlur(seen * shade[None, :, None], (0, 0), float(rng.uniform(0.4, 1.0)))
    noisy = np.clip(blurred + rng.normal(0, 4, blurred.shape), 0, 255).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def read(inference: Inference, image: UInt8) -> list[str]:
    """The texts of a page, by edge-app."""
    output = (inference.infer(Frame("page", 0, 0, 0, image)).heads or {})["text"].result
    assert isinstance(output, Crops)
    texts = [result.text for result in output.results if isinstance(result, Text)]
    return [text for text in texts if text]


def compare(folder: Path, pages: int) -> tuple[int, int, list[tuple[str, str]]]:
    """Read pages with both. Returns the lines of rapidocr, how many of them edge-app reads the same, and the others."""
    from rapidocr import RapidOCR

    logging.disable(logging.WARNING)
    theirs: Any = RapidOCR()
    loaded = manifest.load(folder)
    heads = {name: HeadConfig(HeadCommon(), spec.options) for name, spec in loaded.heads.items()}
    rng = np.random.default_rng(0)
    lines = same = 0
    others: list[tuple[str, str]] = []
    backend: Backend = registry.build("backends", "onnx")
    with closing(Inference(loaded, backend, heads)) as inference:
        for number in range(pages):
            image = page(rng, photographed=number >= pages // 2)
            expected = Counter(theirs(image, use_cls=False).txts or ())
            found = Counter(read(inference, image))
            lines += expected.total()
            same += (expected & found).total()
            others += zip((expected - found).elements(), [*(found - expected).elements(), *[""] * _LINES])
    return lines, same, others


def main() -> None:
    """Print the comparison."""
    folder, pages = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 26
    write_folder(folder)
    lines, same, others = compare(folder, pages)
    for expected, found in others:
        print(f"rapidocr {expected!r}, edge-app {found!r}")
    print(f"{same} of {lines} lines are the same: {same / max(1, lines):.1%}")


if __name__ == "__main__":
    main()
