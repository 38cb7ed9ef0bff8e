"""Root file systems by rootfs.sh: the parts that it adds, and an image of this machine's architecture that boots.

The image is built and booted with the mark `long`. Debian packages: mmdebstrap squashfs-tools arch-test.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.firmware.device import FIRMWARE

import build  # isort: skip  (found through tests.firmware.device)

PROGRAMS = {"mksquashfs": "squashfs-tools", "arch-test": "arch-test", "mmdebstrap": "mmdebstrap"}
MISSING = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners, mounts"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs the Debian packages {' '.join(MISSING)}"),
]
CONFIG = """
device: {id: cam-1, state_dir: ../data}
source: {type: video, path: /data/sample.mp4, pace: realtime, loop: true}
model: {path: ../current/models/digits, backend: onnx}
sinks: [{type: jsonl, path: "-"}]
"""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rootfs")
    build.make_key(folder / "key.pem")
    (folder / "config.yaml").write_text(CONFIG)
    return folder


def staged(folder, *more):
    stage = folder / "stage"
    if not stage.exists():
        command = [PROJECT / "deploy.sh", "--stage", stage, "--board", "amd64", "--key", folder / "key.pem", *more]
        subprocess.run(command, check=True, env=os.environ | {"PYTHON": sys.executable}, capture_output=True)
    return stage


def rootfs(*arguments, path=None):
    environment = os.environ | ({"PATH": path} if path else {})
    command = [FIRMWARE / "rootfs.sh", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def unpacked(image, folder):
    command = ["unsquashfs", "-quiet", "-no-progress", "-dest", folder, image]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def base(tmp_path):
    """A tar with what customize changes, instead of a Debian."""
    root = tmp_path / "base"
    for name in (
        "etc/udev/rules.d",
        "etc/systemd/system",
        "usr/lib/systemd/system",
        "usr/lib/python3",
        "root",
        "var",
        "usr/lib/python3.11/__pycache__",
        "usr/share/doc",
        "usr/include",
        "boot",
        "proc",
        "sys",
        "dev",
        "tmp",
        "run",
    ):
        (root / name).mkdir(parents=True)  # fmt: skip
    (root / "usr/lib/systemd/system/systemd-networkd.service").write_text("[Install]\nWantedBy=multi-user.target\n")
    with tarfile.open(tmp_path / "base.tar", "w") as archive:
        archive.add(root, ".")
    return tmp_path / "base.tar"


def vendor(folder, library=b"glibc"):
    for name, data in {
        "usr/lib/librknnmrt.so": library, "lib/modules/5.10/sensor.ko": b"ko", "oem/usr/bin/rkaiq_3A_server": b"3a",
        "oem/usr/lib/librkaiq.so": b"aiq", "usr/bin/unrelated": b"x", "etc/passwd": b"root::0:0::/:/bin/sh\n",
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_the_image_has_the_release_as_a_seed_no_identity_and_the_vendors_parts(workshop, base, tmp_path):
    stage = staged(workshop, "--no-wheels")
    done = rootfs(
        "--arch", "armhf", "--base", base, "--stage", stage, "--out", tmp_path, "--vendor", vendor(tmp_path / "vendor")
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    root = unpacked(tmp_path / "rootfs-armhf.squashfs", tmp_path / "root")
    assert (root / "etc/machine-id").read_bytes() == b""
    assert not list(root.rglob("*host_key*"))
    assert not [path for path in root.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert str((root / "opt/edge-app").readlink()) == "/data/edge-app"
    assert str((root / "root").readlink()) == "data/root"
    assert (root / "usr/share/edge-app/seed/release.bundle").is_file()
    wants = root / "etc/systemd/system/multi-user.target.wants"
    assert {"edge-app.service", "camera-seed.service", "dropbear.service", "systemd-networkd.service"} <= {
        path.name for path in wants.iterdir()
    }
    assert (root / "etc/systemd/system/timers.target.wants/edge-app-update.timer").is_symlink()
    assert (root / "usr/lib/librknnmrt.so").read_bytes() == b"glibc"
    assert (root / "lib/modules/5.10/sensor.ko").is_file()
    assert {path.name for path in (root / "usr/lib/vendor").iterdir()} >= {"rkaiq_3A_server", "librkaiq.so"}
    assert not (root / "usr/bin/unrelated").exists()
    assert not (root / "etc/passwd").exists()
    for name in ("usr/share/doc", "usr/include", "boot", "usr/lib/python3.11/__pycache__"):
        assert not (root / name).exists()


def test_a_vendor_library_for_uclibc_is_reported_and_left_out(workshop, base, tmp_path):
    folder = vendor(tmp_path / "vendor", b"\x7fELF libc.so.0\0")
    image = tmp_path / "vendor.squashfs"
    subprocess.run(["mksquashfs", folder, image, "-quiet", "-no-progress"], check=True, capture_output=True)
    done = rootfs("--arch", "armhf", "--base", base, "--out", tmp_path, "--vendor", image)
    assert done.returncode == 0, done.stderr
    assert "linked against uClibc, which Python on Debian cannot load" in done.stderr
    root = unpacked(tmp_path / "rootfs-armhf.squashfs", tmp_path / "root")
    assert not (root / "usr/lib/librknnmrt.so").exists()


def test_an_architecture_that_this_kernel_cannot_run_is_skipped_with_the_reason(tmp_path):
    (tmp_path / "bin").mkdir()
    for name in ("arch-test", "mmdebstrap", "mksquashfs"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "bin" / name).chmod(0o755)
    for name in ("sh", "id", "mkdir", "dirname", "tr", "env"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    done = rootfs("--arch", "armhf,arm64", "--out", tmp_path, path=str(tmp_path / "bin"))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"rootfs.sh: {name}: skipped: this kernel runs no {name} programs, and they cannot be registered; expected the"
        " package qemu-user-static, and a kernel with binfmt_misc"
        for name in ("armhf", "arm64")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "expected --arch"), (["--arch", "riscv64", "--out", "OUT"], "found 'riscv64'"), (["--arch"], "no value"),
     (["--arch", "armhf", "--out", "OUT", "--vendor", "/nowhere"], "/nowhere: no such file"),
     (["--arch", "armhf", "--out", "OUT", "--stage", "/"], "found no setup.sh"), (["--color", "x"], "unknown option")],
)  # fmt: skip
def test_wrong_arguments_are_one_line(tmp_path, arguments, message):
    done = rootfs(*[str(tmp_path) if each == "OUT" else each for each in arguments])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr


class Booted:
    """The image in a container: its root read-only, /data a folder."""

    def __init__(self, root: Path, data: Path, log: Path) -> None:
        command = [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            "--read-only",
            "--register=no",
            "--keep-unit",
            "--console=pipe",
        ]
        command += [
            f"--directory={root}",
            f"--bind={data}:/data",
            "--private-network",
            f"--machine=image-{os.getpid()}",
        ]
        self.log = log
        with log.open("a") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def run(self, command: str) -> str:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        inside = ["nsenter", "-t", children.split()[0], "-a", "/bin/sh", "-c", command]
        return subprocess.run(inside, capture_output=True, text=True, timeout=60, check=False).stdout.strip()

    def wait(self, command: str, wanted: str, timeout_s: float = 180.0) -> None:
        end, found = time.monotonic() + timeout_s, ""
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                found = self.run(command)
            except (IndexError, OSError, subprocess.TimeoutExpired):
                found = ""
            if wanted in found:
                return
            time.sleep(1)
        raise AssertionError(f"{command}: {found}\n{self.run('journalctl -b --no-pager | tail -n 40')}")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="needs the Debian package systemd-container")
def test_an_image_of_this_machine_boots_read_only_and_keeps_its_release_and_identity(workshop, tmp_path):
    shutil.rmtree(workshop / "stage", ignore_errors=True)
    stage = staged(workshop, "--config", workshop / "config.yaml")
    done = rootfs("--arch", "amd64", "--stage", stage, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    root, data = unpacked(tmp_path / "rootfs-amd64.squashfs", tmp_path / "root"), tmp_path / "data"
    data.mkdir()
    shutil.copy(PROJECT / "models/digits/sample.mp4", data)
    names = []
    for _ in range(2):
        booted = Booted(root, data, tmp_path / "log")
        try:
            booted.wait("cat /data/edge-app/state.json | tr -d '\\n '", '"trial":null')
            booted.wait("systemctl is-active edge-app", "active")
            state = json.loads(booted.run("python3 /opt/edge-app/updater/slots.py status"))
            assert state["good"]
            assert state["failed"] is None
            names.append(
                (booted.run("cat /data/identity/hostname"), booted.run("sha256sum /data/identity/dropbear_host_key"))
            )
            assert booted.run("touch /etc/x 2>&1 && echo written") != "written"
            assert booted.run("systemctl is-active dropbear") == "active"
        finally:
            booted.close()
    assert names[0] == names[1]
    assert names[0][0].startswith("camera-")
