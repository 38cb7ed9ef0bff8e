"""Video4Linux capture through ctypes: open a device, negotiate a format, dequeue buffers in order.

OpenCV is not used because Rockchip's `rkisp_mainpath` is multi-planar, which OpenCV supports only since 4.7 (Debian 12
has 4.6), and because OpenCV hides errno and the driver's timestamps and has no wait with a timeout.
Struct layouts: linux/videodev2.h. Native alignment yields the correct sizes on 32-bit and 64-bit systems;
tests/sources/test_v4l2.py checks them against the C compiler. Not a source: pixels are not converted here.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_CAPTURE, _CAPTURE_MULTI = 1, 9  # enum v4l2_buf_type
_MMAP = 1  # enum v4l2_memory
_CAP_CAPTURE, _CAP_CAPTURE_MULTI, _CAP_STREAMING, _CAP_DEVICE_CAPS = 0x1, 0x1000, 0x0400_0000, 0x8000_0000
_FLAG_ERROR, _FLAG_TIMESTAMP_MASK, _FLAG_TIMESTAMP_MONOTONIC = 0x40, 0xE000, 0x2000
_MAX_FORMATS = 64
_MAX_PLANES = 8


class _Capability(ctypes.Structure):
    _fields_ = [
        ("driver", ctypes.c_char * 16),
        ("card", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("version", ctypes.c_uint32),
        ("capabilities", ctypes.c_uint32),
        ("device_caps", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
    ]


class _FormatDescription(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("description", ctypes.c_char * 32),
        ("pixelformat", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 4),
    ]


class _Pix(ctypes.Structure):
    _fields_ = [
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("pixelformat", ctypes.c_uint32),
        ("field", ctypes.c_uint32),
        ("bytesperline", ctypes.c_uint32),
        ("sizeimage", ctypes.c_uint32),
    ]


class _PlaneFormat(ctypes.Structure):
    _fields_ = [
        ("sizeimage", ctypes.c_uint32),
        ("bytesperline", ctypes.c_uint32),
        ("reserved", ctypes.c_uint16 * 6),
    ]


class _PixMulti(ctypes.Structure):
    _fields_ = [
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("pixelformat", ctypes.c_uint32),
        ("field", ctypes.c_uint32),
        ("colorspace", ctypes.c_uint32),
        ("plane_fmt", _PlaneFormat * _MAX_PLANES),
        ("num_planes", ctypes.c_uint8),
    ]


class _FormatUnion(ctypes.Union):
    _fields_ = [
        ("pix", _Pix),
        ("pix_mp", _PixMulti),
        ("raw", ctypes.c_uint8 * 200),
        ("alignment", ctypes.c_void_p),  # v4l2_window contains pointers
    ]


class _Format(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint32), ("fmt", _FormatUnion)]


class _StreamParameters(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("capability", ctypes.c_uint32),
        ("capturemode", ctypes.c_uint32),
        ("numerator", ctypes.c_uint32),
        ("denominator", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 184),
    ]


class _RequestBuffers(ctypes.Structure):
    _fields_ = [
        ("count", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("memory", ctypes.c_uint32),
        ("capabilities", ctypes.c_uint32),
        ("flags", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8 * 3),
    ]


class _PlaneUnion(ctypes.Union):
    _fields_ = [("mem_offset", ctypes.c_uint32), ("userptr", ctypes.c_ulong), ("fd", ctypes.c_int32)]


class _Plane(ctypes.Structure):
    _fields_ = [
        ("bytesused", ctypes.c_uint32),
        ("length", ctypes.c_uint32),
        ("m", _PlaneUnion),
        ("data_offset", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 11),
    ]


class _BufferUnion(ctypes.Union):
    _fields_ = [
        ("offset", ctypes.c_uint32),
        ("userptr", ctypes.c_ulong),
        ("planes", ctypes.POINTER(_Plane)),
        ("fd", ctypes.c_int32),
    ]


class _Buffer(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("bytesused", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("field", ctypes.c_uint32),
        ("seconds", ctypes.c_long),
        ("microseconds", ctypes.c_long),
        ("timecode", ctypes.c_uint32 * 4),
        ("sequence", ctypes.c_uint32),
        ("memory", ctypes.c_uint32),
        ("m", _BufferUnion),
        ("length", ctypes.c_uint32),
        ("reserved2", ctypes.c_uint32),
        ("request_fd", ctypes.c_int32),
    ]


def _request(direction: int, number: int, argument: type) -> int:
    """The _IOC macro of asm-generic/ioctl.h. direction: 1 write, 2 read, 3 both."""
    return direction << 30 | ctypes.sizeof(argument) << 16 | ord("V") << 8 | number


QUERYCAP = _request(2, 0, _Capability)
ENUM_FMT = _request(3, 2, _FormatDescription)
G_FMT = _request(3, 4, _Format)
S_FMT = _request(3, 5, _Format)
REQBUFS = _request(3, 8, _RequestBuffers)
QUERYBUF = _request(3, 9, _Buffer)
QBUF = _request(3, 15, _Buffer)
DQBUF = _request(3, 17, _Buffer)
STREAMON = _request(1, 18, ctypes.c_int)
STREAMOFF = _request(1, 19, ctypes.c_int)
S_PARM = _request(3, 22, _StreamParameters)


@dataclass(frozen=True, slots=True)
class NegotiatedFormat:
    """The format that the driver set. fourcc: such as `NV12`. bytes_per_line: of the first plane, 0 if compressed."""

    fourcc: str
    width: int
    height: int
    bytes_per_line: int


@dataclass(frozen=True, slots=True)
class CapturedBuffer:
    """A filled buffer. data: valid only until the buffer is queued again. stamp_ns: CLOCK_MONOTONIC, or None.

    sequence: the driver's frame count; gaps are frames for which it had no free buffer. damaged: the driver's flag.
    """

    data: memoryview
    stamp_ns: int | None
    sequence: int
    damaged: bool


class Device:
    """An open capture device with one memory plane per frame. Every method raises OSError with the kernel's errno."""

    def __init__(self, path: str) -> None:
        """Open `path`. Raises OSError: ENOTTY if it is not a capture device."""
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._maps: list[mmap.mmap] = []
        self._streaming = False
        try:
            capability = _Capability()
            self._ioctl(QUERYCAP, capability)
            caps = capability.device_caps if capability.capabilities & _CAP_DEVICE_CAPS else capability.capabilities
            if not caps & (_CAP_CAPTURE | _CAP_CAPTURE_MULTI) or not caps & _CAP_STREAMING:
                raise OSError(errno.ENOTTY, "not a capture device")
        except OSError:
            os.close(self._fd)
            raise
        self.card = capability.card.decode("utf-8", "replace")
        self._multi = not caps & _CAP_CAPTURE
        self._type = _CAPTURE_MULTI if self._multi else _CAPTURE

    def formats(self) -> list[str]:
        """The fourcc codes that the device supports, in the driver's order."""
        codes = []
        for index in range(_MAX_FORMATS):
            description = _FormatDescription(index=index, type=self._type)
            try:
                self._ioctl(ENUM_FMT, description)
            except OSError as exc:
                if exc.errno != errno.EINVAL:  # EINVAL: end of the list
                    raise
                break
            codes.append(int(description.pixelformat).to_bytes(4, "little").decode("latin-1"))
        return codes

    def negotiate(self, fourcc: str, width: int | None, height: int | None) -> NegotiatedFormat:
        """Request a format; the driver sets the nearest one that it supports. None keeps the current width, height."""
        request = _Format(type=self._type)
        self._ioctl(G_FMT, request)
        pix = request.fmt.pix_mp if self._multi else request.fmt.pix  # the first four fields are the same
        pix.width, pix.height = width or pix.width, height or pix.height
        pix.pixelformat = int.from_bytes(fourcc.encode("latin-1"), "little")
        pix.field = 0  # V4L2_FIELD_ANY
        if self._multi:
            pix.num_planes = 1
            ctypes.memset(pix.plane_fmt, 0, ctypes.sizeof(pix.plane_fmt))  # the driver computes both sizes
        else:
            pix.bytesperline = pix.sizeimage = 0
        self._ioctl(S_FMT, request)
        if self._multi and pix.num_planes != 1:
            raise OSError(errno.EINVAL, f"{pix.num_planes} memory planes")
        line = pix.plane_fmt[0].bytesperline if self._multi else pix.bytesperline
        code = int(pix.pixelformat).to_bytes(4, "little").decode("latin-1")
        return NegotiatedFormat(code, int(pix.width), int(pix.height), int(line))

    def set_fps(self, fps: float) -> None:
        """Request a frame rate. A driver that supports only one rate may raise OSError."""
        self._ioctl(S_PARM, _StreamParameters(type=self._type, numerator=1000, denominator=round(fps * 1000)))

    def start(self, buffers: int) -> None:
        """Map the buffers, queue all of them and start streaming."""
        request = _RequestBuffers(count=buffers, type=self._type, memory=_MMAP)
        self._ioctl(REQBUFS, request)
        for index in range(request.count):
            with self._buffer(index) as (buffer, plane):
                self._ioctl(QUERYBUF, buffer)
                length, offset = (plane.length, plane.m.mem_offset) if self._multi else (buffer.length, buffer.m.offset)
                self._maps.append(mmap.mmap(self._fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset))
                self._ioctl(QBUF, buffer)
        self._ioctl(STREAMON, ctypes.c_int(self._type))
        self._streaming = True

    @contextmanager
    def dequeue(self, timeout_s: float) -> Iterator[CapturedBuffer | None]:
        """Yield the oldest filled buffer, or None after the timeout. The buffer is queued again when `with` ends."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            yield None
            return
        with self._buffer(0) as (buffer, plane):
            try:
                self._ioctl(DQBUF, buffer)
            except BlockingIOError:
                yield None
                return
            used, skip = (plane.bytesused, plane.data_offset) if self._multi else (buffer.bytesused, 0)
            monotonic = buffer.flags & _FLAG_TIMESTAMP_MASK == _FLAG_TIMESTAMP_MONOTONIC
            stamp_ns = buffer.seconds * 10**9 + buffer.microseconds * 1000 if monotonic else None
            view = memoryview(self._maps[buffer.index])
            try:
                yield CapturedBuffer(view[skip:used], stamp_ns, int(buffer.sequence), bool(buffer.flags & _FLAG_ERROR))
            finally:
                self._ioctl(QBUF, buffer)

    def close(self) -> None:
        """Stop streaming and close the device; safe to call twice."""
        if self._fd < 0:
            return
        try:
            if self._streaming:
                self._ioctl(STREAMOFF, ctypes.c_int(self._type))
        except OSError:  # unplugged
            pass
        finally:
            self._maps.clear()  # each is unmapped when its last view is released
            os.close(self._fd)
            self._fd = -1

    @contextmanager
    def _buffer(self, index: int) -> Iterator[tuple[_Buffer, _Plane]]:
        plane = (_Plane * _MAX_PLANES)()
        buffer = _Buffer(index=index, type=self._type, memory=_MMAP)
        if self._multi:
            buffer.m.planes = plane
            buffer.length = 1
        yield buffer, plane[0]

    def _ioctl(self, request: int, argument: ctypes.Structure | ctypes.c_int) -> None:
        fcntl.ioctl(self._fd, request, argument, True)
