"""reading: every number once, in order; no false numbers from hidden digits, darkness or misread digits."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.errors import OptionError
from edge_app.frame import Detections, Segmentation
from edge_app.rules.reading import Rule

from .frames import HEIGHT, WIDTH, both, check_events, context, digits, finish, frame, panel, run

TRUTH = Path(__file__).parents[2] / "models" / "digits" / "sample.truth.jsonl"


def meter(*, heads=("digits", "panel"), **options):
    return Rule(context("reading", tracked=None), heads=heads, **options)


def film(*texts, start_s=0.0, score=0.9, **layout):
    """Frames with digits on a panel, ten a second."""
    return [
        frame(start_s + k / 10, digits=digits(text, score=score, **layout), panel=panel(**layout))
        for k, text in enumerate(texts)
    ]


def numbers(events):
    return [event.value["text"] for event in events if event.type == "new"]


def test_a_stable_number_is_one_event_and_ends_when_replaced():
    rule = meter()
    events = run(rule, film(*["4071"] * 20, *["4072"] * 20)) + finish(rule)
    assert [(e.type, e.value["text"], e.value.get("reason")) for e in events] == [
        ("new", "4071", None),
        ("end", "4071", "replaced"),
        ("new", "4072", None),
        ("end", "4072", "shutdown"),
    ]
    assert events[0].value["number"] == 4071
    assert events[0].value["confidence"] == pytest.approx(0.9, abs=1e-3)
    check_events(events)


def test_a_number_needs_frames_that_agree():
    rule = meter(frames=3)
    assert [len(list(rule.step(f))) for f in film("4071", "4071", "4071", "4071")] == [0, 0, 1, 0]


def test_a_misread_digit_is_outvoted():
    rule = meter()
    texts = ["4071", "4071", "4011", "4071", "9071", "4071"] * 10
    assert numbers(run(rule, film(*texts))) == ["4071"]


def test_hidden_digits_are_not_a_new_number():
    rule = meter()
    texts = ["4071"] * 10 + ["40 1"] * 20 + ["4  1"] * 10 + ["40"] * 10 + [" 071"] * 10 + ["4071"] * 10
    assert numbers(run(rule, film(*texts))) == ["4071"]


def test_the_same_number_after_darkness_is_not_a_new_event():
    rule = meter()
    events = run(rule, film(*["4071"] * 10, *[""] * 100, *["4071"] * 10))
    assert [e.type for e in events] == ["new"]


def test_a_number_that_changed_while_hidden_is_a_new_event():
    rule = meter()
    assert numbers(run(rule, film(*["4071"] * 10, *["4  "] * 10, *["4085"] * 10))) == ["4071", "4085"]


def test_a_partly_hidden_first_number_is_not_published():
    rule = meter()
    assert numbers(run(rule, film(*["4 71"] * 20, *["4071"] * 10))) == ["4071"]


def test_a_digit_that_extends_over_the_panel_does_not_count():
    """A hand covers the panel from the middle of the last digit on."""
    rule = meter()
    cut = panel()
    cut.polygons[0][1:3, 0] = (0.3 + 0.08 * 3 + 0.03) * WIDTH
    frames = film(*["4071"] * 5)
    frames += [frame(1 + k / 10, digits=digits("4077"), panel=cut) for k in range(20)]
    assert numbers(run(rule, frames)) == ["4071"]


def test_a_longer_number_counts_after_length_s():
    rule = meter(length_s=3.0)
    layout = {"left": 0.2}
    before = [frame(k / 10, digits=digits("999", left=0.28), panel=panel(4, **layout)) for k in range(20)]
    after = [frame(2 + k / 10, digits=digits("1000", **layout), panel=panel(4, **layout)) for k in range(60)]
    events = run(rule, before + after)
    assert numbers(events) == ["999", "1000"]
    assert 4.0 <= events[-1].start_ns / 1e9 <= 5.0  # 80 % of length_s after the change


def test_numbers_with_another_number_of_digits_are_skipped():
    rule = meter(digits=4)
    assert numbers(run(rule, film(*["407"] * 200, *["4071"] * 5))) == ["4071"]


@pytest.mark.parametrize("angle", [-40, -20, 5, 30, 44])
def test_a_rotated_panel_is_read_along_its_axis(angle):
    assert numbers(run(meter(), film(*["4071"] * 5, left=0.4, angle=angle))) == ["4071"]


@pytest.mark.parametrize("angle", [-60, -20, 0, 30, 70])
def test_without_a_panel_a_rotated_row_is_read(angle):
    rule = meter(heads=("digits",))
    frames = [frame(k / 10, digits=digits("40712", left=0.4, angle=angle)) for k in range(5)]
    assert numbers(run(rule, frames)) == ["40712"]


def test_several_rows_are_read_from_top_to_bottom():
    rule = meter(heads=("digits",), rows=2)
    rows = both(digits("1234", top=0.6), digits("56", top=0.3))
    events = run(rule, [frame(k / 10, digits=rows) for k in range(5)])
    assert numbers(events) == ["56\n1234"]
    assert events[0].value["number"] is None


def test_of_two_rows_the_longer_one_is_read():
    rule = meter(heads=("digits",))
    rows = both(digits("1234", top=0.6), digits("56", top=0.3))
    assert numbers(run(rule, [frame(k / 10, digits=rows) for k in range(5)])) == ["1234"]


def test_digits_outside_the_panel_and_in_ignored_regions_are_skipped():
    rule = meter(ignore=(((0.25, 0.35), (0.36, 0.35), (0.36, 0.6), (0.25, 0.6)),))
    two_numbers = both(digits("4071"), digits("99", top=0.8))
    frames = [frame(k / 10, digits=two_numbers, panel=panel()) for k in range(5)]
    assert numbers(run(rule, frames)) == ["071"]


def test_without_a_detected_panel_nothing_is_read():
    empty = Segmentation(np.empty(0, np.int32), np.empty(0, np.float32), ())
    assert run(meter(), [frame(k / 10, digits=digits("4071"), panel=empty) for k in range(10)]) == []


def cut_off(result, place, shares):
    """The same digits, with one hidden from below and read as a 7, which the rest of a 2 looks like."""
    for share in shares:
        xyxy, class_id = result.xyxy.copy(), result.class_id.copy()
        xyxy[place, 3] -= share * (xyxy[place, 3] - xyxy[place, 1])
        class_id[place] = 7
        yield Detections(xyxy, result.score, class_id)


@pytest.mark.parametrize("shares", [np.linspace(0, 0.5, 8), np.linspace(0.05, 0.25, 4), [0.35] * 20])
def test_a_digit_that_is_being_hidden_is_not_a_new_number(shares):
    """The box of a digit that is being hidden shrinks, or is lower than its row: its label does not count."""
    rule = meter()
    there = cut_off(digits("4072"), 3, shares)
    events = run(rule, film(*["4072"] * 10))
    events += run(rule, [frame(1 + k / 10, digits=result, panel=panel()) for k, result in enumerate(there)])
    events += run(rule, film(*["4072"] * 10, start_s=4))
    assert numbers(events) == ["4072"]


def test_false_positives_elsewhere_are_not_read_while_the_panel_is_hidden():
    """Letters inside a second outline, with the scores of digits, but at another place."""
    rule = meter()
    wall, outline = digits("5833", top=0.75), panel(top=0.75)
    events = run(rule, film(*["4071"] * 10))
    events += run(rule, [frame(1 + k / 10, digits=wall, panel=outline) for k in range(30)])
    events += run(rule, film(*["4072"] * 10, start_s=4))
    assert numbers(events) == ["4071", "4072"]


def test_the_panel_of_the_last_number_is_preferred_to_one_with_more_digits():
    rule = meter()
    outlines = (*panel().polygons, *panel(6, top=0.75).polygons)
    both_panels = Segmentation(np.zeros(2, np.int32), np.ones(2, np.float32), outlines)
    two = both(digits("4072"), digits("583333", top=0.75))
    events = run(rule, film(*["4071"] * 5))
    events += run(rule, [frame(1 + k / 10, digits=two, panel=both_panels) for k in range(100)])
    assert numbers(events) == ["4071", "4072"]


def test_reading_continues_after_the_camera_is_turned():
    rule = meter(length_s=2.0)
    events = run(rule, film(*["4071"] * 10))
    events += run(rule, film(*["4085"] * 40, start_s=1, top=0.75))
    assert numbers(events) == ["4071", "4085"]


def test_a_number_below_the_confidence_is_not_published():
    assert numbers(run(meter(), film(*["4071"] * 20, score=0.45))) == []
    assert numbers(run(meter(confidence=0.4), film(*["4071"] * 20, score=0.45))) == ["4071"]


def test_a_low_scoring_detection_in_the_row_is_not_a_digit():
    rule = meter()
    stained = both(digits("4071"), digits("    1", score=0.41))
    events = run(rule, [frame(k / 10, digits=stained, panel=panel(5)) for k in range(20)])
    assert numbers(events) == ["4071"]


def test_results_that_are_carried_over_are_not_votes():
    rule = meter()
    run(rule, film("4071"))
    carried = [frame(k / 10, age_s=k / 10, digits=digits("4071"), panel=panel()) for k in range(1, 30)]
    assert run(rule, carried) == []


@pytest.mark.parametrize(
    ("monotonic", "expected"),
    [("none", ["4072", "4071", "4080"]), ("up", ["4072", "4080"]), ("down", ["4072", "4071"])],
)
def test_a_monotonic_counter_does_not_go_back(monotonic, expected):
    rule = meter(monotonic=monotonic)
    assert numbers(run(rule, film(*["4072"] * 5, *["4071"] * 5, *["4080"] * 5))) == expected


def test_a_counter_may_roll_over():
    rule = meter(monotonic="up")
    assert numbers(run(rule, film(*["9999"] * 5, *["0000"] * 5, *["0001"] * 5))) == ["9999", "0000", "0001"]


def test_a_lost_camera_ends_the_event():
    rule = meter()
    events = run(rule, film(*["4071"] * 5)) + finish(rule, "source_lost", 1)
    events += run(rule, film(*["4071"] * 5, start_s=60)) + finish(rule, "shutdown", 70)
    assert [(e.type, e.value.get("reason")) for e in events] == [
        ("new", None),
        ("end", "source_lost"),
        ("new", None),
        ("end", "shutdown"),
    ]


def test_rejects_three_heads():
    with pytest.raises(OptionError, match="found 3"):
        meter(heads=("digits", "panel", "scene"))


@given(st.lists(st.text("0123456789 ", max_size=5), max_size=60), st.integers(1, 4))
@settings(max_examples=60)
def test_every_event_ends_and_no_number_follows_itself(texts, count):
    rule = meter(frames=count)
    events = run(rule, film(*texts))
    published = numbers(events)
    assert all(a != b for a, b in pairwise(published))
    check_events(events + finish(rule))


def simulated(line, rng, miss=0.01, confuse=0.02):
    """Detections of one frame of the truth: with jitter, some missed, some misread."""
    found = [d for d in line["digits"] if rng.random() >= miss]
    boxes = np.array([d["box"] for d in found]).reshape(-1, 4) + rng.normal(0, 0.0015, (len(found), 4))
    classes = [int(d["label"]) if rng.random() >= confuse else int(rng.integers(10)) for d in found]
    score = rng.uniform(0.5, 0.95, len(found))
    result = Detections(
        (boxes * (WIDTH, HEIGHT, WIDTH, HEIGHT)).astype(np.float32),
        score.astype(np.float32),
        np.array(classes, np.int32),
    )
    outlines = () if line["panel"] is None else (np.array(line["panel"]) * (WIDTH, HEIGHT),)
    n = len(outlines)
    shape = Segmentation(np.zeros(n, np.int32), np.ones(n, np.float32), tuple(o.astype(np.float32) for o in outlines))
    return result, shape


@pytest.mark.skipif(not TRUTH.exists(), reason="the truth of the sample clip is missing")
@pytest.mark.parametrize("seed", range(10))
def test_reads_the_sample_clip_with_a_simulated_detector(seed):
    """Each number exactly once, in order, no others, within five frames after it is visible."""
    lines = [json.loads(line) for line in TRUTH.read_text().splitlines()]
    shown, first = [], []
    for line in lines:
        if line["reading"] and (not shown or line["reading"] != shown[-1]):
            shown.append(line["reading"])
            first.append(line["frame"])
    rng, rule = np.random.default_rng(seed), meter()
    published = []
    for line in lines:
        result, shape = simulated(line, rng)
        made = frame(line["frame"] / 10, digits=result, panel=shape)
        published += [(line["frame"], e.value["text"]) for e in rule.step(made) if e.type == "new"]
    assert [text for _, text in published] == shown
    late = [frame - early for (frame, _), early in zip(published, first)]
    assert max(late) <= 5, late
