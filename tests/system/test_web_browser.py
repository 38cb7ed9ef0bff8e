"""The page in a real browser on the sample clip. Debian package: chromium."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal

import pytest

from edge_app.clips import encoders
from edge_app.clips.jpeg import Compressor
from edge_app.config.services import WebConfig
from edge_app.frame import Event
from tests.clips.video import frame
from tests.running import Running

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")
from edge_app.web.data import PageData
from edge_app.web.server import PageServer
from tests.system.browser import Browser
from tests.web.conftest import STATE

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not shutil.which("chromium"), reason="needs the Debian package chromium"),
]

TEXT = """
device: {id: cam, state_dir: state, trust_clock: true}
source: {type: video, path: PROJECT/models/digits/sample.mp4, pace: realtime}
model: {path: PROJECT/models/digits, backend: onnx}
track: {head: digits, mix_classes: true}
rules:
  - {name: meter, type: reading, heads: [digits, panel]}
  - {name: door, type: zone, head: digits, polygon: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]}
publish: {results: all, status_every_s: 0}
sinks: [{type: jsonl, path: out.jsonl}]
snapshots: {enabled: true}
web: {enabled: true, port: WEB}
"""


def seen(url: str, width: int, height: int, look, *, phone: bool = False) -> None:
    async def session() -> None:
        async with Browser(url, width, height, phone=phone) as browser:
            await browser.run(MODULES)
            await look(browser)
            assert browser.errors == []

    asyncio.run(session())


MODULES = """
Promise.all(['/app.js', '/view.js', '/health.js'].map((name) => import(name)))
  .then((modules) => Object.assign(window, ...modules)).then(() => true)
