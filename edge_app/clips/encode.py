"""The process that encodes a clip with PyAV or OpenCV: JPEG images from stdin to a file.

Arguments: pyav or opencv, the file, frames per second. A failure is one line on stderr and exit code 3.
Not here: the program ffmpeg, which encoders.py runs itself.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from edge_app.clips.encoders import CRF, PRESET
from edge_app.errors import foreign_exception

_VP8_WIDTH = 384  # at most: OpenCV always uses a slow preset of VP8, whose time grows with the number of pixels


def main() -> None:
    """Encode all of stdin."""
    name, path, rate = sys.argv[1:]
    _be_the_first_to_go()
    try:
        {"pyav": _with_pyav, "opencv": _with_opencv}[name](path, float(rate), sys.stdin.buffer)
    except Exception as exc:  # noqa: BLE001  (of a library; the parent logs the line)
        sys.stderr.write(f"{foreign_exception(exc)}\n")
        sys.exit(3)


def _with_pyav(path: str, rate: float, images: BinaryIO) -> None:
    """H.264 in MP4, its index at the start so that it plays while it loads."""
    import av
    from av.video.frame import PictureType

    step = Fraction(rate).limit_denominator(1000)
    with (
        av.open(images, format="mjpeg") as source,
        av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as target,
    ):
        stream: Any = None
        for number, frame in enumerate(source.decode(video=0)):
            if stream is None:
                stream = target.add_stream("libx264", rate=step, options={"preset": PRESET, "crf": CRF})
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                stream.codec_context.thread_count = 1
            image = frame.reformat(format="yuv420p", src_color_range="JPEG", dst_color_range="MPEG")
            image.pts, image.time_base = number, 1 / step
            image.pict_type = PictureType.NONE  # else each would be a key frame, as each JPEG is
            target.mux(stream.encode(image))
        if stream is None:
            raise ValueError("found no image")
        target.mux(stream.encode(None))


def _with_opencv(path: str, rate: float, images: BinaryIO) -> None:
    """VP8 in WebM, at most _VP8_WIDTH wide."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    writer = cv2.VideoWriter()
    written = 0
    for jpeg in _framed(images):
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError("found no JPEG image")
        image = _narrowed(image)
        if not writer.isOpened():
            height, width = image.shape[:2]
            writer.open(path, cv2.VideoWriter.fourcc(*"VP80"), rate, (width, height))
            if not writer.isOpened():
                raise ValueError("found no VP8 encoder; expected an OpenCV with FFmpeg, PyAV, or the program ffmpeg")
        writer.write(image)
        written += 1
    writer.release()
    found = round(cv2.VideoCapture(path).get(cv2.CAP_PROP_FRAME_COUNT))
    if not 0 < written <= found + 1:  # OpenCV reports no error of writing
        raise ValueError(f"the file has {max(0, found)} of {written} images")


def _narrowed(image: Any) -> Any:
    """An image (H, W, 3) uint8, scaled down to _VP8_WIDTH if it is wider. Its sides are even, as VP8 needs them."""
    import cv2

    height, width = image.shape[:2]
    if width <= _VP8_WIDTH:
        return image
    size = (_VP8_WIDTH, max(2, round(height * _VP8_WIDTH / width / 2) * 2))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _framed(images: BinaryIO) -> Iterator[bytes]:
    while len(size := images.read(4)) == 4:
        yield images.read(int.from_bytes(size, "big"))


def _be_the_first_to_go() -> None:
    """If memory is short, the kernel ends this process before others."""
    with contextlib.suppress(OSError):  # not permitted in some containers
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    main()
