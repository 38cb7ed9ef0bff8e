"""A local camera: a sensor connected to the SoC's image processor, or a webcam.

NV12 is delivered unchanged, MJPEG and YUYV are converted to BGR. Not here: exposure and color of a sensor (on Rockchip:
librkaiq, run by the vendor's rkipc or by rkaiq_3A_server), reconnecting (capture/thread.py).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np

from edge_app.clock import Clock
from edge_app.errors import SourceError
from edge_app.frame import Frame, PixelFormat, UInt8
from edge_app.options import Positive, Range
from edge_app.sources import LiveLimits
from edge_app.sources._jpeg import is_complete
from edge_app.sources._opencv import silence
from edge_app.sources._v4l2 import CapturedBuffer, Device, NegotiatedFormat

Format = Literal["auto", "nv12", "mjpeg", "yuyv"]
Seconds = Annotated[float, Range(0)]

# in order of preference: least CPU time at full resolution first
_FOURCC = {"nv12": "NV12", "mjpeg": "MJPG", "yuyv": "YUYV"}
_ROCKCHIP = "rkisp_mainpath"
_HANG_AFTER_S = 10.0  # for the calls that open a device; waiting for a frame has its own timeout


class Source:
    """`v4l2`. device: `/dev/videoN` or N; `auto` is Rockchip's main path, or else the first device that captures.
    width, height, fps: requested; null keeps the driver's setting. buffers: the driver's. silent_after_s,
    frozen_after_s: see `LiveLimits`.
    """

    class_dir = Path("/sys/class/video4linux")

    def __init__(
        self,
        clock: Clock,
        *,
        device: str = "auto",
        width: Positive | None = None,
        height: Positive | None = None,
        fps: Annotated[float, Range(0.1, 1000)] | None = None,
        format: Format = "auto",  # noqa: A002  (the option's own word)
        buffers: Annotated[int, Range(2, 32)] = 4,
        silent_after_s: Seconds = 5.0,
        frozen_after_s: Seconds = 60.0,
    ) -> None:
        silence()
        self.live = LiveLimits(_HANG_AFTER_S, silent_after_s, silent_after_s, frozen_after_s)
        self._clock = clock
        self._path = f"/dev/video{device}" if device.isdecimal() and device.isascii() else device
        self._size = width, height
        self._fps = fps
        self._format: Format = format
        self._buffers = buffers
        self._device: Device | None = None
        self._negotiated = NegotiatedFormat("", 0, 0, 0)
        self._first_sequence: int | None = None
        self._sequence = -1

    def read(self, timeout_s: float) -> Frame | None:
        try:
            device = self._device or self._open()
            with device.dequeue(timeout_s) as buffer:
                return None if buffer is None else self._frame(buffer)
        except OSError as exc:
            raise SourceError(f"{self._path}: {self._reason(exc)}; expected a camera") from exc

    def close(self) -> None:
        if self._device is not None:
            self._device.close()
            self._device = None

    def _open(self) -> Device:
        if self._path == "auto":
            self._path = _first_camera(self.class_dir)
        device = self._device = Device(self._path)
        offered = device.formats()
        accepted = list(_FOURCC.values()) if self._format == "auto" else [_FOURCC[self._format]]
        fourcc = next((f for f in accepted if f in offered), None)
        if fourcc is None:
            raise SourceError(
                f"{self._path}: offers {' '.join(offered) or 'nothing'}; expected {' or '.join(accepted)}"
            )
        self._negotiated = device.negotiate(fourcc, *self._size)
        if self._negotiated.fourcc != fourcc:
            raise SourceError(f"{self._path}: the driver set {self._negotiated.fourcc}; expected {fourcc}")
        if self._fps is not None:
            with suppress(OSError):  # many drivers support only one frame rate
                device.set_fps(self._fps)
        device.start(self._buffers)
        return device

    def _frame(self, buffer: CapturedBuffer) -> Frame | None:
        """The frame, or None if its data is damaged. Permanent damage is detected by `silent_after_s`."""
        decoded = None if buffer.damaged else _pixels(buffer.data, self._negotiated)
        if decoded is None:
            return None
        if self._first_sequence is None:
            self._first_sequence = buffer.sequence
        self._sequence = max(self._sequence + 1, buffer.sequence - self._first_sequence)
        age_ns = 0 if buffer.stamp_ns is None else max(0, time.monotonic_ns() - buffer.stamp_ns)
        captured_ns, utc_ns = self._clock.monotonic_ns() - age_ns, self._clock.utc_ns() - age_ns
        pixels, format_ = decoded
        return Frame("v4l2", self._sequence, captured_ns, utc_ns, pixels, format_)

    def _reason(self, exc: OSError) -> str:
        """The cause of an error in the user's terms."""
        if exc.errno == errno.ENOENT:
            present = ", ".join(f"{path} ({name})" for path, name in _devices(self.class_dir))
            return f"no such device (found here: {present or 'none'})"
        if exc.errno == errno.ENODEV:
            return "the camera is gone (unplugged?)"
        if exc.errno == errno.ENOTTY:
            return "is not a video capture device"
        if exc.errno == errno.EBUSY:
            holders = ", ".join(_holders(self._path)) or "another program"
            return f"is in use by {holders} (RkLunch-stop.sh stops the vendor's rkipc)"
        if exc.errno == errno.EACCES:
            return "permission denied (is this user in the group video?)"
        return exc.strerror or str(exc)


