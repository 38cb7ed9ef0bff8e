"""Editing in a real browser: draw, save, reload and undo by mouse, touch and keyboard. Debian package: chromium."""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest
import yaml

from tests.running import Running

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")
from tests.system.browser import Browser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not shutil.which("chromium"), reason="needs the Debian package chromium"),
]

TEXT = """# a comment that stays
device: {id: cam, state_dir: state}
source: {type: synthetic, width: 320, height: 240, fps: 5}
model: {path: PROJECT/models/digits, backend: onnx}
track: {head: digits}
rules:
  - {name: door, type: zone, head: digits, polygon: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]}  # the back door
sinks: [{type: jsonl, path: out.jsonl}]
web: {enabled: true, port: WEB, token: 'file:token', commands: true}
"""
TOKEN = "a long and secret word"
FIELD = "document.getElementById('{}')"


@pytest.fixture
def camera(config_file, tmp_path, port):
    """A running camera whose page may change it."""
    (tmp_path / "token").write_text(TOKEN, encoding="ascii")
    with Running(config_file(TEXT.replace("WEB", str(port)))) as running:
        running.wait_for("READY=1")
        yield running
        errors = running.errors()
    assert "Traceback" not in errors
    assert TOKEN not in errors


def edited(port: int, edit, width: int = 1280, height: int = 900, *, phone: bool = False) -> None:
    """Run `edit(browser)` on a page that has logged in, with the form open."""

    async def session() -> None:
        async with Browser(f"http://127.0.0.1:{port}/", width, height, phone=phone) as browser:
            await browser.until("!document.getElementById('login').hidden")
            fill = "document.getElementById('token').value = {}, document.querySelector('#login button').click()"
            await browser.run(fill.format(json.dumps(TOKEN)))
            await open_form(browser)
            await edit(browser)
            assert [error for error in browser.errors if "Failed to load resource" not in error] == []

    asyncio.run(session())


async def open_form(browser: Browser) -> None:
    await browser.until("document.getElementById('target').options.length > 3")
    await browser.until("document.getElementById('notice').innerText === ''")
    await browser.run("document.getElementById('editing').open = true")
    await browser.until("!document.getElementById('save-bar').hidden")


async def place(browser: Browser, x: float, y: float) -> tuple[float, float]:
    """The position on the screen of a point of the image, 0..1."""
    rect = "(({left, top, width, height}) => [left, top, width, height])(%s.getBoundingClientRect())"
    left, top, width, height = await browser.run(rect % FIELD.format("marks"))
    return left + x * width, top + y * height


async def choose(browser: Browser, target: str) -> None:
    field = FIELD.format("target")
    await browser.run(f"({field}.value = {json.dumps(target)}, {field}.dispatchEvent(new Event('change')))")
    assert await browser.run(f"{field}.value") == target


async def click(browser: Browser, button: str) -> None:
    """Press a button with the mouse."""
    element = FIELD.format(button)
    await browser.run(f"{element}.scrollIntoView({{block: 'center'}})")
    x, y = await browser.run(
        f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({element}.getBoundingClientRect())"
    )
    await browser.click(x, y)


async def result(browser: Browser, text: str) -> None:
    await browser.until(f"{FIELD.format('save-result')}.innerText.includes({json.dumps(text)})")


def rules(camera: Running) -> dict[str, dict]:
    text = camera.config.read_text(encoding="utf-8")
    return {rule["name"]: rule for rule in yaml.safe_load(text)["rules"]}


def test_draws_saves_reloads_and_undoes_by_mouse(camera, port, shots):
    before = camera.config.read_bytes()

    async def edit(browser: Browser) -> None:
        await choose(browser, "new zone")
        await browser.run(f"{FIELD.format('shape-name')}.value = 'desk'")
        for corner in ((0.2, 0.2), (0.6, 0.2), (0.6, 0.6)):
            await browser.click(*await place(browser, *corner))
        await browser.drag(await place(browser, 0.6, 0.6), await place(browser, 0.7, 0.8))
        await browser.screenshot(shots / "editing.png")
        await click(browser, "save")
        await result(browser, "Saved. Stored in config.yaml.")
        drawn = rules(camera)["desk"]
        assert (drawn["type"], drawn["head"]) == ("zone", "digits")
        wanted = [[0.2, 0.2], [0.6, 0.2], [0.7, 0.8]]
        assert drawn["polygon"] == [pytest.approx(corner, abs=0.01) for corner in wanted]
        text = camera.config.read_text(encoding="utf-8")
        assert "# a comment that stays" in text
        assert "# the back door" in text
        camera.wait_for("READY=1")  # the daemon has applied it

        await browser.reload()
        await open_form(browser)
        await choose(browser, "rule desk")
        corners = await browser.run(f"{FIELD.format('corners')}.value")
        assert len(corners.split(",")) == 3
        await browser.drag(await place(browser, 0.2, 0.2), await place(browser, 0.1, 0.4))
        await click(browser, "save")
        await result(browser, "Saved.")
        assert rules(camera)["desk"]["polygon"][0] == pytest.approx([0.1, 0.4], abs=0.01)

        await click(browser, "undo-save")
        await result(browser, "undone")
        assert rules(camera)["desk"]["polygon"][0] == pytest.approx([0.2, 0.2], abs=0.01)
        await click(browser, "undo-save")
        await browser.until(f"{FIELD.format('undo-save')}.disabled")
        assert camera.config.read_bytes() == before

    edited(port, edit)


