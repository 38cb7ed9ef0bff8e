"""On a 32-bit ARM Debian under qemu, with Debian's own Python packages: an RV1106 release replays a clip.

The NPU is the tests' fake librknnmrt, built for armhf. tests/backends/README.md lists what that does not prove.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest

from tests.backends import rknn_files
from tests.conftest import PROJECT
from tests.firmware.device import make_keys

import build  # isort: skip  (found through tests.firmware.device)
import slots  # isort: skip
from boards import bundles  # isort: skip

BOARDS = bundles()

PROGRAMS = {
    "debootstrap": "debootstrap", "qemu-arm-static": "qemu-user-static",
    "arm-linux-gnueabihf-gcc": "gcc-arm-linux-gnueabihf",
}  # fmt: skip
MISSING = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: chroot"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs the Debian packages {' '.join(MISSING)}"),
]

PACKAGES = "python3,python3-numpy,python3-opencv,python3-yaml,python3-serial,python3-paho-mqtt"
LIBRARIES = (
    "/usr/lib/arm-linux-gnueabihf/blas:/usr/lib/arm-linux-gnueabihf/lapack"  # as Debian's alternatives would link them
)
FRAMES = 50
GUEST = 0x40_0000_0000  # base address of the guest memory, set for the emulator
TRANSLATED_MB = 8  # MB of translated code that the emulator keeps (settable from qemu 10 on; never freed otherwise)


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A root directory of Debian armhf, packages unpacked without their scripts; cached in $EDGE_APP_TEST_ARMHF."""
    root = tmp_path_factory.mktemp("armhf") / "root"
    kept = os.environ.get("EDGE_APP_TEST_ARMHF")
    if kept and Path(kept).is_dir():
        subprocess.run(["cp", "-a", kept, root], check=True)
    else:
        command = ["debootstrap", "--foreign", "--arch=armhf", "--variant=minbase", f"--include={PACKAGES}", "bookworm"]
        subprocess.run([*command, root, "http://deb.debian.org/debian"], check=True, capture_output=True, timeout=900)
        for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
            package.unlink()
        if kept:
            subprocess.run(["cp", "-a", root, kept], check=True)
    shutil.copy(shutil.which("qemu-arm-static"), root / "qemu")
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/compatible").write_bytes(b"rockchip,rv1106g3-evb\0rockchip,rv1106\0")
    source = PROJECT / "tests/backends/fake_rknnmrt.c"
    compiler = ["arm-linux-gnueabihf-gcc", "-std=gnu11", "-O2", "-shared", "-fPIC"]
    subprocess.run([*compiler, "-o", root / "usr/lib/librknnmrt.so", source, "-lm"], check=True)
    yield root
    shutil.rmtree(root.parent)


@pytest.fixture(scope="module")
def release(board, tmp_path_factory):
    """An RV1106 bundle of this checkout, installed on the board by the updater."""
    model = tmp_path_factory.mktemp("models") / "faces"
    model.mkdir()
    image, output = rknn_files.Image("image", 96, 96), rknn_files.Output("y", 3, 1, 1, zero=-128, scale=0.004)
    rknn_files.write(model / "y.rv1106.rknn", [image], [output])
    (model / "model.yaml").write_text(
        "format: 1\nname: faces\n"
        "input: {width: 96, height: 96, layout: nhwc, dtype: uint8, mean: [0, 0, 0], std: [255, 255, 255]}\n"
        "heads:\n  kind: {family: classify, graph: {rv1106: y.rv1106.rknn}, labels: [a, b, c]}\n"
    )
    keys = make_keys(tmp_path_factory.mktemp("keys"))
    root = board / "userdata/edge-app"
    (root / "keys").mkdir(parents=True)
    shutil.copy(keys["ours"].with_suffix(".pub.pem"), root / "keys/ours.pem")
    (root / "device.json").write_text('{"board": "rv1106", "wipe": []}')
    wheels = tmp_path_factory.mktemp("wheels")
    build.fetch_wheels(BOARDS["rv1106"], "3.11", wheels)
    files = build.release_files(BOARDS["rv1106"], model, wheels, None)
    path = root.parent / "release.bundle"
    path.write_bytes(build.pack(files, {"version": "1.0", "board": "rv1106"}, keys["ours"]))
    print(f"bundle: {path.stat().st_size:,} bytes")
    updater = slots.Slots(root, "boot-1")
    updater.install(path)
    path.unlink()
    return f"/userdata/edge-app/releases/{updater.boot()[0]}"


