"""axe-core finds nothing serious on the page, in both color schemes, with every part of it open.

Debian package: chromium. axe-core is in the Python package axe-playwright-python; only its script is used.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.running import Running, free_port

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")
from tests.system.browser import Browser
from tests.system.test_web_editing import TOKEN

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not shutil.which("chromium"), reason="needs the Debian package chromium"),
]

AXE = "axe-playwright-python==0.1.8"  # with axe-core 4.12.1
TEXT = """
device: {id: cam, state_dir: state, trust_clock: true}
source: {type: video, path: PROJECT/models/digits/sample.mp4, pace: realtime}
model: {path: PROJECT/models/digits, backend: onnx}
track: {head: digits, mix_classes: true}
rules:
  - {name: meter, type: reading, heads: [digits, panel]}
  - {name: door, type: zone, head: digits, polygon: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]}
sinks: [{type: jsonl, path: out.jsonl}]
snapshots: {enabled: true}
web: {enabled: true, port: WEB, token: 'file:token', commands: true}
"""
FOUND = """
axe.run(document, {resultTypes: ['violations']}).then(({violations, passes}) => ({passed: passes.length,
  serious: violations.filter(({impact}) => ['serious', 'critical'].includes(impact))
    .map(({id, nodes}) => `${id}: ${nodes.map((node) => node.html + ' ' + node.failureSummary).join('; ')}`)}))
"""


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core."""
    folder = tmp_path_factory.mktemp("axe")
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), AXE]
    if subprocess.run(download, capture_output=True, timeout=120, check=False).returncode:
        pytest.skip(f"needs {AXE} from the package index")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read("axe_playwright_python/axe.min.js").decode()


def test_axe_finds_nothing_serious(config_file, tmp_path: Path, axe: str):
    port = free_port()
    (tmp_path / "token").write_text(TOKEN, encoding="ascii")
    with Running(config_file(TEXT.replace("WEB", str(port)))) as running:
        running.wait_for("READY=1")
        asyncio.run(_visit(f"http://127.0.0.1:{port}/", axe))


async def _visit(url: str, axe: str) -> None:
    async with Browser(url, 1280, 900) as browser:
        await browser.run(f"{axe};1")
        await browser.until("!document.getElementById('login').hidden")
        await _check(browser, "login")
        fill = "document.getElementById('token').value = {}, document.querySelector('#login button').click()"
        await browser.run(fill.format(json.dumps(TOKEN)))
        await browser.until("document.querySelector('#events img')?.naturalWidth && document.querySelector('.bars')")
        await browser.run("document.querySelectorAll('details').forEach((part) => (part.open = true))")
        await browser.until("document.querySelectorAll('figure:not([hidden])').length >= 3")
        await browser.until("document.querySelectorAll('[role=switch]').length > 3")
        for hidden in ("conflict", "yaml-block", "unfit"):  # shown only after a conflict, and without web.commands
            await browser.run(f"document.getElementById('{hidden}').hidden = false")
        await browser.run("document.getElementById('save-errors').innerHTML = '<li>an error</li>'")
        await _check(browser, "page with the form")
        await browser.run("document.querySelector('#events button').click()")
        await browser.until("document.getElementById('snapshot').open")
        await _check(browser, "snapshot")


async def _check(browser: Browser, view: str) -> None:
    for scheme in ("light", "dark"):
        await browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        found = await browser.run(FOUND)
        assert found["passed"] > 5, "the rules of axe were applied"
        assert found["serious"] == [], (view, scheme)