def _pixels(data: memoryview, format_: NegotiatedFormat) -> tuple[UInt8, PixelFormat] | None:
    """Copy a buffer to bgr or nv12 pixels; None if it is too short or cannot be decoded."""
    raw = np.frombuffer(data, np.uint8)
    if format_.fourcc == "MJPG":
        decoded = cv2.imdecode(raw, cv2.IMREAD_COLOR) if is_complete(data) else None
        return None if decoded is None else (np.asarray(decoded, np.uint8), "bgr")
    rows = format_.height * 3 // 2 if format_.fourcc == "NV12" else format_.height
    line = format_.bytes_per_line or (format_.width if format_.fourcc == "NV12" else format_.width * 2)
    if raw.size < rows * line:
        return None
    lines = raw[: rows * line].reshape(rows, line)
    if format_.fourcc == "NV12":
        return lines[:, : format_.width].copy(), "nv12"
    yuyv = lines[:, : format_.width * 2].reshape(rows, format_.width, 2)
    return np.asarray(cv2.cvtColor(yuyv, cv2.COLOR_YUV2BGR_YUYV), np.uint8), "bgr"


def _devices(class_dir: Path) -> list[tuple[str, str]]:
    """The video devices in sysfs, path and name, sorted by number."""
    devices = []
    for entry in class_dir.glob("video*"):
        number = entry.name.removeprefix("video")
        if number.isdecimal():
            with suppress(OSError):
                devices.append((int(number), (entry / "name").read_text(encoding="utf-8", errors="replace").strip()))
    return [(f"/dev/video{number}", name) for number, name in sorted(devices)]


def _first_camera(class_dir: Path) -> str:
    """Rockchip's main path, or else the first device that captures. Raises SourceError if there is none."""
    devices = _devices(class_dir)
    for path, name in devices:
        if _ROCKCHIP in name:
            return path
    for path, _ in devices:  # some are decoders or deliver a webcam's metadata
        with suppress(OSError):
            Device(path).close()
            return path
    found = ", ".join(f"{path} ({name})" for path, name in devices)
    raise SourceError(f"found no device that captures video among: {found or 'none'}; expected a camera")


def _holders(path: str, proc: Path = Path("/proc")) -> Iterator[str]:
    """Yield the processes that have the device open, as `rkipc (pid 412)`. Only those that this user may inspect."""
    for folder in proc.iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            if any(os.readlink(fd) == os.path.realpath(path) for fd in (folder / "fd").iterdir()):
                yield f"{(folder / 'comm').read_text(encoding='utf-8').strip()} (pid {folder.name})"