def emulated(board, *command, python="/usr/bin/python3.11", bounded=True, **environment):
    """Start Python on the board. The emulator cannot start other programs: no shell, no launcher.

    bounded: limit the emulator's own memory, to measure that of the program; it then takes four times as long.
    """
    settings = {
        "PATH": "/usr/bin:/usr/sbin",
        "LD_LIBRARY_PATH": LIBRARIES,
        "HOME": "/",
        "PYTHONDONTWRITEBYTECODE": "1",
        **environment,
    }
    options = _options() if bounded else ()
    return subprocess.Popen(
        ["chroot", str(board), "/qemu", *options, "-B", hex(GUEST), python, *command],
        env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@cache
def _options():
    """Bound the emulator's own memory, which otherwise grows with every block of code that runs."""
    said = subprocess.run(["qemu-arm-static", "--help"], capture_output=True, text=True, check=False).stdout
    return ("-tb-size", str(TRANSLATED_MB)) if "-tb-size" in said else ()


def anonymous_bytes(process):
    """Sample a process until it exits. Returns peak anonymous memory of the program, of both, and the output.

    A board needs the program's memory only; the emulator's grows with the code that has run.
    """
    own = whole = 0
    while process.poll() is None:
        try:
            text = Path(f"/proc/{process.pid}/smaps").read_text()
        except (OSError, ProcessLookupError):
            break
        own, whole = (max(pair) for pair in zip((own, whole), _anonymous(text)))
        time.sleep(0.1)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return own, whole, out


def _anonymous(smaps):
    own = whole = 0
    inside = False
    for line in smaps.splitlines():
        if found := re.match(r"([0-9a-f]+)-[0-9a-f]+ ", line):
            inside = GUEST <= int(found[1], 16) < GUEST + (1 << 32)
        elif line.startswith("Anonymous:"):
            size = int(line.split()[1]) * 1024
            whole += size
            own += size if inside else 0
    return own, whole


def test_replays_a_clip_in_bounded_memory(board, release):
    shutil.copy(PROJECT / "models/digits/sample.mp4", board / "sample.mp4")
    bare, bare_whole, _ = anonymous_bytes(emulated(board, "-c", "import time; time.sleep(3)"))
    began = time.monotonic()
    command = [
        "-m",
        "edge_app.cli",
        "replay",
        "/sample.mp4",
        "-c",
        f"{release}/config.yaml",
        "--max-frames",
        str(FRAMES),
    ]
    used, used_whole, out = anonymous_bytes(emulated(board, *command, PYTHONPATH=f"{release}/lib"))
    seconds = time.monotonic() - began
    lines = [line for line in out.splitlines() if '"kind":"result"' in line.replace(" ", "")]
    print(
        f"{len(lines)} frames in {seconds:.0f} s; "
        f"anonymous memory {(used - bare) / 1e6:.1f} MB beyond python3's {bare / 1e6:.1f}; "
        f"with the emulator's {(used_whole - bare_whole) / 1e6:.1f} beyond {bare_whole / 1e6:.1f}"
    )
    assert len(lines) == FRAMES
    assert '"label"' in lines[0]
    assert used - bare <= 60e6
    if _options():
        assert used_whole - bare_whole <= 60e6


def test_the_updater_runs(board, release):
    shutil.copytree(Path(slots.__file__).parent, board / "updater", ignore=shutil.ignore_patterns("__pycache__"))
    out, err = emulated(board, "-sE", "/updater/slots.py", "--help").communicate(timeout=120)
    assert "mark-good" in out, err


@pytest.fixture(scope="module")
def environment(board):
    """A virtual environment with ncnn, which takes numpy, OpenCV and PyYAML from Debian. Returns its Python."""
    made = emulated(board, "-m", "venv", "--system-site-packages", "--without-pip", "/env", bounded=False)
    _, err = made.communicate(timeout=120)
    assert made.returncode == 0, err
    packages = board / "env/lib/python3.11/site-packages"
    wheel = ["--platform=manylinux_2_31_armv7l", "--python-version=3.11", "--only-binary=:all:", "--no-deps"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *wheel, "--target", packages, "ncnn"]
    subprocess.run(command, check=True, timeout=120)
    shutil.copytree(PROJECT / "edge_app", packages / "edge_app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROJECT / "tests/backends/ncnn_model", board / "ncnn_model")
    shutil.copy(PROJECT / "models/digits/sample.mp4", board / "sample.mp4")
    (board / "ncnn.yaml").write_text(
        "source: {type: video, path: /sample.mp4}\nmodel: {path: /ncnn_model}\nheads: {small: {}}\n"
        'sinks: [{type: jsonl, path: "-"}]\n'
    )
    return "/env/bin/python3"


def test_ncnn_is_chosen_computes_what_the_host_computed_and_replays_the_sample_clip(board, environment):
    script = """
import platform
from pathlib import Path
from edge_app import cli
from edge_app.config import load
from edge_app.inference import golden

for each in golden.replay(load(Path("/ncnn.yaml"))):
    print(platform.machine(), each.verdict, each.engine, each.text)
cli.main(["replay", "/sample.mp4", "-c", "/ncnn.yaml", "--max-frames", "5"])
"""
    out, err = emulated(board, "-c", script, python=environment, bounded=False).communicate(timeout=300)
    lines = out.splitlines()
    vectors, results = ([line for line in lines if line.startswith(word)] for word in ("armv7l ", "{"))
    results = [each for each in map(json.loads, results) if each["kind"] == "result"]
    assert (len(vectors), len(results)) == (2, 5), err
    assert all("segments" in each["heads"]["small"] for each in results)
    assert all(line.startswith("armv7l ok ncnn 1.") for line in vectors), vectors  # fused, and in parts
