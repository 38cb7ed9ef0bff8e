"""BoardSensors, with the files of /proc and /sys."""

from __future__ import annotations

from pathlib import Path

from edge_app.pipeline.sensors import BoardSensors, Reading


def test_board_sensors_read_proc_and_sys(tmp_path: Path):
    for path, text in {
        "proc/meminfo": "MemTotal:  200000 kB\nMemAvailable:   50000 kB\n",
        "proc/self/statm": "9000 2500 100\n",
        "proc/self/cgroup": "0::/system.slice/edge.service\n",
        "sys/fs/cgroup/system.slice/edge.service/memory.max": "100000000\n",
        "sys/fs/cgroup/system.slice/edge.service/memory.current": "80000000\n",
        "sys/fs/cgroup/system.slice/edge.service/memory.stat": "anon 5\ninactive_file 10000000\n",
        "sys/class/thermal/thermal_zone0/temp": "61500\n",
        "sys/class/thermal/thermal_zone1/temp": "58000\n",
        "sys/class/thermal/thermal_zone2/temp": "-274000\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="ascii")
    reading = BoardSensors(tmp_path).read()
    assert reading.temperature_c == 61.5
    assert reading.available_mb == 30.0
    assert reading.allowed_mb == 100.0
    assert reading.resident_mb == 2500 * 4096 / 1e6


def test_missing_files_are_unknown_readings(tmp_path: Path):
    assert BoardSensors(tmp_path).read() == Reading()
    assert BoardSensors().read().resident_mb > 1