"""
BOX_EDGES = """(() => {
  const {width, height} = document.getElementById('marks');
  const pen = document.getElementById('marks').getContext('2d');
  const boxes = Object.values(app.last.result.heads).flatMap((head) => head.detections || []).map(({box}) => box);
  const painted = boxes.map(([x1, y1, x2, y2]) => {
    const middle = (y1 + y2) / 2 * height;
    const at = (x) => pen.getImageData(Math.round(x * width) - 2, Math.round(middle), 5, 1).data;
    return [x1, x2].map((x) => at(x).some((value, i) => i % 4 === 3 && value > 0));
  });
  return {frame: app.last.result.frame, boxes, painted};
})()"""
DETECTED = "app.last && Object.values(app.last.result.heads).some((h) => (h.detections || []).length)"
WORDS = "[...document.querySelectorAll('#events li')].map((item) => item.innerText)"


def test_on_a_laptop_shows_frames_boxes_and_plots(config_file, port, shots):
    with Running(config_file(TEXT.replace("WEB", str(port)))) as running:
        running.wait_for("READY=1")

        async def look(browser: Browser) -> None:
            await browser.until(DETECTED)
            first = await browser.run("app.last.result.frame")
            pixels = (
                "Array.from(document.getElementById('picture').getContext('2d').getImageData(0, 0, 99, 99).data).join()"
            )
            before = await browser.run(pixels)
            await browser.until(f"app.last.result.frame > {first} + 3")
            assert await browser.run(pixels) != before, "frames move"

            # Boxes are drawn at the published positions.
            await browser.until(DETECTED)
            view = await browser.run(BOX_EDGES)
            assert all(all(edges) for edges in view["painted"]), view
            running.until(lambda: any(m["frame"] == view["frame"] for m in running.messages("result")))
            published = next(m for m in running.messages("result") if m["frame"] == view["frame"])
            found = [d["box"] for head in published["heads"].values() for d in head.get("detections", [])]
            assert found == view["boxes"]

            # Plots of the available figures; reuse as shares of the frames since the previous poll.
            await browser.until("document.querySelectorAll('#health tr').length > 8")
            assert await browser.run("document.getElementById('readings').innerText") != ""
            shown = "[...document.querySelectorAll('figure')].filter((f) => !f.hidden).map((f) => f.id)"
            await browser.until(f"{shown}.length >= 3")
            assert {"plot-stages", "plot-memory", "plot-queue"} <= set(await browser.run(shown))
            told = (
                "(app.status.reuse = {gate: 0, dense: 1}, showState(), app.status.reuse = {gate: 30, dense: 11},"
                " showState(), document.getElementById('plot-reuse').innerText)"
            )
            assert re.search(r"nothing 75\s.*all 25\s", await browser.run(told), re.DOTALL)

            # The images for dashboards.
            for path in ("stream.mjpg", "snapshot.jpg?boxes=1"):
                await browser.run(f"(window.image = new Image()).src = '{path}'")
                await browser.until("window.image.naturalWidth === 640")

            # The toggles of the view.
            names = "document.getElementById('toggles').innerText.match(/\\w+/g)"
            assert await browser.run(names) == ["digits", "panel", "scene", "meter", "door"]
            toggle = "document.querySelectorAll('#toggles input').forEach((box) => box.click())"
            await browser.run(toggle)
            empty = (
                "document.getElementById('marks').getContext('2d').getImageData(0, 0, 640, 360).data.every((v) => !v)"
            )
            assert await browser.run(f"mark(), {empty}")
            await browser.run(toggle)
            await browser.screenshot(shots / "laptop.png")

        seen(f"http://127.0.0.1:{port}/", 1280, 900, look)
        running.stop(signal.SIGTERM)
        assert "Traceback" not in running.errors()


def test_tells_events_in_words_with_filters_snapshots_and_totals(config_file, port, shots):
    """At the end the daemon is stopped: the image turns gray, and the page says since when."""
    with Running(config_file(TEXT.replace("WEB", str(port)))) as running:
        running.wait_for("READY=1")

        async def look(browser: Browser) -> None:
            await browser.until("document.querySelector('#events li[data-event^=door] img')?.naturalWidth")
            await browser.until("document.querySelector('#events li[data-event^=meter]')")
            words = await browser.run(WORDS)
            assert any(re.match(r"\d in door(, \d+(\.\d)? s)? ", text) for text in words), words
            assert any(re.match(r"meter reads \d+ ", text) for text in words), words

            # Filters: by rule, by label, by state.
            choose = (
                "(document.getElementById('{0}').value = '{1}',"
                " document.getElementById('{0}').dispatchEvent(new Event('change')), {2})"
            )
            by_rule = await browser.run(choose.format("event-rule", "meter", WORDS))
            assert by_rule
            assert all(text.startswith("meter reads") for text in by_rule)
            nothing = await browser.run(choose.format("event-state", "fault", WORDS))
            assert nothing == ["none that pass the filter"]
            await browser.run(choose.format("event-state", "", WORDS))
            await browser.run(choose.format("event-rule", "door", WORDS))

            # A snapshot opens large, with the box of its event; Escape closes it.
            await browser.run("document.querySelector('#events button').click()")
            await browser.until("document.getElementById('snapshot').open")
            await browser.until("document.getElementById('snapshot-marks').width > 300")
            box = (
                "document.getElementById('snapshot-marks').getContext('2d')"
                ".getImageData(0, 0, 640, 360).data.filter((v, i) => i % 4 === 3 && v).length"
            )
            assert await browser.run(box) > 500
            assert " in door" in await browser.run("document.getElementById('snapshot-text').innerText")
            await browser.screenshot(shots / "snapshot.png")
            await browser.press("Escape")
            await browser.until("!document.getElementById('snapshot').open")

            # Totals by hour: one bar for the present hour.
            await browser.until("document.querySelector('.bars')")
            entered = await browser.run("document.querySelector('.bars').getAttribute('aria-label')")
            assert re.match(r"door, last 24 hours: .*entered [1-9]", entered), entered

            running.stop(signal.SIGTERM)
            await browser.until("document.getElementById('stage').classList.contains('lost')")
            assert "grayscale" in await browser.run("getComputedStyle(document.getElementById('picture')).filter")
            await browser.until(
                "document.getElementById('notice').innerText.includes('no connection to the camera; last image at')"
            )
            await browser.screenshot(shots / "lost.png")
            browser.errors.clear()  # requests that failed

        seen(f"http://127.0.0.1:{port}/", 1280, 900, look)


def test_labels_and_names_stay_text():
    """A label with markup, in an event, a rule and a fault: shown as it is, and no element of it exists."""
    hostile = "<img src=x onerror=\"document.title='run'\">"
    state = {
        **STATE,
        **{
            "heads": {hostile: True},
            "rules": {hostile: True},
            "model": hostile,
            "backend": hostile,
            "version": hostile,
        },
        **{
            "faults": {hostile: {"error": hostile}},
            "totals": {"rules": {hostile: {hostile: {"total": 1, "day": 1, "hour": 1}}}},
        },
    }
    events = [
        Event("new", f"e-{kind}", hostile, kind, 1, 2, value={"label": hostile, "fault": hostile, hostile: hostile})
        for kind in ("zone", "line", "count", "scene", "stationary", "runtime", "reading", hostile)
    ]
    data = PageData({}, lambda: state, lambda: events, lambda: ["e-zone"], lambda _: b"no jpeg")
    page = PageServer(WebConfig(enabled=True, port=0), data)

    async def look(browser: Browser) -> None:
        await browser.until("document.querySelectorAll('#events li[data-event]').length === 8")
        await browser.until("document.querySelector('.bars')")
        await browser.run("document.querySelector('#events button').click()")
        await browser.until("document.getElementById('snapshot').open")
        assert (await browser.run(WORDS))[-1].startswith(hostile)
        assert await browser.run("document.querySelectorAll('[src=x], [onerror]').length") == 0
        assert await browser.run("document.title") == "edge_app"
        browser.errors.clear()  # the image is none

    try:
        seen(f"http://127.0.0.1:{page.port}/", 1280, 900, look)
    finally:
        page.close()


def test_an_event_opens_its_clip(tmp_path, shots):
    images = [Compressor(160, 80, 10**6).compress(frame(i, 5, width=160, height=120)).jpeg for i in range(15)]
    encoders.run(encoders.available()[-1], images, 5.0, tmp_path / "a.webm", max_bytes=10**7, timeout_s=60)
    events = [
        Event("end", "plaza-1", "plaza", "zone", 1, 2, value={"label": "person", "dwell_s": 2.0}),
        Event("new", "crowd-1", "crowd", "count", 1, 2, value={"count": 3, "labels": {"person": 3}}),
    ]
    state = {**STATE, "heads": {}, "rules": {}, "model": "nanodet", "backend": "onnx", "version": "1"}
    data = PageData(
        {},
        lambda: state,
        lambda: events,
        list,
        lambda _: None,
        clip_names=lambda: {"plaza-1": "a.webm"},
        clip=lambda name: tmp_path / name,
    )
    page = PageServer(WebConfig(enabled=True, port=0), data)

    async def look(browser: Browser) -> None:
        await browser.until("document.querySelectorAll('#events li[data-event]').length === 2")
        crowd, plaza = await browser.run(WORDS)
        assert crowd.startswith("3 × person in crowd")
        assert plaza.startswith("person in plaza, 2.0 s")
        assert "▶ clip" in plaza
        assert "▶ clip" not in crowd
        await browser.run("document.querySelector('#events button').click()")
        await browser.until("document.getElementById('snapshot-video').currentTime > 0.2")
        assert await browser.run("document.getElementById('snapshot-stage').hidden")
        await browser.screenshot(shots / "clip.png")
        await browser.press("Escape")
        await browser.until("!document.getElementById('snapshot-video').hasAttribute('src')")

    try:
        seen(f"http://127.0.0.1:{page.port}/", 1280, 900, look)
    finally:
        page.close()


def test_on_a_phone_nothing_is_wider_than_the_screen(config_file, port, shots):
    with Running(config_file(TEXT.replace("WEB", str(port)))) as running:
        running.wait_for("READY=1")

        async def look(browser: Browser) -> None:
            await browser.until("app.last && document.querySelectorAll('#events li[data-event]').length")
            await browser.until("document.querySelectorAll('#health tr').length > 8")
            assert await browser.run("document.documentElement.scrollWidth") <= 390
            wide = (
                "[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > 391)"
                ".map((e) => e.outerHTML)"
            )
            assert await browser.run(wide) == []
            await browser.run("document.getElementById('editing').open = true")
            assert await browser.run(wide) == []
            await browser.screenshot(shots / "phone.png")

        seen(f"http://127.0.0.1:{port}/", 390, 844, look, phone=True)


def test_logs_in_and_out_with_a_token(config_file, port, shots, tmp_path):
    (tmp_path / "token").write_text("a long and secret word\n", encoding="ascii")
    text = TEXT.replace("port: WEB", f"port: {port}, host: 0.0.0.0, token: 'file:token'")
    with Running(config_file(text)) as running:
        running.wait_for("READY=1")

        async def look(browser: Browser) -> None:
            await browser.until("!document.getElementById('login').hidden")
            fill = "document.getElementById('token').value = {}, document.querySelector('#login button').click()"
            await browser.run(fill.format(json.dumps("a wrong word")))
            await browser.until("document.getElementById('login-error').textContent.includes('wrong token')")
            assert await browser.run("app.last === null && document.getElementById('page').hidden")
            await browser.run(fill.format(json.dumps("a long and secret word")))
            await browser.until("app.last")
            await browser.reload()
            await browser.until("!document.getElementById('page').hidden")
            await browser.until("!document.getElementById('logout').hidden")  # the session is known after a reload
            await browser.run("document.getElementById('logout').click()")
            await browser.until("!document.getElementById('login').hidden")
            assert await browser.run("fetch('api/status').then((answer) => answer.status)") == 401

        seen(f"http://127.0.0.1:{port}/", 1280, 900, look)
        assert "secret word" not in running.errors()
