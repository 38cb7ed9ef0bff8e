"""The programs that encode a clip, best first, and running one of them with limits of time and size.

PyAV and the program ffmpeg give H.264 in MP4, OpenCV gives VP8 in WebM. Each runs as a separate process: one that
hangs or crashes is killed, and its memory is returned. It has the priority of the thread that starts it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

from edge_app.errors import foreign_last_line

SUFFIXES = (".mp4", ".webm")
PRESET, CRF = "superfast", "27"  # of libx264
_NO_SPACE = "No space left on device"
_START = "import sys; sys.path[:] = {path!r}; from edge_app.clips.encode import main; main()"


class EncodeError(Exception):
    """A clip could not be encoded: one line."""


class EncodeTimeout(EncodeError):
    """The encoder did not finish in time."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """command: the program for an output file and a frame rate; it reads JPEG images from stdin.

    suffix: of its files. framed: whether each image is preceded by its length, 4 bytes, big-endian.
    """

    name: str
    suffix: str
    command: Callable[[Path, float], list[str]]
    framed: bool = False


def available() -> tuple[Encoder, ...]:
    """The encoders of this machine, best first. OpenCV is always one, but may have been built without VP8."""
    encoders = []
    if importlib.util.find_spec("av") is not None:
        encoders.append(Encoder("PyAV", ".mp4", lambda path, rate: _python("pyav", path, rate)))
    program = shutil.which("ffmpeg")
    if program is not None:
        encoders.append(Encoder("ffmpeg", ".mp4", lambda path, rate: _ffmpeg(program, path, rate)))
    opencv = Encoder("OpenCV", ".webm", lambda path, rate: _python("opencv", path, rate), framed=True)
    return (*encoders, opencv)


def run(
    encoder: Encoder,
    images: Iterable[bytes],
    rate: float,
    path: Path,
    *,
    max_bytes: int,
    timeout_s: float,
    started: Callable[[subprocess.Popen[bytes]], None] = lambda _: None,
) -> None:
    """Encode images into a file. Raises EncodeError; the file is then incomplete or missing.

    started: called with the process, so that another thread can kill it.
    """
    command = encoder.command(path.absolute(), rate)
    environment = {**os.environ, "LC_ALL": "C", "OPENCV_LOG_LEVEL": "ERROR"}
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
        )
    except OSError as exc:
        raise EncodeError(f"{encoder.name}: cannot be started: {exc.strerror}") from exc
    started(process)
    timer = Timer(timeout_s, process.kill)
    timer.start()
    try:
        with contextlib.suppress(OSError, ValueError):  # not permitted, or it has ended
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
        errors = _feed(process, images, encoder.framed)
    finally:
        timed_out = not timer.is_alive()
        timer.cancel()
        process.kill()  # no effect after its end
        process.wait()
    if timed_out:
        raise EncodeTimeout(f"{encoder.name}: found no result within {timeout_s:g} s")
    if process.returncode or not path.exists() or not path.stat().st_size:
        text = foreign_last_line(errors.decode(errors="replace"))
        text = text if errors.strip() else f"ended with {process.returncode}"
        raise EncodeError(f"{encoder.name}: {_NO_SPACE if _NO_SPACE.encode() in errors else text}")


def _feed(process: subprocess.Popen[bytes], images: Iterable[bytes], framed: bool) -> bytes:
    """Write the images, wait for the end. Returns what the process wrote to stderr."""
    assert process.stdin is not None
    assert process.stderr is not None
    with process.stderr as stderr:
        try:
            with process.stdin as stdin:
                for image in images:
                    stdin.write(len(image).to_bytes(4, "big") + image if framed else image)
        except BrokenPipeError:  # it has ended; its exit status says why
            pass
        errors = stderr.read()
        process.wait()
    return errors


def _python(name: str, path: Path, rate: float) -> list[str]:
    return [sys.executable, "-c", _START.format(path=sys.path), name, str(path), f"{rate:g}"]


def _ffmpeg(program: str, path: Path, rate: float) -> list[str]:
    source = ["-f", "mjpeg", "-framerate", f"{rate:g}", "-i", "-", "-an"]
    video = ["-c:v", "libx264", "-preset", PRESET, "-crf", CRF, "-pix_fmt", "yuv420p", "-threads", "1"]
    output = ["-movflags", "+faststart", "-f", "mp4", "-y", str(path)]
    return [program, "-hide_banner", "-nostats", "-loglevel", "error", *source, *video, *output]
