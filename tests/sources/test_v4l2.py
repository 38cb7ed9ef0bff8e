"""v4l2 against a fake driver that implements ioctl() with the kernel's own header.

Covers the struct layouts, the request numbers, the order of calls, every format, and the messages.
Does not cover the behavior of a real sensor or webcam.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.clock import SystemClock
from edge_app.errors import SourceError
from edge_app.sources.v4l2 import Source, _holders

HERE = Path(__file__).parent
COMPILER = shutil.which("cc") or shutil.which("gcc")
READ_SIX = """
import sys
import numpy as np
from edge_app.clock import SystemClock
from edge_app.errors import SourceError
from edge_app.sources.v4l2 import Source

clock = SystemClock()
source = Source(clock, device="/dev/video7", width=100, height=48, fps=5, format=sys.argv[2])
frames = []
try:
    for _ in range(6):  # more than there are buffers
        frame = source.read(1.0)
        if frame is None:
            print("None")
            continue
        age_s = (clock.monotonic_ns() - frame.captured_ns) * 1e-9
        print(frame.sequence, frame.format, *frame.pixels.shape, 0.99 < age_s < 1.5)
        frames.append(frame.pixels)
except SourceError as exc:
    print(exc)
source.close()
source.close()
np.savez(sys.argv[1], *frames)
"""


def error_of(**options):
    class FakeSysfs(Source):
        class_dir = options.pop("class_dir", Path("/nonexistent"))

    with pytest.raises(SourceError) as caught:
        FakeSysfs(SystemClock(), **options).read(0.1)
    return str(caught.value)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    if COMPILER is None or not Path("/usr/include/linux/videodev2.h").exists():
        pytest.skip("needs a C compiler and the kernel's headers")
    library = tmp_path_factory.mktemp("driver") / "fake_camera.so"
    command = [COMPILER, "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, HERE / "fake_camera.c", "-ldl"]
    subprocess.run(command, check=True)
    return library


def read_six(driver, tmp_path, kind, padding=0, offset=0, jpeg=None, format_="auto"):
    """The output lines of six reads, and the pixels of the frames."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(driver),
        "FAKE_CAMERA": kind,
        "FAKE_PADDING": str(padding),
        "FAKE_OFFSET": str(offset),
        "FAKE_JPEG": str(jpeg),
        "PYTHONPATH": str(HERE.parents[1]),
    }
    command = [sys.executable, "-c", READ_SIX, tmp_path / "frames.npz", format_]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    with np.load(tmp_path / "frames.npz") as frames:
        return done.stdout.splitlines(), list(frames.values())


def filled(index, rows, line, offset=0):
    """The bytes with which the fake driver fills frame `index`: (rows, line)."""
    return ((index + offset + np.arange(rows * line)) % 251).astype(np.uint8).reshape(rows, line)


@pytest.mark.parametrize("kind", ["nv12", "nv12 multi"])
@pytest.mark.parametrize("padding", [0, 32])
def test_nv12_is_delivered_without_line_padding(driver, tmp_path, kind, padding):
    printed, frames = read_six(driver, tmp_path, kind, padding)
    assert printed == [f"{2 * i} nv12 72 96 True" for i in range(6)]  # sequence: the driver skipped every other
    for i, pixels in enumerate(frames):
        np.testing.assert_array_equal(pixels, filled(i, 72, 96 + padding)[:, :96])


def test_skips_the_data_offset_of_a_plane(driver, tmp_path):
    _, frames = read_six(driver, tmp_path, "nv12 multi", offset=64)
    np.testing.assert_array_equal(frames[1], filled(1, 72, 96, offset=64))


def test_yuyv_becomes_bgr(driver, tmp_path):
    printed, frames = read_six(driver, tmp_path, "yuyv", padding=64)
    assert printed[0] == "0 bgr 48 96 3 True"
    yuyv = np.ascontiguousarray(filled(2, 48, 96 * 2 + 64)[:, :192]).reshape(48, 96, 2)
    np.testing.assert_array_equal(frames[2], cv2.cvtColor(yuyv, cv2.COLOR_YUV2BGR_YUYV))