def test_draws_and_saves_a_line_and_a_mask_by_touch(camera, port, shots):
    async def edit(browser: Browser) -> None:
        await choose(browser, "new line")
        await browser.run("scrollTo(0, 0)")
        for corner in ((0.3, 0.5), (0.7, 0.5)):
            await browser.tap(*await place(browser, *corner))
        await tap_button(browser, "save")
        await result(browser, "Saved.")
        assert rules(camera)["line-1"]["line"] == [pytest.approx(end, abs=0.01) for end in ([0.3, 0.5], [0.7, 0.5])]

        await choose(browser, "new mask")
        await browser.run("scrollTo(0, 0)")
        for corner in ((0.1, 0.1), (0.3, 0.1), (0.3, 0.3)):
            await browser.tap(*await place(browser, *corner))
        await browser.screenshot(shots / "editing-phone.png")
        await tap_button(browser, "save")
        await result(browser, "Saved.")
        text = yaml.safe_load(camera.config.read_text(encoding="utf-8"))
        assert [len(mask) for mask in text["source"]["mask"]] == [3]
        await tap_button(browser, "undo-save")
        await result(browser, "undone")
        assert not yaml.safe_load(camera.config.read_text(encoding="utf-8"))["source"].get("mask")
        assert "line-1" in rules(camera)

    edited(port, edit, 390, 844, phone=True)


async def tap_button(browser: Browser, button: str) -> None:
    element = FIELD.format(button)
    await browser.run(f"{element}.scrollIntoView({{block: 'center'}})")
    await browser.tap(
        *await browser.run(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({element}.getBoundingClientRect())"
        )
    )


async def tab_to(browser: Browser, id_: str) -> None:
    """Press Tab until an element has the focus, as a user without a mouse does."""
    for _ in range(60):
        if await browser.run("document.activeElement.id") == id_:
            return
        await browser.press("Tab")
    raise AssertionError(f"{id_} cannot be reached with Tab")


def test_draws_saves_and_undoes_by_keyboard_alone(camera, port):
    before = camera.config.read_bytes()

    async def edit(browser: Browser) -> None:
        await browser.run("document.activeElement.blur()")
        await tab_to(browser, "marks")
        await browser.press("Enter")  # a corner in the center
        for _ in range(3):
            await browser.press("ArrowRight", shift=True)
        await browser.press("Enter")
        for key in ("ArrowDown", "ArrowDown", "ArrowLeft"):
            await browser.press(key, shift=True)
        await browser.press("Enter")
        await browser.press("Enter")  # takes the corner again
        await browser.press("ArrowDown")
        await browser.press("Enter")
        await tab_to(browser, "save")
        await browser.press("Enter")
        await result(browser, "Saved.")
        (added,) = rules(camera).keys() - {"door"}
        assert rules(camera)[added]["polygon"] == [[0.5, 0.5], [0.8, 0.5], [0.7, 0.71]]
        await tab_to(browser, "undo-save")
        await browser.press("Enter")
        await result(browser, "undone")
        assert camera.config.read_bytes() == before

    edited(port, edit)


def test_saves_filters_and_scores_and_shows_errors(camera, port):
    async def edit(browser: Browser) -> None:
        fill = "document.querySelector('#{} [data-option={}]').value = '{}'"
        await browser.run(fill.format("filter-options", "score", "0.55"))
        await browser.run(fill.format("filter-options", "labels", "1, 2"))
        await click(browser, "save-filter")
        await result(browser, "Saved.")
        heads = yaml.safe_load(camera.config.read_text(encoding="utf-8"))["heads"]
        assert heads["digits"] == {"score": 0.55, "labels": ["1", "2"]}

        before = camera.config.read_bytes()
        await browser.run(fill.format("filter-options", "labels", "1, <b>cat</b>"))
        await click(browser, "save-filter")
        await browser.until("document.getElementById('save-errors').innerText.includes('<b>cat</b>')")
        assert await browser.run("document.querySelectorAll('#editing b').length") == 0, "text, not markup"
        await choose(browser, "rule door")
        await click(browser, "clear")
        await click(browser, "save")
        await browser.until("document.getElementById('save-errors').innerText.includes('polygon')")
        assert camera.config.read_bytes() == before

    edited(port, edit)


def test_shows_a_conflict_with_an_edit_on_disk_and_keeps_both_changes(camera, port, shots):
    async def edit(browser: Browser) -> None:
        await choose(browser, "rule door")
        await browser.run("document.querySelector('#shape-options [data-option=min_score]').value = '0.3'")
        text = camera.config.read_text(encoding="utf-8")
        on_disk = text.replace("[0.9, 0.9]]}", "[0.5, 0.9]]}")
        assert on_disk != text
        camera.config.write_text(on_disk, encoding="utf-8")
        await click(browser, "save")
        await browser.until("!document.getElementById('conflict').hidden")
        assert camera.config.read_text(encoding="utf-8") == on_disk, "nothing was written"
        told = await browser.run("document.getElementById('conflict-text').innerText")
        assert "rules.door.polygon" in told
        await browser.screenshot(shots / "conflict.png")
        await click(browser, "conflict-mine")
        await result(browser, "Saved.")
        door = rules(camera)["door"]
        assert (door["min_score"], door["polygon"]) == (0.3, [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]])

    edited(port, edit)
