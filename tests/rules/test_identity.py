"""identity: one event for each visit of a known or unknown person."""

from __future__ import annotations

import os

import numpy as np
import pytest

from edge_app.errors import ConfigError, EdgeError, OptionError
from edge_app.frame import Crops, Detections, Embedding, Frame, HeadOutput
from edge_app.gallery import Gallery, Person, file, path_of
from edge_app.rules import Moment, RuleContext
from edge_app.rules.identity import Rule

ADA, BOB, STRANGER = np.eye(8, dtype=np.float32)[:3]
LEFT, RIGHT = (10, 10, 60, 70), (100, 10, 150, 70)


def save(folder, *people):
    path = path_of(folder, "face")
    path.parent.mkdir(exist_ok=True)
    listed = tuple(Person(name, "", vector[None]) for name, vector in people)
    temporary = path.with_suffix(".new")
    temporary.write_bytes(file.encode(Gallery("face", "m", listed), None))
    os.replace(temporary, path)


def context(folder):
    return RuleContext("door", "identity", {"faces": ("face",), "face": ()}, state_dir=folder)


@pytest.fixture
def folder(tmp_path):
    save(tmp_path, ("Ada", ADA), ("Bob", BOB))
    return tmp_path


def rule(folder, **options):
    return Rule(context(folder), head="face", **{"frames": 2, "unknown_s": 1.0, "grace_s": 2.0, **options})


def frame(t_s, *faces, ran=True):
    """faces: each a vector, a box, and a track id if faces are tracked."""
    result = Frame("camera", 0, round(t_s * 1e9), round(t_s * 1e9), np.zeros((100, 200, 3), np.uint8))
    boxes = np.array([face[1] for face in faces], np.float32).reshape(-1, 4)
    ids = np.array([face[2] if len(face) > 2 else 0 for face in faces], np.int64)
    found = Detections(boxes, np.ones(len(faces), np.float32), np.zeros(len(faces), np.int32), ids)
    result.heads = {"faces": HeadOutput(found)}
    if ran:
        vectors = tuple(Embedding(face[0]) for face in faces)
        result.heads["face"] = HeadOutput(Crops("faces", tuple(range(len(faces))), vectors))
    return result


def told(events):
    return [(event.type, event.value["identity"], event.value.get("reason")) for event in events]


def run(rule, *frames):
    return [event for each in frames for event in rule.step(each)]


def near(vector, similarity):
    """A vector of this similarity with `vector`, and none with the others."""
    return (similarity * vector + np.sqrt(1 - similarity**2) * np.eye(8, dtype=np.float32)[7]).astype(np.float32)


def test_a_visit_is_one_event_from_the_first_to_the_last_sight(folder):
    door = rule(folder)
    frames = [frame(t, (near(ADA, 0.8), LEFT)) for t in (0, 0.5, 1)] + [frame(t) for t in (1.5, 2.5, 3.5)]
    events = run(door, *frames)
    assert told(events) == [("new", "Ada", None), ("end", "Ada", "left")]
    assert (events[0].start_ns, events[1].end_ns) == (0, 10**9)
    assert events[0].value["known"] is True
    assert events[0].value["similarity"] == pytest.approx(0.8, abs=1e-3)
    assert events[0].value["box"] == [0.05, 0.1, 0.3, 0.7]
    assert door.state() == {"present": [], "unknown": 0}


def test_a_face_below_the_threshold_is_unknown_after_some_time(folder):
    door = rule(folder)
    frames = [frame(t, (near(ADA, 0.49), LEFT)) for t in (0, 0.5, 1.0, 1.5)]
    assert [told(door.step(each)) for each in frames] == [[], [], [("new", None, None)], []]
    assert door.state() == {"present": [], "unknown": 1}
    assert told(door.finish("shutdown", Moment(2 * 10**9, 0))) == [("end", None, "shutdown")]


def test_one_frame_is_not_enough(folder):
    door = rule(folder)
    assert run(door, frame(0, (ADA, LEFT)), frame(0.5, (BOB, LEFT)), frame(1.0, (STRANGER, LEFT))) == []


def test_an_unknown_person_who_is_recognized_later_becomes_known(folder):
    door = rule(folder)
    frames = [frame(t, (STRANGER, LEFT, 5)) for t in (0, 0.5, 1)] + [frame(t, (BOB, LEFT, 5)) for t in (1.5, 2, 2.5)]
    assert told(run(door, *frames)) == [("new", None, None), ("end", None, "recognized"), ("new", "Bob", None)]


def test_two_people_have_an_event_each_and_keep_them_when_they_move(folder):
    door = rule(folder)
    frames = [frame(0, (ADA, LEFT), (BOB, RIGHT)), frame(0.2, (BOB, RIGHT), (ADA, LEFT))]
    frames += [frame(0.4, (BOB, (110, 12, 160, 72)), (ADA, (15, 10, 65, 70)))]
    events = run(door, *frames)
    assert sorted(told(events)) == [("new", "Ada", None), ("new", "Bob", None)]
    assert door.state() == {"present": ["Ada", "Bob"], "unknown": 0}


