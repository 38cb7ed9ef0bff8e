"""The page of several cameras: each path shows the one that `?camera=` names, metrics show all of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from edge_app.config.services import WebConfig
from edge_app.frame import Frame

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")
from edge_app.web import metrics
from edge_app.web.server import PageServer
from tests.web.conftest import EVENT, STATE, ask, page_data

LOST = {**STATE, "source": {"state": "lost", "dropped": 9, "failures": 3}, "frames": 2}
SEVERAL = {**STATE, "cameras": {"front": STATE, "yard": LOST}}


@pytest.fixture
def page():
    front = replace(page_data(SEVERAL), camera="front")
    yard = replace(page_data({**SEVERAL, **LOST}), camera="yard", events=lambda: [replace(EVENT, rule="shed")])
    running = PageServer(WebConfig(enabled=True, port=0, fps=30), front, [yard])
    yield running
    running.close()


@pytest.mark.parametrize(
    ("query", "frames", "rule"), [("", 7, "door"), ("?camera=front", 7, "door"), ("?camera=yard", 2, "shed")]
)
def test_a_path_shows_the_camera_that_is_named(page, query, frames, rule):
    status = json.loads(ask(page, f"/api/status{query}")[2])
    assert status["frames"] == frames
    assert list(status["cameras"]) == ["front", "yard"]
    assert [event["rule"] for event in json.loads(ask(page, f"/api/events{query}")[2])] == [rule]


def test_an_unknown_camera_is_not_found(page):
    status, _, body = ask(page, "/api/status?camera=shed")
    assert (status, body) == (404, b"found no such camera; expected one of: front, yard\n")


def test_it_is_unhealthy_while_one_camera_is(page):
    assert ask(page, "/healthz")[0] == 503


def test_each_camera_has_its_own_picture(page):
    from threading import Thread
    from time import sleep

    found: dict[str, bytes] = {}
    asking = Thread(target=lambda: found.update(jpeg=ask(page, "/snapshot.jpg?camera=yard")[2]))
    asking.start()
    for number in range(200):
        for camera, gray in (("front", 0), ("yard", 255)):
            frame = Frame(camera, number, number, 0, np.full((32, 32, 3), gray, np.uint8))
            frame.heads = {}
            page.submit(frame, tuple)
        if not asking.is_alive():
            break
        sleep(0.05)
    asking.join(5)
    import cv2

    assert cv2.imdecode(np.frombuffer(found["jpeg"], np.uint8), cv2.IMREAD_COLOR).mean() > 250


def test_metrics_have_a_label_only_with_several_cameras():
    text = metrics.render(SEVERAL, {"cameras": {}}).decode()
    assert 'edge_app_frames_total{camera="front"} 7.0' in text
    assert 'edge_app_frames_total{camera="yard"} 2.0' in text
    assert 'edge_app_camera_up{camera="yard"} 0.0' in text
    assert "edge_app_uptime_seconds 1.0" in text
    assert text.count('edge_app_sink_queued{sink="mqtt"} 4.0') == 1
    assert "camera=" not in metrics.render({k: v for k, v in STATE.items() if k != "totals"}, {}).decode()
