"""What the paths show: files of the page, session, totals by hour, images for dashboards."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from edge_app.config.services import WebConfig
from edge_app.frame import Detections, Frame, HeadOutput

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")
from edge_app.web import handlers
from edge_app.web.server import PageServer
from tests.web.conftest import TOKEN, ask, page_data


@contextmanager
def fed(page: PageServer):
    """Frames for the page, gray with one detection, until the block ends."""
    done = threading.Event()

    def feed() -> None:
        number = 0
        while not done.wait(0.02):
            number += 1
            frame = Frame("camera", number, number * 10**8, 0, np.full((360, 640, 3), 127, np.uint8))
            box = np.array([[64, 36, 320, 180]], np.float32)
            frame.heads = {"digits": HeadOutput(Detections(box, np.float32([0.5]), np.int32([1])))}
            page.submit(frame, list)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield
    finally:
        done.set()
        feeder.join()


def decoded(jpeg: bytes):
    import cv2

    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_serves_every_module_of_the_page(page):
    names = [name for name in handlers.static_files() if name.endswith(".js")]
    assert "/page.js" in names
    for name in names:
        status, headers, body = ask(page, name)
        assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
        assert b"http://" not in body
        assert b"https://" not in body


def test_the_status_says_whether_the_request_has_a_session(guarded):
    cookie = ask(guarded, "/api/login", "POST", TOKEN)[1]["Set-Cookie"].partition(";")[0]
    assert json.loads(ask(guarded, "/api/status", Cookie=cookie)[2])["session"] is True
    assert json.loads(ask(guarded, "/api/status", Authorization=f"Bearer {TOKEN}")[2])["session"] is False


def test_totals_by_hour_are_grouped_by_rule_and_count():
    hours = [("gate", "in", 3600, 2), ("gate", "in", 7200, 1), ("gate", "out", 3600, 4), ("<i>", "entered", 0, 1)]
    page = PageServer(WebConfig(enabled=True, port=0), replace(page_data(), hours=lambda: hours))
    found = json.loads(ask(page, "/api/totals")[2])
    page.close()
    assert found == {"gate": {"in": [[3600, 2], [7200, 1]], "out": [[3600, 4]]}, "<i>": {"entered": [[0, 1]]}}


def test_a_file_of_totals_that_cannot_be_read_is_reported_once_and_shows_none(caplog):
    def fail():
        raise OSError("totals.db: file is not a database")

    page = PageServer(WebConfig(enabled=True, port=0), replace(page_data(), hours=fail))
    assert [json.loads(ask(page, "/api/totals")[2]) for _ in range(2)] == [{}, {}]
    page.close()
    assert caplog.text.count("totals.db: file is not a database") == 1


def test_the_current_image_is_a_jpeg_with_boxes_on_request(page):
    with fed(page):
        status, headers, plain = ask(page, "/snapshot.jpg")
        boxed = ask(page, "/snapshot.jpg?boxes=1")[2]
    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, "image/jpeg", "no-store")
    assert decoded(plain).shape == (360, 640, 3)
    assert decoded(plain).std() < 2
    assert decoded(boxed).std() > 5, "the box is drawn"
    assert page._live.viewers == 0


def test_without_images_the_current_image_is_unavailable(page, monkeypatch):
    monkeypatch.setattr(handlers, "_FRAME_TIMEOUT_S", 0.1)
    status, _, body = ask(page, "/snapshot.jpg")
    assert (status, body) == (503, b"the camera delivers no images\n")
