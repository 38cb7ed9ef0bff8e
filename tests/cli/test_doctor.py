"""`edge-app doctor` on boards simulated in a folder, and on the machine that runs the tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_app.cli import doctor
from edge_app.cli.findings import Finding
from edge_app.cli.parser import main


def board(root: Path, files: dict[str, str]) -> dict[str, list[Finding]]:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    found: dict[str, list[Finding]] = {}
    for finding in doctor.examine(root):
        found.setdefault(finding.area, []).append(finding)
    return found


RV1106 = {
    "proc/device-tree/model": "Luckfox Pico Ultra\0",
    "proc/device-tree/compatible": "luckfox,pico\0rockchip,rv1106g3\0rockchip,rv1106\0",
    "proc/meminfo": "MemTotal: 186384 kB\nMemAvailable: 90112 kB\nCmaTotal: 67584 kB\nCmaFree: 1024 kB\n",
    "dev/rknpu": "",
    "proc/rknpu/version": "RKNPU driver: v0.9.2\n",
    "oem/usr/lib/librknnmrt.so": "\x7fELF..librknnmrt version: 2.3.2 (@2025-04-03T08:26:16)\0..libc.so.0\0",
    "sys/class/video4linux/video11/name": "rkisp_mainpath\n",
    "dev/video11": "",
    "sys/class/thermal/thermal_zone0/temp": "91000\n",
    "sys/class/thermal/cooling_device0/cur_state": "2\n",
    "sys/class/thermal/cooling_device0/max_state": "4\n",
    "sys/class/thermal/cooling_device0/type": "thermal-cpufreq-0\n",
    "sys/class/ubi/ubi0/max_ec": "812\n",
    "sys/class/ubi/ubi0/bad_peb_count": "3\n",
    "sys/class/ubi/ubi0/reserved_for_bad": "0\n",
}


def test_reports_the_parts_of_a_small_board(tmp_path: Path):
    found = board(tmp_path, RV1106)
    assert found["board"][0].text == "Luckfox Pico Ultra"
    assert found["soc"][0].text == "rv1106"
    assert found["npu driver"][0].text == "RKNPU driver: v0.9.2; node /dev/rknpu"
    assert found["npu runtime"][0].verdict == "warn"
    assert "2.3.2 (@2025-04-03T08:26:16); linked against uClibc" in found["npu runtime"][0].text
    assert found["camera"][0].text.startswith("/dev/video11: rkisp_mainpath")
    assert found["memory"][0].text == "182 MiB, 88 MiB available"
    assert found["cma"][0].text.startswith("66 MiB, 1 MiB free")
    assert found["temperature"][0] == Finding("temperature", "warn", "hottest zone 91 °C")
    assert found["cooling"][0].text == "thermal-cpufreq-0: throttling, level 2 of 4"
    assert found["flash"][0] == Finding("flash", "warn", "ubi0: at most 812 erase cycles, 3 bad blocks, 0 spare")


@pytest.mark.parametrize(
    ("life", "flag", "verdict", "text"),
    [
        ("0x01 0x02", "0x01", "ok", "10 to 20 % of its life used"),
        ("0x09 0x02", "0x01", "warn", "80 to 90 %"),
        ("0x01 0x01", "0x02", "warn", "flag 0x02"),
    ],
)
def test_reports_the_wear_of_an_emmc(tmp_path: Path, life, flag, verdict, text):
    folder = "sys/block/mmcblk0/device"
    found = board(tmp_path, {f"{folder}/life_time": life + "\n", f"{folder}/pre_eol_info": flag + "\n"})
    assert found["flash"][0].verdict == verdict
    assert text in found["flash"][0].text


def test_reports_missing_parts_as_absent(tmp_path: Path):
    found = board(tmp_path, {})
    for area in ("board", "soc", "npu driver", "npu runtime", "camera", "memory", "temperature", "flash", "rtc"):
        assert found[area][0].verdict == "absent", area


def test_prints_a_table_or_one_json_object(capsys: pytest.CaptureFixture[str]):
    assert main(["doctor"]) == 0
    table = capsys.readouterr().out
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {fact["area"] for fact in report["facts"]} >= {"soc", "npu driver", "camera", "memory", "clock", "flash"}
    assert len(table.splitlines()) == len(report["facts"])
    assert "numpy" in table