def test_a_person_who_returns_within_grace_continues_the_visit(folder):
    door = rule(folder)
    first = [frame(t, (ADA, LEFT, 1)) for t in (0, 0.5)]
    second = [frame(t, (ADA, RIGHT, 2)) for t in (2.0, 2.4)] + [frame(t) for t in (2.6, 3.0, 4.0, 4.5)]
    events = run(door, *first, *second)
    assert told(events) == [("new", "Ada", None), ("end", "Ada", "left")]
    assert events[1].end_ns == 2_400_000_000


@pytest.mark.parametrize(("report", "expected"), [("known", {"Ada"}), ("unknown", {None}), ("all", {"Ada", None})])
def test_only_the_people_that_are_asked_for_have_events(folder, report, expected):
    door = rule(folder, report=report)
    events = run(door, *[frame(t, (ADA, LEFT), (STRANGER, RIGHT)) for t in (0, 0.5, 1, 1.5)])
    assert {event.value["identity"] for event in events} == expected


def test_a_face_without_an_embedding_is_nobody(folder):
    door = rule(folder)
    assert run(door, *[frame(t, (np.zeros(8, np.float32), LEFT)) for t in range(5)]) == []


def test_frames_for_which_the_head_did_not_run_change_nothing(folder):
    door = rule(folder)
    frames = [frame(0, (ADA, LEFT)), frame(0.1, (ADA, LEFT), ran=False), frame(0.2, (ADA, LEFT))]
    assert told(run(door, *frames)) == [("new", "Ada", None)]


def test_people_are_added_and_removed_while_it_runs(folder):
    door = rule(folder)
    assert run(door, frame(0, (STRANGER, LEFT)), frame(0.5, (ADA, RIGHT)), frame(0.6, (ADA, RIGHT)))
    save(folder, ("Bob", BOB), ("Eve", STRANGER))
    events = run(door, *[frame(t, (STRANGER, LEFT), (ADA, RIGHT)) for t in (2.1, 2.2, 2.3)])
    assert told(events) == [("end", "Ada", "removed"), ("new", "Eve", None), ("new", None, None)]


def test_a_file_that_is_damaged_while_it_runs_keeps_the_people(folder, caplog):
    door = rule(folder)
    assert run(door, frame(0)) == []
    path_of(folder, "face").write_bytes(b"damaged")
    assert told(run(door, frame(3, (ADA, LEFT)), frame(3.5, (ADA, LEFT)))) == [("new", "Ada", None)]
    assert "is damaged" in caplog.text


def test_a_damaged_file_at_the_start_is_an_error(folder):
    path_of(folder, "face").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="is damaged"):
        rule(folder)


def test_without_a_gallery_everybody_is_unknown(tmp_path):
    events = run(rule(tmp_path), *[frame(t, (ADA, LEFT)) for t in (0, 0.5, 1)])
    assert told(events) == [("new", None, None)]


def test_checking_a_configuration_opens_nothing():
    Rule(RuleContext("door", "identity", {"face": ()}), head="face")
    with pytest.raises(OptionError, match="there is no head 'fac'; did you mean 'face'"):
        Rule(RuleContext("door", "identity", {"face": ()}), head="fac")
    with pytest.raises(OptionError, match="found 0"):
        Rule(RuleContext("door", "identity", {"face": ()}), head="face", threshold=0.0)


def test_embeddings_of_another_model_are_an_error(folder):
    with pytest.raises(EdgeError, match="found embeddings of 4 values, the gallery has 8; expected people enrolled"):
        run(rule(folder), frame(0, (np.ones(4, np.float32) / 2, LEFT)))


def test_the_number_of_visits_is_bounded(folder):
    door = rule(folder)
    for i in range(1100):
        run(door, frame(0.001 * i, (STRANGER, LEFT, i + 1)))
    assert len(door._visits) == 1000


def test_an_unknown_person_whose_track_is_lost_continues_the_visit(folder):
    door = rule(folder)
    first = [frame(t, (STRANGER, LEFT, 1)) for t in (0, 0.5, 1)]
    second = [frame(t, (near(STRANGER, 0.8), RIGHT, 2)) for t in (2, 2.5, 3, 3.5)]
    assert told(run(door, *first, *second)) == [("new", None, None)]
    another = [frame(t, (np.eye(8, dtype=np.float32)[5], LEFT, 3)) for t in (4, 4.5, 5)]
    assert told(run(door, *another)) == [("new", None, None)]


def test_a_person_who_takes_the_place_of_another_is_a_visit_of_its_own(folder):
    door = rule(folder)
    frames = [frame(t, (ADA, LEFT)) for t in (0, 0.3)] + [frame(t, (BOB, LEFT)) for t in (0.6, 0.9, 1.2)]
    assert told(run(door, *frames)) == [("new", "Ada", None), ("new", "Bob", None)]
