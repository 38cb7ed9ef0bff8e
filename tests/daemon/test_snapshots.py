"""Pictures of events: what is taken, and that the ring stays within its bounds."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.config.services import SnapshotsConfig as Settings
from edge_app.daemon.snapshots import Snapshots
from edge_app.frame import Event, Frame


def frame(width: int = 320, height: int = 240) -> Frame:
    return Frame("camera", 0, 0, 0, np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8))


def event(id_: str, type_: str = "new", **value: object) -> Event:
    return Event(type_, id_, "door", "zone", 1, 2, value=value)


def picture(jpeg: bytes | None) -> np.ndarray:
    assert jpeg is not None
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_a_picture_of_every_event_that_begins(tmp_path: Path):
    ring = Snapshots(tmp_path, Settings())
    ring.take(frame(1280, 720), [event("a-1"), event("b-1", "update"), event("c-1", "end")])
    ring.close()
    assert picture(ring.read("a-1")).shape == (360, 640, 3)
    assert ring.taken() == {"a-1"}
    assert ring.read("b-1") is None


def test_a_crop_is_the_event_s_box_where_it_has_one(tmp_path: Path):
    ring = Snapshots(tmp_path, Settings(what="crop"))
    ring.take(frame(), [event("a", box=[0.5, 0.5, 0.75, 1.0]), event("b"), event("c", box=[0.9, 0.9, 0.1, 0.1])])
    ring.close()
    assert picture(ring.read("a")).shape == (120, 80, 3)
    assert picture(ring.read("b")).shape == picture(ring.read("c")).shape == (240, 320, 3)


@pytest.mark.parametrize(("settings", "kept"), [(Settings(max_files=3), 3), (Settings(max_mb=0.15), 2)])
def test_the_oldest_go_first_also_those_of_an_earlier_run(tmp_path: Path, settings: Settings, kept: int):
    for run in range(2):
        ring = Snapshots(tmp_path, settings)
        for number in range(4):
            ring.take(frame(), [event(f"{run}-{number}")])
            time.sleep(0.05)
        ring.close()
    names = sorted(path.stem for path in tmp_path.iterdir())
    assert names == [f"1-{number}" for number in range(4)][-kept:]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= settings.max_mb * 1e6


def test_ids_never_lead_out_of_the_folder(tmp_path: Path):
    (tmp_path / "secret.jpg").write_bytes(b"x")
    ring = Snapshots(tmp_path / "ring", Settings())
    ring.take(frame(), [event("../out"), event("a/b"), event("")])
    ring.close()
    assert ring.read("../secret") is None
    assert ring.read("..") is None
    assert sorted(path.name for path in tmp_path.rglob("*.jpg")) == ["secret.jpg"]


def test_a_full_disk_costs_pictures_and_nothing_else(tmp_path: Path):
    ring = Snapshots(tmp_path / "ring", Settings())
    ring.take(frame(), [event("a")])
    time.sleep(0.3)
    (tmp_path / "ring/b.new").mkdir()  # what cannot be written, whoever runs this
    ring.take(frame(), [event("b"), event("c")])
    ring.close()
    assert ring.left_out == 1
    assert ring.taken() == {"a", "c"}


def test_a_flood_is_left_out_not_waited_for(tmp_path: Path):
    ring, small = Snapshots(tmp_path, Settings()), frame(64, 48)
    began = time.monotonic()
    for number in range(500):
        ring.take(small, [event(str(number))])
    assert time.monotonic() - began < 2
    ring.close()
    assert ring.left_out > 0
    assert ring.left_out + len(os.listdir(tmp_path)) == 500
