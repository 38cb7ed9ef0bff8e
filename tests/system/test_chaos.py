"""A daemon under random faults keeps its promises. chaos.py is the run."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from edge_app.bench import mosquitto
from edge_app.outbox.sequence import BLOCK
from tests.conftest import PROJECT
from tests.system import chaos_testbed
from tests.system.chaos import broken_promises
from tests.system.chaos_judge import Arrivals, History, judge, out_of_order
from tests.system.chaos_testbed import small_disk

needs_broker = pytest.mark.skipif(mosquitto.program() is None, reason="no mosquitto here: apt-get install mosquitto")


def check(seed: int, seconds: int) -> None:
    command = [sys.executable, "-m", "tests.system.chaos", "--json", "--seed", str(seed), "--seconds", str(seconds)]
    limit_s = seconds + 600
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=limit_s, check=False)
    print(done.stdout)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["broken"] == []
    assert found["accepted"] > 3 * seconds
    assert len(found["faults"]) >= 6


@pytest.mark.system
@pytest.mark.alone
@needs_broker
def test_a_minute_of_faults():
    check(0, 60)


@pytest.mark.long
@needs_broker
@pytest.mark.parametrize("seed", range(1, 11))
def test_ten_minutes_of_faults(seed: int):
    check(seed, 600)


# The judge itself: a verdict that cannot fail proves nothing.


def message(number: int, at_s: float, kind: str = "result", **fields: object) -> bytes:
    return json.dumps({"id": f"cam-{number}", "kind": kind, "monotonic_ns": at_s * 1e9, **fields}).encode()


def judged(a: list[bytes], b: list[bytes], **history: list) -> dict:
    sinks = {"a": Arrivals(), "b": Arrivals()}
    for payload in a:
        sinks["a"].add(payload)
    for payload in b:
        sinks["b"].add(payload)
    return judge(sinks, History(starts=[0.0], **history), {})


def test_the_judge_finds_a_lost_message():
    found = judged([message(1, 1), message(2, 2)], [message(2, 2)])
    assert found["sinks"]["b"]["lost"] == ["cam-1"]


def test_the_judge_accepts_a_loss_that_a_gap_record_names():
    gap = {"first": "cam-1", "last": "cam-1", "unknown": False, "lost": {"result": 1}, "reasons": ["x"]}
    found = judged([message(1, 1)], [message(2, 2, "status", status={"gap": gap})])
    assert (found["sinks"]["b"]["lost"], found["sinks"]["b"]["in_gaps"]) == ([], 1)


def test_the_judge_counts_losses_beyond_the_gap_records():
    gap = {"first": "cam-1", "last": "cam-2", "unknown": False, "lost": {"result": 1}, "reasons": ["x"]}
    found = judged([message(1, 1), message(2, 1)], [message(3, 2, "status", status={"gap": gap})])
    assert (found["sinks"]["b"]["in_gaps"], found["sinks"]["b"]["beyond_gaps"]) == (2, 1)


def test_numbers_may_jump_to_another_block_but_not_back():
    assert out_of_order([BLOCK, BLOCK + 1, 1, 2]) == []
    assert out_of_order([BLOCK, 1, BLOCK + 1]) == [(BLOCK + 1, 1)]
    assert out_of_order([1, 3, 2]) == [(2, 3)]


def test_the_judge_excuses_what_was_made_just_before_a_kill():
    found = judged([message(1, 1), message(2, 9.5)], [], kills=[10.0])
    assert found["sinks"]["b"]["lost"] == ["cam-1"]


def test_the_judge_excuses_what_was_made_while_the_disk_was_full():
    found = judged([message(1, 1), message(2, 5)], [], kills=[20.0], disk_full=[(4.0, 30.0)])
    assert found["sinks"]["b"]["lost"] == ["cam-1"]


def test_the_judge_finds_two_contents_and_a_wrong_order():
    found = judged([message(1, 1), message(2, 2)], [message(2, 2), message(1, 1, x=1)])
    assert found["two_contents"] == ["cam-1"]
    assert found["sinks"]["b"]["out_of_order"] == 1
    assert found["sinks"]["b"]["repeats"] == 0


def test_the_judge_counts_repeats():
    assert judged([message(1, 1)] * 3, [message(1, 1)])["sinks"]["a"]["repeats"] == 2


def verdict(repeats: dict[str, int], *, kills: int, flaps: int, **growth: float) -> list[str]:
    sinks = {"lost": [], "beyond_gaps": 0, "out_of_order": 0}
    found = {"died": [], "two_contents": [], "settled": [True], "page_s": [0.1], "kills": kills, "flaps": flaps}
    found["sinks"] = {name: sinks | {"repeats": repeats.get(name, 0)} for name in chaos_testbed.WINDOWS}
    found["growth"] = {"anonymous_mb": 0.0, "files": 0, "threads": 0} | growth
    return broken_promises(found)


def test_a_window_of_repeats_is_allowed_for_each_kill_and_by_mqtt_for_each_flap():
    assert verdict({"jsonl": 500, "mqtt": 200, "http": 20}, kills=1, flaps=1) == []
    assert len(verdict({"jsonl": 501, "mqtt": 201, "http": 21}, kills=1, flaps=1)) == 3
    assert len(verdict({"jsonl": 1, "mqtt": 1, "http": 1}, kills=0, flaps=1)) == 2


def test_another_descriptor_or_thread_is_growth():
    assert verdict({}, kills=0, flaps=0, anonymous_mb=3.0) == []
    assert len(verdict({}, kills=0, flaps=0, anonymous_mb=3.1)) == 1
    assert len(verdict({}, kills=0, flaps=0, files=1)) == 1
    assert len(verdict({}, kills=0, flaps=0, threads=-1)) == 1


@pytest.mark.system
@pytest.mark.alone
@needs_broker
def test_a_run_without_faults_settles(tmp_path):
    """The harness by itself: nothing is lost, repeated or late without faults."""
    with small_disk(tmp_path / "state") as has_disk:
        bed = chaos_testbed.Testbed(tmp_path, random.Random(0), has_disk)
        with bed.running():
            assert bed.settle(60)
    assert bed.sinks["mqtt"].order == list(dict.fromkeys(bed.sinks["mqtt"].order))
