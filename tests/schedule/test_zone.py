"""The device's time zone, from $TZ or from a file."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edge_app.schedule import LocalZone, system_zone

BERLIN = Path("/usr/share/zoneinfo/Europe/Berlin")
SUMMER = datetime(2026, 7, 1, tzinfo=timezone.utc)
needs_data = pytest.mark.skipif(not BERLIN.exists(), reason="no time zone data")


@pytest.mark.parametrize("name", ["Europe/Berlin", ":Europe/Berlin", str(BERLIN), "CET-1CEST,M3.5.0,M10.5.0/3"])
@needs_data
def test_reads_names_files_and_rules(name):
    zone = system_zone({"TZ": name})
    assert SUMMER.astimezone(zone).utcoffset() == timedelta(hours=2)


@needs_data
def test_reads_the_file_of_the_system(tmp_path):
    localtime = tmp_path / "localtime"
    localtime.symlink_to(BERLIN)
    assert str(system_zone({}, localtime)) == "Europe/Berlin"
    localtime.unlink()
    localtime.write_bytes(BERLIN.read_bytes())
    assert SUMMER.astimezone(system_zone({}, localtime)).utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize("name", ["Nowhere/Town", "../../etc/passwd", "/etc/passwd", "/dev/zero", "x" * 5000, "\udcff"])
def test_what_is_not_a_zone_is_utc(name):
    assert system_zone({"TZ": name}) is timezone.utc


def test_a_missing_or_damaged_file_is_utc(tmp_path):
    damaged = tmp_path / "localtime"
    assert system_zone({}, damaged) is timezone.utc
    damaged.write_bytes(b"TZif2" + bytes(20))
    assert system_zone({}, damaged) is timezone.utc
    assert LocalZone({}, damaged).get() is timezone.utc
