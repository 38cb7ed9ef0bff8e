"""Snapshots of events: their content, and the limits of the ring."""

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


def test_writes_a_snapshot_of_every_event_that_begins(tmp_path: Path):
    ring = Snapshots(tmp_path, Settings())
    ring.submit(frame(1280, 720), [event("a-1"), event("b-1", "update"), event("c-1", "end")])
    ring.close()
    assert picture(ring.read("a-1")).shape == (360, 640, 3)
    assert ring.event_ids() == {"a-1"}
    assert ring.read("b-1") is None


def test_crops_to_the_box_of_the_event_if_it_has_one(tmp_path: Path):
    ring = Snapshots(tmp_path, Settings(what="crop"))
    ring.submit(frame(), [event("a", box=[0.5, 0.5, 0.75, 1.0]), event("b"), event("c", box=[0.9, 0.9, 0.1, 0.1])])
    ring.close()
    assert picture(ring.read("a")).shape == (120, 80, 3)
    assert picture(ring.read("b")).shape == picture(ring.read("c")).shape == (240, 320, 3)


@pytest.mark.parametrize(("settings", "kept"), [(Settings(max_files=3), 3), (Settings(max_mb=0.15), 2)])
def test_deletes_the_oldest_first_across_runs(tmp_path: Path, settings: Settings, kept: int):
    for run in range(2):
        ring = Snapshots(tmp_path, settings)
        for number in range(4):
            ring.submit(frame(), [event(f"{run}-{number}")])
            time.sleep(0.05)
        ring.close()
    names = sorted(path.stem for path in tmp_path.iterdir())
    assert names == [f"1-{number}" for number in range(4)][-kept:]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= settings.max_mb * 1e6


def test_ignores_event_ids_that_leave_the_folder(tmp_path: Path):
    (tmp_path / "secret.jpg").write_bytes(b"x")
    ring = Snapshots(tmp_path / "ring", Settings())
    ring.submit(frame(), [event("../out"), event("a/b"), event("")])
    ring.close()
    assert ring.read("../secret") is None
    assert ring.read("..") is None
    assert sorted(path.name for path in tmp_path.rglob("*.jpg")) == ["secret.jpg"]


def test_a_failed_write_drops_only_that_snapshot(tmp_path: Path):
    ring = Snapshots(tmp_path / "ring", Settings())
    ring.submit(frame(), [event("a")])
    time.sleep(0.3)
    (tmp_path / "ring/b.new").mkdir()  # cannot be written, even by root
    ring.submit(frame(), [event("b"), event("c")])
    ring.close()
    assert ring.dropped == 1
    assert ring.event_ids() == {"a", "c"}


def test_drops_snapshots_instead_of_blocking(tmp_path: Path):
    ring, small = Snapshots(tmp_path, Settings()), frame(64, 48)
    began = time.monotonic()
    for number in range(500):
        ring.submit(small, [event(str(number))])
    assert time.monotonic() - began < 2
    ring.close()
    assert ring.dropped > 0
    assert ring.dropped + len(os.listdir(tmp_path)) == 500
