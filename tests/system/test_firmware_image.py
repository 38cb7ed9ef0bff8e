"""Partition images, read back with independent tools: they contain what the bundle contains."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_app.model import manifest as manifests
from tests.conftest import PROJECT
from tests.firmware.device import FIRMWARE

import boards  # isort: skip  (found through tests.firmware.device)
import build  # isort: skip
import bundle  # isort: skip
import slots  # isort: skip

pytestmark = pytest.mark.system

NAND_USERDATA = 10 << 20  # the smallest userdata partition of stock boards
MODEL = PROJECT / "models/digits"
BOARD = "rv1106" if "rv1106" in manifests.load(MODEL).targets() else "amd64"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A key, and the release that the images must contain."""
    folder = tmp_path_factory.mktemp("images")
    build.make_key(folder / "key.pem")
    return folder


def image(workshop, kind, partition, size, *more, code=0):
    out = workshop / f"{partition}.{kind}"
    command = [
        PROJECT / "deploy.sh", "--image", kind, "--partition", partition, "--size", str(size), "--out", out,
        "--board", BOARD, "--no-wheels", "--key", workshop / "key.pem", *more,
    ]  # fmt: skip
    environment = os.environ | {"PYTHON": sys.executable, "EDGE_APP_PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return out, done.stderr


def read_back(kind, path, folder):
    """Unpack an image with debugfs or ubireader. Returns the folder with its files."""
    folder.mkdir()
    if kind == "ext4":
        subprocess.run(["/usr/sbin/e2fsck", "-fn", path], check=True, capture_output=True)
        subprocess.run(["/usr/sbin/debugfs", "-R", f"rdump / {folder}", path], check=True, capture_output=True)
        return folder
    ubireader = Path(sys.executable).with_name("ubireader_extract_files")
    subprocess.run([ubireader, "-k", "-o", folder, path], check=True, capture_output=True)
    return next(each.parent for each in folder.rglob("edge-app") if each.is_dir())


@pytest.fixture(params=["ext4", "ubifs"])
def kind(request):
    missing = "mkfs.ext4" if request.param == "ext4" else "mkfs.ubifs"
    if shutil.which(missing, path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip(f"no {missing} here: apt-get install e2fsprogs mtd-utils")
    if request.param == "ubifs" and not Path(sys.executable).with_name("ubireader_extract_files").exists():
        pytest.skip("no ubireader here: pip install ubi-reader")
    return request.param


def test_userdata_contains_the_installed_release_and_starts(workshop, kind, tmp_path):
    path, _ = image(workshop, kind, "userdata", NAND_USERDATA)
    assert path.stat().st_size <= NAND_USERDATA
    root = read_back(kind, path, tmp_path / "back") / "edge-app"
    (release,) = (root / "releases").iterdir()
    assert bundle.damage(release) is None
    assert slots.Slots(root, "boot-1").boot()[0] == release.name
    assert (root / "updater").is_symlink()
    for name in ("slots.py", "bundle.py"):
        assert (root / "updater" / name).read_bytes() == (FIRMWARE / "updater" / name).read_bytes()
    assert not [each for each in root.rglob("*") if each.is_file() and b"PRIVATE KEY" in each.read_bytes()]


def test_oem_seeds_a_formatted_userdata(workshop, kind, tmp_path):
    drivers = tmp_path / "vendor/usr/ko"
    drivers.mkdir(parents=True)
    (drivers / "sensor.ko").write_text("the vendor's driver")
    path, _ = image(workshop, kind, "oem", 30 << 20, "--base", tmp_path / "vendor")
    oem = read_back(kind, path, tmp_path / "back")
    assert (oem / "usr/ko/sensor.ko").read_text() == "the vendor's driver"
    root, run = tmp_path / "userdata/edge-app", tmp_path / "run"
    environment = os.environ | {
        "EDGE_APP_ROOT": str(root), "EDGE_APP_RUN": str(run), "EDGE_APP_SEED": str(oem / "edge-app/seed"),
        "EDGE_APP_PYTHON": sys.executable,
    }  # fmt: skip
    command = ["sh", oem / "edge-app/S99edge-app", "supervise"]
    with (tmp_path / "log").open("w") as log:
        supervisor = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(300):
            if (root / "current").exists() or supervisor.poll() is not None:
                break
            subprocess.run(["sleep", "0.1"], check=True)
    finally:
        supervisor.terminate()
        supervisor.wait(30)
    said = (tmp_path / "log").read_text()
    assert "installing from" in said
    assert bundle.damage(root / "current") is None, said


def test_rejects_a_partition_without_space_for_an_update(workshop, kind):
    """One release fits, but no update would."""
    holds = sum(len(data) for data, _ in build.release_files(boards.bundles()[BOARD], MODEL, None, None).values())
    _, said = image(workshop, kind, "userdata", holds * 3 // 2, code=2)
    assert "with a second release" in said
    assert "expected at most 90 %" in said
