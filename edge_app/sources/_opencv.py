"""Keep OpenCV and FFmpeg from writing to stderr; read the frame size of a capture.

Not a source: the registry skips names with an underscore.
"""

from __future__ import annotations

import os

import cv2

_SILENT = 0  # OpenCV's LOG_LEVEL_SILENT
_FFMPEG_QUIET = "-8"  # FFmpeg's AV_LOG_QUIET


def silence() -> None:
    """Turn off the log output of both; our exceptions report the errors, with the path. Call before the first open.

    OPENCV_LOG_LEVEL and OPENCV_FFMPEG_LOGLEVEL override this.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _FFMPEG_QUIET)
    if "OPENCV_LOG_LEVEL" not in os.environ:
        set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # OpenCV 4, OpenCV 5
        set_level(_SILENT)


def frame_size(capture: cv2.VideoCapture) -> tuple[int, int]:
    """Width and height that an open container or stream declares, before its first frame is decoded."""
    return round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
