"""In a real browser: options of any rule, schedules, ignored areas, switches; a full disk; a restart.

Debian package: chromium.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.running import Running

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")
from tests.system.browser import Browser
from tests.system.test_web_editing import TEXT, TOKEN, choose, click, edited, place, result, rules

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not shutil.which("chromium"), reason="needs the Debian package chromium"),
]

BEAT = "  - {name: beat, type: periodic, head: digits, first_s: 1}\nsinks:"
ROW = "[...document.querySelectorAll('#switch-list label')].find((row) => row.innerText.includes('{}'))"
SEEN = "fetch('api/config').then((answer) => answer.json()).then((config) => config.commands_seen{})"


@pytest.fixture
def path(config_file, tmp_path: Path, port: int) -> Path:
    (tmp_path / "token").write_text(TOKEN, encoding="ascii")
    return config_file(TEXT.replace("WEB", str(port)).replace("sinks:", BEAT))


@pytest.fixture
def camera(path: Path):
    with Running(path) as running:
        running.wait_for("READY=1")
        yield running
        assert "Traceback" not in running.errors()


async def fill(browser: Browser, option: str, text: str, form: str = "shape-options") -> None:
    await browser.run(f"document.querySelector('#{form} [data-option={option}]').value = '{text}'")


async def save(browser: Browser) -> None:
    await browser.run("document.getElementById('save-result').textContent = ''")
    await click(browser, "save")
    await result(browser, "Saved.")


async def draw(browser: Browser, *corners: tuple[float, float]) -> None:
    """Draw a new ignored area."""
    part = "document.getElementById('shape-part')"
    await browser.run(
        f"{part}.value = [...{part}.options].find((each) => each.text === 'new ignored area').value,"
        f" {part}.dispatchEvent(new Event('change')), scrollTo(0, 0)"
    )
    for corner in corners:
        await browser.click(*await place(browser, *corner))


def test_edits_options_of_any_rule_schedules_and_ignored_areas(camera, port, shots):
    area = ((0.2, 0.2), (0.4, 0.2), (0.4, 0.4))
    drawn = [pytest.approx(corner, abs=0.01) for corner in area]

    async def edit(browser: Browser) -> None:
        await choose(browser, "rule beat")  # of a plug-in: its fields come from its constructor
        await fill(browser, "every_s", "30")
        await save(browser)
        assert rules(camera)["beat"]["every_s"] == 30

        await choose(browser, "rule door")
        await fill(browser, "schedule", "mon-fri 07:00-19:00; sat 9:00-12:00")
        await fill(browser, "grace_s", "3")
        await fill(browser, "anchor", "top")
        await draw(browser, *area)
        await browser.run("document.querySelector('#shape-options details').open = true")
        await browser.screenshot(shots / "options.png")
        await save(browser)
        door = rules(camera)["door"]
        windows = [{"days": "mon-fri", "from": "07:00", "to": "19:00"}, {"days": "sat", "from": "9:00", "to": "12:00"}]
        assert (door["schedule"], door["grace_s"], door["anchor"], door["ignore"]) == (windows, 3, "top", [drawn])
        assert door["polygon"] == [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]], "what was not edited stays"

        await choose(browser, "rule door")
        shown = "document.querySelector('#shape-options [data-option=schedule]').value"
        assert await browser.run(shown) == "mon-fri 07:00-19:00; sat 9:00-12:00"
        await fill(browser, "schedule", "whenever")
        before = camera.config.read_bytes()
        await click(browser, "save")
        await browser.until("document.getElementById('save-errors').innerText.includes(\"schedule: found 'whenever'\")")
        assert camera.config.read_bytes() == before

        await choose(browser, "head digits")
        await draw(browser, *area)
        await save(browser)
        await choose(browser, "camera ")
        await fill(browser, "schedule", "mon-sun 00:00-24:00")
        await save(browser)
        await choose(browser, "new stationary")
        await fill(browser, "after_s", "7")
        await save(browser)
        stored = yaml.safe_load(camera.config.read_text(encoding="utf-8"))
        assert stored["heads"]["digits"]["ignore"] == [drawn]
        assert stored["source"]["schedule"] == [{"days": "mon-sun", "from": "00:00", "to": "24:00"}]
        stays = {"name": "stationary-1", "type": "stationary", "head": "digits", "after_s": 7}
        assert rules(camera)["stationary-1"] == stays

    edited(port, edit)


def test_switches_rules_heads_and_reuse_and_mutes(camera, port, shots):
    async def edit(browser: Browser) -> None:
        await browser.run("document.getElementById('switches').open = true")
        for name, field in (("rule beat", ".rules.beat"), ("head panel", ".heads.panel")):
            await browser.run(f"{ROW.format(name)}.querySelector('input').click()")
            await browser.until(f"document.getElementById('switch-result').innerText === '{name}: OFF.'")
            assert await browser.run(SEEN.format(field)) is False
        await browser.run("document.getElementById('switch-persist').click()")
        await browser.run(f"{ROW.format('rule door')}.querySelector('input').click()")
        await browser.until("document.getElementById('switch-result').innerText.includes('stored')")
        assert rules(camera)["door"]["enabled"] is False
        assert "enabled" not in rules(camera)["beat"], "it holds until the next start"
        await click(browser, "mute")
        await browser.until("document.getElementById('mute').innerText === 'End muting'")
        assert await browser.run(SEEN.format(".muted_s")) > 500
        await browser.until("document.querySelectorAll('#events li').length > 3")
        items = "[...document.querySelectorAll('#events li:not(.fault)')]"
        told = await browser.run(f"{items}.map((item) => item.innerText)")
        assert [text for text in told if text.startswith("command rules/beat OFF (page) ")]
        await browser.screenshot(shots / "switches.png")
        await click(browser, "mute")
        await browser.until("document.getElementById('mute').innerText.includes('Mute all')")
        await click(browser, "snapshot-now")  # snapshots are off
        await browser.until("document.getElementById('switch-result').innerText.includes('snapshots are off')")
        await browser.run(f"{ROW.format('reuse')}.querySelector('input').click()")
        await browser.until("document.getElementById('switch-result').innerText.startsWith('reuse of results:')")

    edited(port, edit)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small file system")
def test_a_full_disk_during_save_changes_nothing_and_undo_works_after_a_restart(path: Path, port: int, shots):
    small = path.parent / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=True)
    try:
        before = path.read_bytes()
        (small / path.name).write_bytes(before)
        path.unlink()
        path.symlink_to(small / path.name)
        filler = small / "filler"

        async def edit_full(browser: Browser) -> None:
            with pytest.raises(OSError, match="No space"):
                filler.write_bytes(bytes(1 << 20))
            await choose(browser, "rule door")
            await fill(browser, "min_score", "0.3")
            await click(browser, "save")
            await browser.until("document.getElementById('save-errors').innerText.includes('No space left on device')")
            await browser.screenshot(shots / "full-disk.png")
            assert path.read_bytes() == before
            assert sorted(each.name for each in small.iterdir()) == [path.name, "filler"]
            filler.unlink()
            await save(browser)

        async def undo(browser: Browser) -> None:
            await browser.until("document.getElementById('undo-save').innerText.includes('(1 possible)')")
            await click(browser, "undo-save")
            await result(browser, "undone")

        for edit in (edit_full, undo):
            with Running(path) as running:
                running.wait_for("READY=1")
                edited(port, edit)
                running.stop(signal.SIGTERM)
        assert path.read_bytes() == before
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)
