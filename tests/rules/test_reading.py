"""reading: every number once, in order; none made up out of hands, darkness, odd frames or digits that are changing."""

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

from .frames import HEIGHT, WIDTH, both, check_lives, context, digits, finish, frame, panel, run

TRUTH = Path(__file__).parents[2] / "models" / "digits" / "sample.truth.jsonl"


def meter(*, heads=("digits", "panel"), **options):
    return Rule(context("reading", tracked=None), heads=heads, **options)


def film(*texts, start_s=0.0, score=0.9, **look):
    """A frame every tenth of a second with these digits on a panel."""
    return [
        frame(start_s + k / 10, digits=digits(text, score=score, **look), panel=panel(**look))
        for k, text in enumerate(texts)
    ]


def numbers(events):
    return [event.value["text"] for event in events if event.type == "new"]


def test_a_number_is_told_of_once_it_is_stable_and_ends_when_another_takes_its_place():
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
    check_lives(events)


def test_it_takes_three_frames_that_agree():
    rule = meter(frames=3)
    assert [len(list(rule.step(f))) for f in film("4071", "4071", "4071", "4071")] == [0, 0, 1, 0]


def test_a_digit_misread_now_and_then_is_outvoted():
    rule = meter()
    texts = ["4071", "4071", "4011", "4071", "9071", "4071"] * 10
    assert numbers(run(rule, film(*texts))) == ["4071"]


def test_a_hand_over_some_digits_is_no_new_number():
    rule = meter()
    texts = ["4071"] * 10 + ["40 1"] * 20 + ["4  1"] * 10 + ["40"] * 10 + [" 071"] * 10 + ["4071"] * 10
    assert numbers(run(rule, film(*texts))) == ["4071"]


def test_the_same_number_after_a_dark_spell_is_no_new_event():
    rule = meter()
    events = run(rule, film(*["4071"] * 10, *[""] * 100, *["4071"] * 10))
    assert [e.type for e in events] == ["new"]


def test_a_number_that_changed_behind_a_hand_is_told_of():
    rule = meter()
    assert numbers(run(rule, film(*["4071"] * 10, *["4  "] * 10, *["4085"] * 10))) == ["4071", "4085"]


def test_a_number_first_seen_half_hidden_waits_for_the_rest():
    rule = meter()
    assert numbers(run(rule, film(*["4 71"] * 20, *["4071"] * 10))) == ["4071"]


def test_a_digit_that_sticks_out_of_the_panel_is_cut_and_not_believed():
    """The panel's outline ends where a hand begins: in the middle of the last digit."""
    rule = meter()
    cut = panel()
    cut.polygons[0][1:3, 0] = (0.3 + 0.08 * 3 + 0.03) * WIDTH
    frames = film(*["4071"] * 5)
    frames += [frame(1 + k / 10, digits=digits("4077"), panel=cut) for k in range(20)]
    assert numbers(run(rule, frames)) == ["4071"]


def test_one_digit_more_is_believed_once_it_has_lasted():
    rule = meter(length_s=3.0)
    look = {"left": 0.2}
    before = [frame(k / 10, digits=digits("999", left=0.28), panel=panel(4, **look)) for k in range(20)]
    after = [frame(2 + k / 10, digits=digits("1000", **look), panel=panel(4, **look)) for k in range(60)]
    events = run(rule, before + after)
    assert numbers(events) == ["999", "1000"]
    assert 4.0 <= events[-1].start_ns / 1e9 <= 5.0  # four fifths of three seconds after it changed


def test_a_given_number_of_digits_is_kept_to():
    rule = meter(digits=4)
    assert numbers(run(rule, film(*["407"] * 200, *["4071"] * 5))) == ["4071"]


@pytest.mark.parametrize("angle", [-40, -20, 5, 30, 44])
def test_a_turned_panel_is_read_along_its_own_axis(angle):
    assert numbers(run(meter(), film(*["4071"] * 5, left=0.4, angle=angle))) == ["4071"]


@pytest.mark.parametrize("angle", [-60, -20, 0, 30, 70])
def test_without_a_panel_the_row_itself_tells_the_direction(angle):
    rule = meter(heads=("digits",))
    frames = [frame(k / 10, digits=digits("40712", left=0.4, angle=angle)) for k in range(5)]
    assert numbers(run(rule, frames)) == ["40712"]


def test_several_rows_are_read_from_top_to_bottom():
    rule = meter(heads=("digits",), rows=2)
    rows = both(digits("1234", top=0.6), digits("56", top=0.3))
    events = run(rule, [frame(k / 10, digits=rows) for k in range(5)])
    assert numbers(events) == ["56\n1234"]
    assert events[0].value["number"] is None


def test_one_row_is_wanted_and_the_fuller_one_is_read():
    rule = meter(heads=("digits",))
    rows = both(digits("1234", top=0.6), digits("56", top=0.3))
    assert numbers(run(rule, [frame(k / 10, digits=rows) for k in range(5)])) == ["1234"]


def test_digits_beside_the_panel_and_in_ignored_regions_are_not_read():
    rule = meter(ignore=(((0.25, 0.35), (0.36, 0.35), (0.36, 0.6), (0.25, 0.6)),))
    beside = both(digits("4071"), digits("99", top=0.8))
    frames = [frame(k / 10, digits=beside, panel=panel()) for k in range(5)]
    assert numbers(run(rule, frames)) == ["071"]


