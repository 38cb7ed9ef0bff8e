"""text: each text once; misread characters are outvoted; codes, crops and whole images give the same events."""

import numpy as np
import pytest

from edge_app.errors import OptionError
from edge_app.frame import Crops, Detections, Text
from edge_app.rules import RuleContext
from edge_app.rules.text import Rule

from .frames import HEIGHT, WIDTH, check_events, finish, frame, run

LABELS = {"codes": ("qr", "ean13"), "plates": ("plate",), "read": ()}
BOX = (100, 100, 200, 140)


def rule(head="codes", **options):
    return Rule(RuleContext("rule", "text", LABELS, None), head=head, **options)


def detections(*rows, label=0):
    """Rows of (text, box, track id)."""
    return Detections(
        np.array([row[1] if len(row) > 1 else BOX for row in rows], np.float32).reshape(-1, 4),
        np.ones(len(rows), np.float32),
        np.full(len(rows), label, np.int32),
        np.array([row[2] for row in rows], np.int64) if rows and len(rows[0]) > 2 else None,
        texts=tuple(row[0] for row in rows),
    )


def codes(*texts, start_s=0.0, **options):
    """Frames with one code, ten a second; None: no code."""
    return [
        frame(start_s + i / 10, codes=detections(*([] if text is None else [(text,)]), **options))
        for i, text in enumerate(texts)
    ]


def crops(*texts, score=0.9, track=None):
    """Frames with one plate, on which another head reads a text."""
    made = []
    for i, text in enumerate(texts):
        row = ("", BOX) if track is None else ("", BOX, track)
        of = detections(row)
        made.append(frame(i / 10, plates=of, read=Crops("plates", (0,), (Text(text, score),))))
    return made


def texts_of(events):
    return [(event.type, event.value["text"], event.value.get("reason")) for event in events]


def test_a_text_is_one_event_and_ends_when_it_is_gone():
    tested = rule(gone_s=1.0)
    events = run(tested, codes(*["hello"] * 10, *[None] * 20))
    assert texts_of(events) == [("new", "hello", None), ("end", "hello", "gone")]
    box = events[0].value["box"]
    assert events[0].value == {"text": "hello", "confidence": 1.0, "label": "qr", "box": box}
    np.testing.assert_allclose(box, [100 / WIDTH, 100 / HEIGHT, 200 / WIDTH, 140 / HEIGHT], atol=1e-4)
    assert events[1].end_ns == 900_000_000
    check_events(events)


def test_frames_must_agree():
    tested = rule(frames=3)
    assert [len(list(tested.step(each))) for each in codes("a", "a", "a", "a")] == [0, 0, 1, 0]


def test_misread_characters_of_crops_are_outvoted():
    """Every second reading has an error somewhere."""
    tested = rule("read", pattern="[A-Z]{2}[0-9]{3}")
    readings = ["AB123", "A8123", "AB123", "AB128", "AB123", "AB123", "4B123", "AB123"] * 3
    assert texts_of(run(tested, crops(*readings)))[:1] == [("new", "AB123", None)]
    assert len(run(rule("read"), crops(*readings))) == 1


def test_the_pattern_matches_as_a_whole():
    tested = rule(pattern="[0-9]{4}")
    assert texts_of(run(tested, codes(*["12345"] * 5, *["123a"] * 5, *["1234"] * 5))) == [("new", "1234", None)]


def test_dropped_characters_do_not_count():
    tested = rule("read", drop=" -·", pattern="[A-Z0-9]+")
    assert texts_of(run(tested, crops("AB-12 3", "AB 12-3", "AB123", "A·B123"))) == [("new", "AB123", None)]


def test_a_text_of_another_length_replaces_the_old_one_and_ends_it():
    tested = rule(length_s=0.3, gone_s=0.5)
    events = run(tested, codes(*["abc"] * 8, *["abcdef"] * 20))
    assert texts_of(events) == [("new", "abc", None), ("new", "abcdef", None), ("end", "abc", "gone")]


def test_several_objects_have_votes_of_their_own():
    both = [frame(i / 10, codes=detections(("left", (0, 0, 100, 50)), ("right", (300, 0, 400, 50)))) for i in range(5)]
    assert texts_of(run(rule(), both)) == [("new", "left", None), ("new", "right", None)]


def test_the_same_text_at_two_places_is_one_event():
    both = [frame(i / 10, codes=detections(("x", (0, 0, 100, 50)), ("x", (300, 0, 400, 50)))) for i in range(5)]
    assert texts_of(run(rule(), both)) == [("new", "x", None)]


def test_votes_follow_a_track_that_moves():
    moving = [frame(i / 10, codes=detections(("abc", (i * 100, 0, i * 100 + 50, 50), 7))) for i in range(5)]
    (event,) = run(rule(), moving)
    assert (event.value["text"], event.value["track_id"]) == ("abc", 7)
    untracked = [frame(i / 10, codes=detections(("abc", (i * 100, 0, i * 100 + 50, 50)))) for i in range(5)]
    assert run(rule(), untracked) == []


def test_the_text_of_a_whole_image():
    frames = [frame(i / 10, read=Text("LOT 7", 0.8)) for i in range(4)]
    (event,) = run(rule("read"), frames)
    assert event.value == {"text": "LOT 7", "confidence": 0.8, "box": [0, 0, 1, 1]}


@pytest.mark.parametrize("options", [{"min_score": 0.7}, {"confidence": 0.7}])
def test_uncertain_texts_do_not_count(options):
    assert run(rule("read", **options), crops(*["abc"] * 5, score=0.6)) == []


def test_empty_and_too_long_texts_do_not_count():
    assert run(rule("read"), crops(*[""] * 5)) == []
    assert run(rule(max_length=4), codes(*["hello"] * 5)) == []
    assert run(rule(), codes(*["x" * 5000] * 5)) == []


def test_held_results_are_no_votes():
    stale = [frame(i / 10, age_s=1.0, codes=detections(("abc",))) for i in range(5)]
    assert run(rule(), stale) == []


def test_memory_and_open_events_are_bounded():
    tested = rule(frames=1, gone_s=1e6)
    rows = [[(f"t{i}-{k}", (k, 0, k + 1, 1)) for k in range(12)] for i in range(15)]
    events = run(tested, [frame(i / 10, codes=detections(*row)) for i, row in enumerate(rows)])
    opened, ended = (sum(event.type == type_ for event in events) for type_ in ("new", "end"))
    assert opened - ended <= 100
    assert len(tested._places) <= 100
    assert len(tested.state()["texts"]) <= 5
    check_events(events + finish(tested))


def test_updates_state_and_overlay():
    tested = rule(update_every_s=0.5)
    events = run(tested, codes(*["abc"] * 12))
    assert [event.type for event in events] == ["new", "update"]
    assert tested.state() == {"texts": ["abc"], "count": 1}
    assert [each.text for each in tested.overlay()] == ["rule: abc"]
    assert [event.type for event in finish(tested)] == ["end"]
    assert tested.state() == {"texts": [], "count": 0}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"head": "nobody"}, "head: there is no head 'nobody'"),
        ({"pattern": "(["}, "pattern: found '([': unterminated character set"),
        ({"max_length": 5000}, "max_length: found 5000; expected at most 1024"),
    ],
)
def test_rejects_options(options, problem):
    with pytest.raises(OptionError) as caught:
        rule(**options)
    assert str(caught.value).startswith(problem)
