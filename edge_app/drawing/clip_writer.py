"""Write annotated frames as a clip that browsers play.

What OpenCV can encode depends on its FFmpeg: Debian's has H.264; the wheels of PyPI have VP8 and VP9, but no H.264.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_app.drawing.annotation import Labels, annotate
from edge_app.errors import SinkError
from edge_app.frame import Frame, UInt8
from edge_app.rules import Overlay

# Codecs by the ending of the file, best first. VP8 takes 45 ms of CPU time per image of 768 x 576, VP9 310 ms.
_CODECS = {
    ".mp4": ("avc1", "vp09", "mp4v"),
    ".m4v": ("avc1", "vp09", "mp4v"),
    ".mov": ("avc1", "mp4v"),
    ".webm": ("VP80", "VP90"),
    ".mkv": ("H264", "VP80", "mp4v"),
    ".avi": ("MJPG",),
}
_SLOW, _NOT_IN_BROWSERS = "vp09", ("mp4v", "MJPG")
_MIN_SIZE = 16  # pixels; encoders reject less
_MAX_FPS = 120.0
_DEFAULT_FPS = 10.0  # of a clip with one frame
_LOG = logging.getLogger(__name__)


class ClipWriter:
    """Writes annotated frames as a clip. The interval of the first two frames sets the frame rate.

    The first frame sets the size; a frame of another size is scaled to fit, with black bars.
    """

    def __init__(self, path: Path, labels: Labels) -> None:
        self._path = path
        self._labels = labels
        self._pending: list[tuple[int, UInt8]] = []  # time and image of the first frame, until the second one arrives
        self._writer: cv2.VideoWriter | None = None
        self._size = 0, 0
        if not path.parent.is_dir():
            raise SinkError(f"{path}: the folder {path.parent} does not exist", retry=False)
        if path.suffix.lower() not in _CODECS:
            raise SinkError(f"{path}: found the ending '{path.suffix}'; expected {' '.join(_CODECS)}", retry=False)

    def write(self, frame: Frame, overlay: Sequence[Overlay] = ()) -> None:
        """Annotate a frame and append it. Raises SinkError if the file cannot be written."""
        image = annotate(frame, self._labels, overlay)
        if self._writer is not None:
            self._writer.write(_fitted(image, self._size))
            return
        self._pending.append((frame.captured_ns, image))
        if len(self._pending) == 2:
            self._open(1e9 / max(1, self._pending[1][0] - self._pending[0][0]))

    def close(self) -> None:
        """Finish the file. Raises SinkError if it cannot be written. Without a frame, there is no file."""
        if self._writer is None and self._pending:
            self._open(_DEFAULT_FPS)
        if self._writer is not None:
            self._writer.release()

    def _open(self, fps: float) -> None:
        height, width = self._pending[0][1].shape[:2]
        self._size = max(_MIN_SIZE, width + width % 2), max(_MIN_SIZE, height + height % 2)  # even, for 4:2:0
        for codec in _CODECS[self._path.suffix.lower()]:
            code = cv2.VideoWriter.fourcc(*codec)
            self._writer = cv2.VideoWriter(str(self._path), cv2.CAP_FFMPEG, code, min(fps, _MAX_FPS), self._size)
            if self._writer.isOpened():
                break
        else:
            self._writer = None
            self._pending.clear()
            raise SinkError(
                f"{self._path}: cannot be written as a video; expected a new file, .mp4 or .webm", retry=False
            )
        if codec == _SLOW:
            _LOG.warning("%s: OpenCV has no H.264 encoder here; VP9 is slow, .webm is written faster", self._path)
        elif codec in _NOT_IN_BROWSERS:
            _LOG.warning("%s: browsers do not play this format; .webm is played", self._path)
        for _, image in self._pending:
            self._writer.write(_fitted(image, self._size))
        self._pending.clear()


def _fitted(image: UInt8, size: tuple[int, int]) -> UInt8:
    """Scale an image into width and height, with black bars. One that is a pixel smaller is only padded."""
    (width, height), (old_height, old_width) = size, image.shape[:2]
    if (old_width, old_height) == size:
        return image
    scale = min(width / old_width, height / old_height)
    if not (width - old_width in (0, 1) and height - old_height in (0, 1)):
        new = max(1, round(old_width * scale)), max(1, round(old_height * scale))
        image = np.asarray(cv2.resize(image, new, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas
