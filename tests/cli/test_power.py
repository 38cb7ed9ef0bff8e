"""What doctor says about governors, frequencies and energy."""

from __future__ import annotations

from edge_app.cli import power


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


CPU = "sys/devices/system/cpu/cpufreq/policy0"
NPU = "sys/class/devfreq/fdab0000.npu"


def test_governors_and_frequencies_of_cpu_npu_and_memory(tmp_path):
    files = {f"{CPU}/related_cpus": "0 1 2 3\n", f"{CPU}/scaling_governor": "ondemand\n"}
    files |= {f"{CPU}/scaling_cur_freq": "408000\n", f"{CPU}/scaling_min_freq": "408000\n"}
    files |= {
        f"{CPU}/scaling_max_freq": "1800000\n",
        f"{NPU}/governor": "powersave\n",
        f"{NPU}/cur_freq": "300000000\n",
    }
    files |= {f"{NPU}/min_freq": "300000000\n", f"{NPU}/max_freq": "1000000000\n"}
    files |= {"sys/class/devfreq/dmc/governor": "dmc_ondemand\n", "sys/class/devfreq/fb000000.gpu/governor": "x\n"}
    write(tmp_path, files)
    found = [(each.area, each.verdict, each.text) for each in power.check(tmp_path)]
    assert found == [
        ("power", "ok", "CPU 0 1 2 3: governor ondemand, 408 MHz of 408 to 1,800"),
        ("power", "ok", "memory dmc: governor dmc_ondemand, ? MHz of ? to ?"),
        (
            "power",
            "warn",
            "NPU fdab0000.npu: governor powersave, 300 MHz of 300 to 1,000; the clock does not rise under load",
        ),
        ("energy", "absent", "no sensor of power or energy on this board"),
    ]


def test_energy_is_shown_only_where_a_sensor_measures_it(tmp_path):
    files = {"sys/class/hwmon/hwmon0/name": "ina226\n", "sys/class/hwmon/hwmon0/power1_input": "2345000\n"}
    files |= {
        "sys/class/powercap/intel-rapl:0/name": "package-0\n",
        "sys/class/powercap/intel-rapl:0/energy_uj": "7000000",
    }
    write(tmp_path, files)
    found = [(each.verdict, each.text) for each in power.check(tmp_path) if each.area == "energy"]
    assert found == [("ok", "ina226 power1: 2.35 W"), ("ok", "package-0: 7 J counted")]


def test_a_machine_without_any_of_it_is_no_error(tmp_path):
    assert [each.verdict for each in power.check(tmp_path)] == ["absent", "absent"]
