"""From frames and events to clips. The encoder copies its images into the file, unless a test needs a real one."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app.clips.encoders import Encoder, available
from edge_app.clips.jpeg import Compressor
from edge_app.clips.recorder import Clips, Recorder, still_budget
from edge_app.config.clips import ClipsConfig
from tests.clips.video import SECOND, event, frame, levels

SETTINGS = ClipsConfig(enabled=True, before_s=2, after_s=1, max_s=8, fps=5)
COPY = Encoder("copy", ".mp4", lambda path, rate: ["sh", "-c", 'cat > "$0"', str(path)])


def record(events: dict[float, list], settings: ClipsConfig = SETTINGS, *, until_s: float = 30.0) -> list:
    """Feed images of 5 a second, and events by the time at which they are reported. Returns (job, end) of each clip."""
    recorder, compressor, done = Recorder(settings), Compressor(64, 50, 10**6), []
    pending = dict(sorted(events.items()))
    for number in range(round(until_s * 5)):
        still = compressor.compress(frame(number, 5, width=64, height=48))
        recorder.ring.add(still)
        while pending and next(iter(pending)) * SECOND <= still.captured_ns:
            for each in pending.pop(next(iter(pending))):
                recorder.record(each, still.captured_ns)
        done += [(job, still.captured_ns / SECOND) for job in recorder.finished(still.captured_ns)]
        recorder.trim(still.captured_ns, 0)
    return done


def spans(done: list) -> list[tuple[float, float]]:
    return [(job.stills[0].captured_ns / SECOND, job.stills[-1].captured_ns / SECOND) for job, _ in done]


def test_a_clip_begins_before_the_start_of_the_event_and_ends_after_its_end():
    done = record({10.0: [event(start_s=9.0)], 12.0: [event("end", start_s=9.0)]})
    assert spans(done) == [(7.0, 13.0)]
    assert [(job.name, job.events, end) for job, end in done] == [("door-1-1", ("door-1-1",), 13.0)]


def test_an_event_that_goes_on_has_a_clip_of_the_longest_length():
    assert spans(record({10.0: [event(start_s=10.0)]})) == [(8.0, 16.0)]


def test_an_instant_event_has_a_clip():
    assert spans(record({10.0: [event(start_s=10.0), event("end", start_s=10.0)]})) == [(8.0, 11.0)]


def test_events_that_overlap_share_a_clip():
    first, second = event(start_s=10.0), event(id_="door-2-2", start_s=11.0)
    done = record(
        {10.0: [first], 11.0: [second], 12.0: [replace(first, type="end")], 13.0: [replace(second, type="end")]}
    )
    assert spans(done) == [(8.0, 14.0)]
    assert done[0][0].events == ("door-1-1", "door-2-2")


def test_an_event_that_does_not_fit_into_the_open_clip_has_its_own_with_all_seconds_before():
    done = record({10.0: [event(start_s=10.0)], 15.6: [event(id_="door-2-2", start_s=15.6)]})
    assert spans(done) == [(8.0, 16.0), (13.6, 21.6)]


def test_at_most_two_clips_are_open():
    starts = [10.0, 10.4, 10.8]
    events = {s: [event(id_=f"door-{i}-{i}", start_s=s)] for i, s in enumerate(starts)}
    done = record(events, replace(SETTINGS, max_s=3))
    assert [job.events for job, _ in done] == [("door-0-0",), ("door-1-1", "door-2-2")]


def test_images_are_kept_longer_for_rules_that_report_late():
    late = {10.0: [event(start_s=4.0)], 25.0: [event(id_="door-2-2", start_s=19.0)]}
    assert spans(record(late))[1][0] == 17.0, "2 s before the start, although it was reported 6 s after it"


def test_memory_is_bounded_and_the_budget_fits_two_of_the_longest_clips():
    settings = replace(SETTINGS, memory_mb=0.5)
    recorder, compressor = Recorder(settings), Compressor(640, 75, still_budget(settings))
    for number in range(300):
        still = compressor.compress(frame(number, 5, width=320, height=240))
        recorder.ring.add(still)
        recorder.record(event(id_=f"door-{number}", start_s=number / 5), still.captured_ns)
        recorder.finished(still.captured_ns)
        recorder.trim(still.captured_ns, 100_000)
        assert recorder.ring.bytes <= 400_000
    assert still_budget(settings) * 2 * (8 + 2 + 2) * 5 <= 500_000


def started(folder: Path, encoder: Encoder = COPY, **settings: object) -> Clips:
    return Clips(folder, replace(SETTINGS, **settings), [encoder])


def play(clips: Clips, events: dict[int, list], frames: int, *, clock_step: bool = False) -> None:
    """Submit frames of 10 a second as fast as the thread takes them. clock_step: UTC is set back in between."""
    for number in range(frames):
        each = frame(number)
        if clock_step and number > frames // 2:
            each.utc_ns -= 86_400 * SECOND
        while clips._frames.full():
            time.sleep(0.001)
        clips.submit(each, events.get(number, []))


def written(clips: Clips, number: int = 1) -> list[dict]:
    end_s, found = time.monotonic() + 20, []
    while len(found) < number:
        found += clips.reports()
        assert time.monotonic() < end_s, clips.status()
        time.sleep(0.01)
    return found


def test_a_real_encoder_writes_what_the_camera_saw(tmp_path):
    clips = started(tmp_path / "clips", available()[-1])
    play(clips, {50: [event(start_s=5.0), event("end", start_s=5.0)]}, 80)
    report = written(clips)[0]
    path = clips.path(report["name"])
    rate, found = levels(path)
    assert report["events"] == ["door-1-1"]
    assert report["duration_s"] == pytest.approx(3.0, abs=0.21)
    assert report["start"].startswith("2023-11-14T22:13:2")
    assert (rate, len(found)) == (5, 16)
    expected = [8 * number % 256 for number in range(30, 61, 2)]
    assert all(abs(a - b) <= 6 for a, b in zip(found, expected)), found
    assert clips.names() == {"door-1-1": report["name"]}
    assert path.stat().st_size == report["bytes"]
    clips.close()


def test_a_clip_is_written_although_the_camera_is_lost_after_the_event(tmp_path):
    clips = started(tmp_path / "clips", max_s=4)
    play(clips, {50: [event(start_s=5.0)]}, 52)
    assert written(clips)[0]["events"] == ["door-1-1"]
    clips.close()


def test_a_clock_that_is_set_does_not_matter(tmp_path):
    clips = started(tmp_path / "clips")
    play(clips, {50: [event(start_s=5.0), event("end", start_s=5.0)]}, 80, clock_step=True)
    assert written(clips)[0]["duration_s"] == pytest.approx(3.0, abs=0.21)
    clips.close()


def test_only_configured_rules_are_recorded(tmp_path):
    clips = started(tmp_path / "clips", rules=("gate",))
    other = event(id_="gate-1-1", rule="gate", start_s=7.0)
    play(clips, {50: [event(start_s=5.0)], 70: [other, replace(other, type="end")]}, 100)
    assert written(clips)[0]["events"] == ["gate-1-1"]
    clips.close()


def test_the_names_of_an_earlier_run_are_known(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "door-9-9.mp4").write_bytes(b"x")
    clips = started(tmp_path / "clips")
    end_s = time.monotonic() + 10
    while not clips.names() and time.monotonic() < end_s:
        time.sleep(0.01)
    assert clips.names() == {"door-9-9": "door-9-9.mp4"}
    clips.close()


def test_close_ends_an_encoder_that_hangs_and_leaves_no_file(tmp_path):
    hang = Encoder("hang", ".mp4", lambda path, rate: ["sh", "-c", 'echo half > "$0"; exec sleep 60', str(path)])
    clips = started(tmp_path / "clips", hang)
    play(clips, {50: [event(start_s=5.0), event("end", start_s=5.0)]}, 80)
    end_s = time.monotonic() + 10
    while not list((tmp_path / "clips").glob(".*")) and time.monotonic() < end_s:
        time.sleep(0.01)
    began_s = time.monotonic()
    clips.close()
    clips.close()
    assert time.monotonic() - began_s < 2
    assert os.listdir(tmp_path / "clips") == []
