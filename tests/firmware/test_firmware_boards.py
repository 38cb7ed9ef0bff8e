"""boards.py: names of bundles from the table of boards, as deploy.sh asks for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.firmware.device import FIRMWARE

import boards  # isort: skip  (found through tests.firmware.device)


def asked(name: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FIRMWARE / "build.py"), "board", name]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def test_bundles_have_the_names_that_installed_cameras_accept():
    assert sorted(boards.bundles()) == [
        "amd64", "arm64", "armhf", "rk3562", "rk3566", "rk3568", "rk3576", "rk3588", "rv1103", "rv1106", "rv1126b",
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "bundle"), [("rv1106g3", "rv1106"), ("Orange Pi 5", "rk3588"), ("amd64", "amd64")])
def test_prints_the_bundle_of_a_name_or_alias(name: str, bundle: str):
    assert asked(name).stdout == bundle + "\n"


def test_a_stock_image_with_uclibc_is_named():
    done = asked("Luckfox Pico Max")
    assert done.returncode == 0
    assert done.stderr.startswith("rv1106g3: stock images use uClibc")


def test_an_unknown_name_is_one_line_with_the_nearest():
    done = asked("rk3558")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "--board: found 'rk3558'; did you mean 'rk3588'?\n"


def test_recognizes_the_description_that_deploy_reads():
    text = (
        "model Radxa ROCK 5B\ncompatible radxa,rock-5b\ncompatible rockchip,rk3588\nmachine aarch64\nmemory 8000000\n"
    )
    assert asked("-", text).stdout == "rk3588\n"
    assert asked("-", "machine x86_64\nmemory 99\n").stdout == "amd64\n"
    done = asked("-", "compatible acme,board\nmachine riscv64\n")
    assert (done.returncode, done.stderr) == (
        2,
        "found an unknown board (compatible acme,board machine riscv64); expected --board NAME\n",
    )
