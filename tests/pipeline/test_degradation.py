"""The degradation ladder: descends under load, climbs slowly, does not oscillate."""

from __future__ import annotations

from edge_app.config.services import DegradeConfig
from edge_app.pipeline.degradation import FULL, Ladder, rungs
from edge_app.pipeline.sensors import Reading

SETTINGS = DegradeConfig(temperature_c=85, available_mb=12, latency_s=3, step_s=10, climb_s=60)
COOL, HOT, WARM = Reading(60, 100), Reading(90, 100), Reading(82, 100)


def test_rungs_drop_heads_by_priority_and_end_with_the_heartbeat():
    ladder = rungs({"digits": 5, "panel": 0, "scene": 0}, reuses=True)
    assert [rung.name for rung in ladder] == [
        "full",
        "half rate",
        "quarter rate",
        "reuse more",
        "without scene",
        "without scene, panel",
        "heartbeat only",
    ]
    assert [rung.every for rung in ladder] == [1, 2, 4, 4, 4, 4, 0]
    assert [rung.relax_reuse for rung in ladder] == [False] * 3 + [True] * 4, "lower rungs keep reuse relaxed"
    assert ladder[-2].without == {"scene", "panel"}


def test_without_reuse_no_rung_relaxes_reuse():
    ladder = rungs({"digits": 5, "panel": 0}, reuses=False)
    assert [rung.name for rung in ladder] == ["full", "half rate", "quarter rate", "without panel", "heartbeat only"]
    assert not any(rung.relax_reuse for rung in ladder)


def walk(ladder: Ladder, reading: Reading, seconds: range, latency_s: float | None = None) -> list[tuple[int, str]]:
    """Update once a second. Returns the time and the rung of each change."""
    return [(s, ladder.rung.name) for s in seconds if ladder.update(reading, latency_s, float(s))]


def test_heat_descends_one_rung_at_a_time_and_cooling_climbs_again():
    ladder = Ladder(rungs({"a": 0}, reuses=False), SETTINGS)
    assert walk(ladder, HOT, range(45)) == [(10, "half rate"), (20, "quarter rate"), (30, "heartbeat only")]
    assert ladder.reason == "90 °C, limit 85"
    assert walk(ladder, COOL, range(45, 240)) == [(105, "quarter rate"), (165, "half rate"), (225, "full")]
    assert ladder.rung == FULL


def test_the_rung_is_kept_between_the_limit_and_the_margin():
    ladder = Ladder(rungs({"a": 0}, reuses=False), SETTINGS)
    walk(ladder, HOT, range(12))
    assert walk(ladder, WARM, range(12, 1000)) == []


def test_a_short_peak_changes_nothing():
    ladder = Ladder(rungs({"a": 0}, reuses=False), SETTINGS)
    for start in range(0, 100, 10):
        assert walk(ladder, HOT, range(start, start + 9)) == []
        assert walk(ladder, COOL, range(start + 9, start + 10)) == []


def test_memory_and_latency_descend_and_give_the_reason():
    ladder = Ladder(rungs({"a": 0}, reuses=False), SETTINGS)
    walk(ladder, Reading(None, 8), range(11))
    assert ladder.reason == "8 MB left, limit 12"
    walk(ladder, Reading(None, 100), range(11, 22), latency_s=4.0)
    assert ladder.reason == "results 4.0 s late, limit 3"
    assert ladder.rung.name == "quarter rate"


def test_climbing_too_early_delays_the_next_climb():
    ladder = Ladder(rungs({"a": 0}, reuses=False), SETTINGS)
    steps = []
    for second in range(3600):  # cool on every rung but the first: without damping it would climb every 70 s
        reading = HOT if ladder.rung == FULL else COOL
        steps += [second] if ladder.update(reading, None, float(second)) else []
    assert len(steps) < 20


def test_unknown_readings_never_descend():
    ladder = Ladder(rungs({"a": 0}, reuses=False), SETTINGS)
    assert walk(ladder, Reading(), range(1000)) == []