def test_mjpeg_becomes_bgr_and_damaged_images_are_dropped(driver, tmp_path):
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 12, 3), np.uint8), (96, 48))
    cv2.imwrite(str(tmp_path / "frame.jpg"), image)
    printed, frames = read_six(driver, tmp_path, "mjpg", jpeg=tmp_path / "frame.jpg")
    assert printed == [f"{2 * i} bgr 48 96 3 True" for i in range(6)]
    np.testing.assert_array_equal(frames[3], cv2.imread(str(tmp_path / "frame.jpg")))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    assert read_six(driver, tmp_path, "mjpg", jpeg=tmp_path / "broken.jpg")[0] == ["None"] * 6


def test_drops_frames_that_the_driver_marks_as_damaged(driver, tmp_path):
    printed, _ = read_six(driver, tmp_path, "nv12 damaged")
    assert [line.split()[0] for line in printed] == ["0", "None", "4", "6", "8", "10"]


def test_unplugged_busy_and_wrong_format_are_one_line_errors(driver, tmp_path):
    printed, frames = read_six(driver, tmp_path, "nv12 multi unplugged")
    assert len(frames) == 2
    assert printed[2:] == ["/dev/video7: the camera is gone (unplugged?); expected a camera"]
    busy = read_six(driver, tmp_path, "nv12 busy")[0]
    assert busy == [
        "/dev/video7: is in use by another program (RkLunch-stop.sh stops the vendor's rkipc); expected a camera"
    ]
    other = read_six(driver, tmp_path, "nv12", format_="mjpeg")[0]
    assert other == ["/dev/video7: offers BG10 NV12; expected MJPG"]


def test_a_missing_device_is_an_error_that_lists_the_existing_ones(tmp_path):
    for number, name in ((11, "rkisp_mainpath"), (2, "USB Camera")):
        (tmp_path / f"video{number}").mkdir()
        (tmp_path / f"video{number}" / "name").write_text(name + "\n")
    message = error_of(device="/dev/video99", class_dir=tmp_path)
    assert message == (
        "/dev/video99: no such device (found here: /dev/video2 (USB Camera), /dev/video11 (rkisp_mainpath));"
        " expected a camera"
    )
    assert "(found here: none)" in error_of(device="/dev/video99")


@pytest.mark.parametrize("name", ["/dev/null", "file"])
def test_rejects_a_path_that_is_not_a_camera(tmp_path, name):
    path = name if name.startswith("/") else str(tmp_path / name)
    Path(path).touch()
    assert error_of(device=path) == f"{path}: is not a video capture device; expected a camera"


def test_auto_prefers_the_main_path_of_rockchip(tmp_path):
    for number, name in ((0, "rkcif"), (98, "rkisp_mainpath"), (99, "rkisp_selfpath")):
        (tmp_path / f"video{number}").mkdir()
        (tmp_path / f"video{number}" / "name").write_text(name + "\n")
    assert error_of(class_dir=tmp_path).startswith("/dev/video98: no such device")


def test_auto_without_a_camera_is_a_one_line_error(tmp_path):
    assert error_of(class_dir=tmp_path) == "found no device that captures video among: none; expected a camera"
    (tmp_path / "video97").mkdir()
    (tmp_path / "video97" / "name").write_text("rkvdec\n")
    assert "among: /dev/video97 (rkvdec);" in error_of(class_dir=tmp_path)


def test_finds_the_processes_that_have_a_device_open(tmp_path):
    held = tmp_path / "device"
    held.touch()
    with held.open() as file, subprocess.Popen(["sleep", "60"], stdin=file) as holder:
        try:
            assert list(_holders(str(held))) == [f"sleep (pid {holder.pid})"]
        finally:
            holder.kill()
    assert list(_holders(str(held))) == []


def test_a_number_is_the_device_of_that_number():
    assert error_of(device="99").startswith("/dev/video99: no such device")
