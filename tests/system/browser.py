"""A real headless Chromium, driven over its DevTools protocol. Debian package: chromium."""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-port=0 --hide-scrollbars about:blank"
)
STARTS_WITHIN_S = 40
_KEY_CODES = {
    **{"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "Delete": 46},
    **{"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40},
}


class Browser:
    """One page. `async with Browser(url, width, height)`; ends with its profile removed."""

    def __init__(self, url: str, width: int, height: int, *, phone: bool = False) -> None:
        self._url = url
        self._metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self._calls = 0
        self.errors: list[str] = []

    async def __aenter__(self) -> Browser:
        self._profile = tempfile.mkdtemp(prefix="edge-app-browser-")
        command = ["chromium", f"--user-data-dir={self._profile}", *FLAGS.split()]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._session = aiohttp.ClientSession()
        try:
            self._socket = await self._session.ws_connect(await self._page(), max_msg_size=0)
            for method in ("Page.enable", "Runtime.enable"):
                await self.call(method)
            await self.call("Emulation.setDeviceMetricsOverride", **self._metrics)
            if self._metrics["mobile"]:
                await self.call("Emulation.setTouchEmulationEnabled", enabled=True)
            await self.call("Page.navigate", url=self._url)
            await self.until("location.href !== 'about:blank' && document.readyState === 'complete'")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        self._process.terminate()
        self._process.wait(20)
        shutil.rmtree(self._profile, ignore_errors=True)

    async def _page(self) -> str:
        """The DevTools address of the blank page."""
        port_file = Path(self._profile) / "DevToolsActivePort"
        for _ in range(STARTS_WITHIN_S * 10):
            if port_file.exists() and (lines := port_file.read_text(encoding="ascii").split()):
                async with self._session.get(f"http://127.0.0.1:{lines[0]}/json/list") as answer:
                    pages = [entry for entry in await answer.json() if entry["type"] == "page"]
                    if pages:
                        return pages[0]["webSocketDebuggerUrl"]
            await asyncio.sleep(0.1)
        raise AssertionError("chromium did not start")

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._calls += 1
        number = self._calls
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await asyncio.wait_for(self._socket.receive_json(), 30)
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(message["params"]["exceptionDetails"]))
            if message.get("method") == "Runtime.consoleAPICalled" and message["params"]["type"] == "error":
                self.errors.append(str(message["params"]["args"]))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression, which may be a promise."""
        found = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def until(self, condition: str, timeout_s: float = 30.0) -> Any:
        """Wait until a JavaScript expression is true."""
        end_s = asyncio.get_running_loop().time() + timeout_s
        while asyncio.get_running_loop().time() < end_s:
            if value := await self.run(f"Boolean({condition})"):
                return value
            await asyncio.sleep(0.1)
        raise AssertionError(f"never true: {condition}; {await self.run('document.body.innerText')}; {self.errors}")

    async def click(self, x: float, y: float) -> None:
        for type_ in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=type_, x=x, y=y, button="left", clickCount=1)

    async def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        await self.call(
            "Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], button="left", clickCount=1
        )
        await self.call("Input.dispatchMouseEvent", type="mouseMoved", x=end[0], y=end[1], button="left", buttons=1)
        await self.call(
            "Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], button="left", clickCount=1
        )

    async def tap(self, x: float, y: float) -> None:
        await self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        await self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    async def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key by its name, such as Tab, Enter or ArrowLeft."""
        code = _KEY_CODES.get(key, 0)
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        text = {"Enter": {"text": "\r"}, " ": {"text": " "}}.get(key, {})
        await self.call("Input.dispatchKeyEvent", type="keyDown", **pressed, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    async def type(self, text: str) -> None:
        await self.call("Input.insertText", text=text)

    async def reload(self) -> None:
        await self.run("window.before = true")
        await self.call("Page.reload")
        await self.until("!window.before && document.readyState === 'complete'")

    async def screenshot(self, path: Path) -> None:
        shot = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))
