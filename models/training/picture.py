"""Draw the image of the README: a frame of the sample clip at twice its size, with the results drawn in.

`python models/training/picture.py` writes models/digits/sample.png, with the configuration models/digits/sample.yaml.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from edge_app import config, pipeline
from edge_app.drawing import annotate
from edge_app.frame import Detections, Frame, HeadOutput, Segmentation

DIGITS = Path(__file__).parent.parent / "digits"
FRAME = 72
SCALE = 2


def main() -> None:
    """Replay the clip up to the frame, and write the image."""
    settings = config.load(DIGITS / "sample.yaml")
    with pipeline.build(settings.replaced(sinks=()), replay=True) as running:
        frame = None
        while frame is None or frame.sequence < FRAME:
            frame = running.step() or frame
        labels = {name: head.labels for name, head in settings.manifest.heads.items()}
        picture = annotate(enlarged(frame), labels, running.overlay())
    cv2.imwrite(str(DIGITS / "sample.png"), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def enlarged(frame: Frame) -> Frame:
    """The frame and its results, SCALE times as large."""
    size = (frame.width * SCALE, frame.height * SCALE)
    pixels = np.asarray(cv2.resize(frame.image, size, interpolation=cv2.INTER_LANCZOS4), np.uint8)
    heads = {name: _enlarged(output) for name, output in frame.outputs.items()}
    return Frame(frame.source, frame.sequence, frame.captured_ns, frame.utc_ns, pixels, heads=heads)


def _enlarged(output: HeadOutput) -> HeadOutput:
    result = output.result
    if isinstance(result, Detections):
        return replace(output, result=replace(result, xyxy=result.xyxy * SCALE))
    if isinstance(result, Segmentation):
        return replace(output, result=replace(result, polygons=tuple(polygon * SCALE for polygon in result.polygons)))
    return output


if __name__ == "__main__":
    main()