def test_without_its_panel_nothing_is_read():
    empty = Segmentation(np.empty(0, np.int32), np.empty(0, np.float32), ())
    assert run(meter(), [frame(k / 10, digits=digits("4071"), panel=empty) for k in range(10)]) == []


def cut_off(result, place, shares):
    """The same digits with one of them hidden from below, and read as a 7: what is left of a 2 looks like one."""
    for share in shares:
        xyxy, class_id = result.xyxy.copy(), result.class_id.copy()
        xyxy[place, 3] -= share * (xyxy[place, 3] - xyxy[place, 1])
        class_id[place] = 7
        yield Detections(xyxy, result.score, class_id)


@pytest.mark.parametrize("shares", [np.linspace(0, 0.5, 8), np.linspace(0.05, 0.25, 4), [0.35] * 20])
def test_a_finger_that_moves_over_a_digit_makes_no_new_number(shares):
    """The box of a digit that is being hidden shrinks, or is lower than its row: what it looks like does not count."""
    rule = meter()
    there = cut_off(digits("4072"), 3, shares)
    events = run(rule, film(*["4072"] * 10))
    events += run(rule, [frame(1 + k / 10, digits=result, panel=panel()) for k, result in enumerate(there)])
    events += run(rule, film(*["4072"] * 10, start_s=4))
    assert numbers(events) == ["4072"]


def test_what_looks_like_digits_elsewhere_is_not_read_while_the_panel_is_hidden():
    """Letters on a wall, a second outline round them: as sure as digits, but not where the number was."""
    rule = meter()
    wall, outline = digits("5833", top=0.75), panel(top=0.75)
    events = run(rule, film(*["4071"] * 10))
    events += run(rule, [frame(1 + k / 10, digits=wall, panel=outline) for k in range(30)])
    events += run(rule, film(*["4072"] * 10, start_s=4))
    assert numbers(events) == ["4071", "4072"]


def test_the_panel_where_the_number_was_counts_before_one_with_more_digits():
    rule = meter()
    outlines = (*panel().polygons, *panel(6, top=0.75).polygons)
    both_panels = Segmentation(np.zeros(2, np.int32), np.ones(2, np.float32), outlines)
    two = both(digits("4072"), digits("583333", top=0.75))
    events = run(rule, film(*["4071"] * 5))
    events += run(rule, [frame(1 + k / 10, digits=two, panel=both_panels) for k in range(100)])
    assert numbers(events) == ["4071", "4072"]


def test_a_camera_that_is_turned_reads_on_after_a_while():
    rule = meter(length_s=2.0)
    events = run(rule, film(*["4071"] * 10))
    events += run(rule, film(*["4085"] * 40, start_s=1, top=0.75))
    assert numbers(events) == ["4071", "4085"]


def test_a_reading_that_is_not_sure_enough_is_not_told_of():
    assert numbers(run(meter(), film(*["4071"] * 20, score=0.45))) == []
    assert numbers(run(meter(confidence=0.4), film(*["4071"] * 20, score=0.45))) == ["4071"]


def test_a_faint_stain_in_the_row_is_no_digit():
    rule = meter()
    stained = both(digits("4071"), digits("    1", score=0.41))
    events = run(rule, [frame(k / 10, digits=stained, panel=panel(5)) for k in range(20)])
    assert numbers(events) == ["4071"]


def test_results_that_are_carried_over_are_no_votes():
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


def test_three_heads_are_one_too_many():
    with pytest.raises(OptionError, match="found 3"):
        meter(heads=("digits", "panel", "scene"))


@given(st.lists(st.text("0123456789 ", max_size=5), max_size=60), st.integers(1, 4))
@settings(max_examples=60)
def test_whatever_is_shown_every_event_ends_and_no_number_follows_itself(texts, count):
    rule = meter(frames=count)
    events = run(rule, film(*texts))
    told = numbers(events)
    assert all(a != b for a, b in pairwise(told))
    check_lives(events + finish(rule))


def seen(line, rng, miss=0.01, confuse=0.02):
    """What a fair detector sees of a line of truth: trembling boxes, some missed, some misread."""
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


@pytest.mark.skipif(not TRUTH.exists(), reason="the sample clip's truth is not there")
@pytest.mark.parametrize("seed", range(10))
def test_the_sample_story_seen_by_a_fair_detector(seed):
    """Each number exactly once, in order, none made up, within five frames of its being visible."""
    lines = [json.loads(line) for line in TRUTH.read_text().splitlines()]
    shown, first = [], []
    for line in lines:
        if line["reading"] and (not shown or line["reading"] != shown[-1]):
            shown.append(line["reading"])
            first.append(line["frame"])
    rng, rule = np.random.default_rng(seed), meter()
    told = []
    for line in lines:
        result, shape = seen(line, rng)
        made = frame(line["frame"] / 10, digits=result, panel=shape)
        told += [(line["frame"], e.value["text"]) for e in rule.step(made) if e.type == "new"]
    assert [text for _, text in told] == shown
    late = [frame - early for (frame, _), early in zip(told, first)]
    assert max(late) <= 5, late
