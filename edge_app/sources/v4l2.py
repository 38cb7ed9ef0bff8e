"""A camera of this machine: a sensor behind the SoC's image processor, or a webcam.

NV12 is delivered as it comes, MJPEG and YUYV as BGR. A sensor's exposure and colour are somebody else's work (on
Rockchip: librkaiq, run by the vendor's rkipc or by rkaiq_3A_server), and so is reconnecting (capture.py).
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
from edge_app.sources import Live
from edge_app.sources._opencv import silence
from edge_app.sources._v4l2 import Agreed, Device, Taken

Format = Literal["auto", "nv12", "mjpeg", "yuyv"]
Seconds = Annotated[float, Range(0)]

_FOURCC = {"nv12": "NV12", "mjpeg": "MJPG", "yuyv": "YUYV"}  # best first: what costs the CPU least at full size
_ROCKCHIP = "rkisp_mainpath"
_HANG_AFTER_S = 10.0  # of the calls that open a device; waiting for a frame is bounded


class Source:
    """`v4l2`: device `auto` takes Rockchip's main path, else the first that captures. width, height, fps: asked for;
    null keeps what the driver is set to. buffers: the driver's. silent_after_s, frozen_after_s: see `Live`.
    """

    def __init__(
        self,
        clock: Clock,
        class_dir: Path = Path("/sys/class/video4linux"),
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
        self.live = Live(_HANG_AFTER_S, silent_after_s, silent_after_s, frozen_after_s)
        self._clock = clock
        self._class_dir = class_dir
        self._path = device
        self._size = width, height
        self._fps = fps
        self._format: Format = format
        self._buffers = buffers
        self._device: Device | None = None
        self._agreed = Agreed("", 0, 0, 0)
        self._first_sequence: int | None = None
        self._sequence = -1

    def read(self, timeout_s: float) -> Frame | None:
        try:
            device = self._device or self._open()
            with device.take(timeout_s) as taken:
                return None if taken is None else self._frame(taken)
        except OSError as exc:
            raise SourceError(f"{self._path}: {self._why(exc)}; expected a camera") from exc

    def close(self) -> None:
        if self._device is not None:
            self._device.close()
            self._device = None

    def _open(self) -> Device:
        if self._path == "auto":
            self._path = _first_camera(self._class_dir)
        device = self._device = Device(self._path)
        offered = device.formats()
        wanted = list(_FOURCC.values()) if self._format == "auto" else [_FOURCC[self._format]]
        fourcc = next((f for f in wanted if f in offered), None)
        if fourcc is None:
            raise SourceError(f"{self._path}: offers {' '.join(offered) or 'nothing'}; expected {' or '.join(wanted)}")
        self._agreed = device.agree(fourcc, *self._size)
        if self._agreed.fourcc != fourcc:
            raise SourceError(f"{self._path}: the driver gives {self._agreed.fourcc}; expected {fourcc}")
        if self._fps is not None:
            with suppress(OSError):  # many drivers have but one rate
                device.set_fps(self._fps)
        device.start(self._buffers)
        return device

    def _frame(self, taken: Taken) -> Frame | None:
        """The frame, or None where the camera sent damaged data: silence is noticed, one bad frame does not matter."""
        picture = None if taken.damaged else _pixels(taken.data, self._agreed)
        if picture is None:
            return None
        if self._first_sequence is None:
            self._first_sequence = taken.sequence
        self._sequence = max(self._sequence + 1, taken.sequence - self._first_sequence)
        age_ns = 0 if taken.stamp_ns is None else max(0, time.monotonic_ns() - taken.stamp_ns)
        captured_ns, utc_ns = self._clock.monotonic_ns() - age_ns, self._clock.utc_ns() - age_ns
        pixels, format_ = picture
        return Frame("v4l2", self._sequence, captured_ns, utc_ns, pixels, format_)

    def _why(self, exc: OSError) -> str:
        if exc.errno == errno.ENOENT:
            present = ", ".join(f"{path} ({name})" for path, name in _devices(self._class_dir))
            return f"no such device (found here: {present or 'none'})"
        if exc.errno == errno.ENODEV:
            return "the camera is gone (unplugged?)"
        if exc.errno == errno.ENOTTY:
            return "is no device that captures video"
        if exc.errno == errno.EBUSY:
            holders = ", ".join(_holders(self._path)) or "another program"
            return f"is in use by {holders} (the vendor's rkipc is ended by RkLunch-stop.sh)"
        if exc.errno == errno.EACCES:
            return "permission denied (is this user in the group video?)"
        return exc.strerror or str(exc)


def _pixels(data: memoryview, agreed: Agreed) -> tuple[UInt8, PixelFormat] | None:
    """A copy of a buffer as bgr or nv12, or None where it is too short or cannot be decoded."""
    raw = np.frombuffer(data, np.uint8)
    if agreed.fourcc == "MJPG":
        decoded = cv2.imdecode(raw, cv2.IMREAD_COLOR) if raw.size else None
        return None if decoded is None else (np.asarray(decoded, np.uint8), "bgr")
    rows = agreed.height * 3 // 2 if agreed.fourcc == "NV12" else agreed.height
    line = agreed.bytes_per_line or (agreed.width if agreed.fourcc == "NV12" else agreed.width * 2)
    if raw.size < rows * line:
        return None
    lines = raw[: rows * line].reshape(rows, line)
    if agreed.fourcc == "NV12":
        return lines[:, : agreed.width].copy(), "nv12"
    yuyv = lines[:, : agreed.width * 2].reshape(rows, agreed.width, 2)
    return np.asarray(cv2.cvtColor(yuyv, cv2.COLOR_YUV2BGR_YUYV), np.uint8), "bgr"


def _devices(class_dir: Path) -> list[tuple[str, str]]:
    """The video nodes of sysfs: path and name, by number."""
    found = []
    for entry in class_dir.glob("video*"):
        number = entry.name.removeprefix("video")
        if number.isdecimal():
            with suppress(OSError):
                found.append((int(number), (entry / "name").read_text(encoding="utf-8", errors="replace").strip()))
    return [(f"/dev/video{number}", name) for number, name in sorted(found)]


def _first_camera(class_dir: Path) -> str:
    """Rockchip's main path, else the first node that captures. Raises SourceError where there is none."""
    devices = _devices(class_dir)
    for path, name in devices:
        if _ROCKCHIP in name:
            return path
    for path, _ in devices:  # decoders and a webcam's metadata have nodes too
        with suppress(OSError):
            Device(path).close()
            return path
    found = ", ".join(f"{path} ({name})" for path, name in devices)
    raise SourceError(f"no camera: none of the video devices captures (found: {found or 'no device'}); expected one")


def _holders(path: str, proc: Path = Path("/proc")) -> Iterator[str]:
    """Who has the device open: `rkipc (pid 412)`. Only what this user may see."""
    for folder in proc.iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            if any(os.readlink(fd) == os.path.realpath(path) for fd in (folder / "fd").iterdir()):
                yield f"{(folder / 'comm').read_text(encoding='utf-8').strip()} (pid {folder.name})"
