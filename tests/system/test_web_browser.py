"""The page in a real browser on the sample clip. Debian package: chromium."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from edge_app import config
from tests.running import Running, free_port

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")
from tests.system.browser import Browser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not shutil.which("chromium"), reason="needs the Debian package chromium"),
]

TEXT = """
device: {id: cam, state_dir: state}
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


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """The folder of screenshots: $EDGE_APP_SCREENSHOTS, or a temporary one."""
    folder = Path(os.environ.get("EDGE_APP_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def seen(url: str, width: int, height: int, look, *, phone: bool = False) -> None:
    async def session() -> None:
        async with Browser(url, width, height, phone=phone) as browser:
            await look(browser)
            assert browser.errors == []

    asyncio.run(session())


BOX_EDGES = """(() => {
  const {width, height} = document.getElementById('marks');
  const pen = document.getElementById('marks').getContext('2d');
  const boxes = Object.values(last.result.heads).flatMap((head) => head.detections || []).map(({box}) => box);
  const painted = boxes.map(([x1, y1, x2, y2]) => {
    const middle = (y1 + y2) / 2 * height;
    const at = (x) => pen.getImageData(Math.round(x * width) - 2, Math.round(middle), 5, 1).data;
    return [x1, x2].map((x) => at(x).some((value, i) => i % 4 === 3 && value > 0));
  });
  return {frame: last.result.frame, boxes, painted};
})()"""


def test_on_a_laptop_shows_frames_boxes_and_events_and_draws_a_zone(config_file, port, shots):
    path = config_file(TEXT.replace("WEB", str(port)))
    with Running(path) as running:
        running.wait_for("READY=1")

        async def look(browser: Browser) -> None:
            await browser.until("last && Object.values(last.result.heads).some((h) => (h.detections || []).length)")
            first = await browser.run("last.result.frame")
            pixels = (
                "Array.from(document.getElementById('picture').getContext('2d').getImageData(0, 0, 99, 99).data).join()"
            )
            before = await browser.run(pixels)
            await browser.until(f"last.result.frame > {first} + 3")
            assert await browser.run(pixels) != before, "frames move"

            # Boxes are drawn at the published positions.
            await browser.until("last && Object.values(last.result.heads).some((h) => (h.detections || []).length)")
            view = await browser.run(BOX_EDGES)
            assert all(all(edges) for edges in view["painted"]), view
            running.until(lambda: any(m["frame"] == view["frame"] for m in running.messages("result")))
            published = next(m for m in running.messages("result") if m["frame"] == view["frame"])
            found = [d["box"] for head in published["heads"].values() for d in head.get("detections", [])]
            assert found == view["boxes"]

            # Events, readings, pictures.
            await browser.until("document.querySelector('#events li[data-event^=meter]')")
            await browser.until("[...document.querySelectorAll('#events img')].some((picture) => picture.naturalWidth)")
            assert await browser.run("document.getElementById('readings').innerText") != ""
            await browser.until("document.querySelectorAll('#health tr').length > 8")

            # Plots of the available figures; reuse as shares of the frames since the previous poll.
            shown = "[...document.querySelectorAll('figure')].filter((f) => !f.hidden).map((f) => f.id)"
            assert {"plot-stages", "plot-memory", "plot-queue"} <= set(await browser.run(shown))
            told = (
                "(state.reuse = {gate: 0, dense: 1}, showState(), state.reuse = {gate: 30, dense: 11}, showState(),"
                " document.getElementById('plot-reuse').innerText)"
            )
            assert re.search(r"nothing 75\s.*all 25\s", await browser.run(told))

            # The toggles of the view.
            assert await browser.run("document.getElementById('toggles').innerText.match(/\\w+/g)") == [
                *("digits", "panel", "scene"),
                *("meter", "door"),
            ]
            await browser.run("document.querySelectorAll('#toggles input').forEach((box) => box.click())")
            empty = (
                "document.getElementById('marks').getContext('2d').getImageData(0, 0, 640, 360).data.every((v) => !v)"
            )
            assert await browser.run(f"mark(), {empty}")
            await browser.run("document.querySelectorAll('#toggles input').forEach((box) => box.click())")

            # A zone is drawn by hand, its YAML pasted, and the camera applies it.
            await browser.run(
                "document.getElementById('drawing').open = true, document.getElementById('shape-name').value = 'desk'"
            )
            left, top, width, height = await browser.run(
                "(({left, top, width, height}) => [left, top, width, height])"
                "(document.getElementById('marks').getBoundingClientRect())"
            )
            corners = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]
            for x, y in corners:
                await browser.click(left + x * width, top + y * height)
            text = await browser.run("document.getElementById('yaml').textContent")
            drawn = [(float(x), float(y)) for x, y in re.findall(r"\[([\d.]+), ([\d.]+)\]", text)]
            assert drawn == [pytest.approx(corner, abs=0.01) for corner in corners]
            await browser.screenshot(shots / "laptop.png")
            rule = text.removeprefix("rules:\n")
            path.write_text(path.read_text(encoding="utf-8").replace("rules:\n", f"rules:\n{rule}\n"), encoding="utf-8")
            assert [r.name for r in config.load(path).rules] == ["desk", "meter", "door"]
            running.wait_for("RELOADING=1")
            running.wait_for("READY=1")
            await browser.until("'desk' in state.rules")

        seen(f"http://127.0.0.1:{port}/", 1280, 900, look)
        running.stop(signal.SIGTERM)
        assert "Traceback" not in running.errors()


def test_on_a_phone_nothing_is_wider_than_the_screen(config_file, port, shots):
    with Running(config_file(TEXT.replace("WEB", str(port)))) as running:
        running.wait_for("READY=1")

        async def look(browser: Browser) -> None:
            await browser.until("last && document.querySelectorAll('#events li[data-event]').length")
            await browser.until("document.querySelectorAll('#health tr').length > 8")
            assert await browser.run("document.documentElement.scrollWidth") <= 390
            wide = (
                "[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > 391)"
                ".map((e) => e.outerHTML)"
            )
            assert await browser.run(wide) == []
            await browser.run("document.getElementById('drawing').open = true")
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
            assert await browser.run("last === null && document.getElementById('page').hidden")
            await browser.run(fill.format(json.dumps("a long and secret word")))
            await browser.until("last")
            await browser.run("document.getElementById('logout').click()")
            await browser.until("!document.getElementById('login').hidden")
            assert await browser.run("fetch('api/status').then((answer) => answer.status)") == 401

        seen(f"http://127.0.0.1:{port}/", 1280, 900, look)
        assert "secret word" not in running.errors()
