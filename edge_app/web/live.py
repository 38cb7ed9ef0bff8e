"""The latest frame as those who look get it: a small JPEG, and beside it what the heads and rules made of it.

The pipeline leaves a reference behind and goes on; scaling and encoding happen on another, meeker thread, once for all
viewers, and not at all where there are none. Not here: the sockets (server.py).
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from edge_app.config.services import WebConfig
from edge_app.frame import Frame
from edge_app.messages import Encoder, Labels
from edge_app.rules import Overlay

_NICE = 10  # of the encoding thread: the pipeline comes first


@dataclass(frozen=True, slots=True)
class Picture:
    """What one viewer gets at a time. results: JSON; jpeg: the frame it belongs to."""

    results: str
    jpeg: bytes


class Live:
    """Hands frames from the pipeline's thread (`offer`) to viewers in an event loop (`watch`, `encode_on`)."""

    def __init__(self, labels: Labels, settings: WebConfig) -> None:
        self._settings = settings
        self._encoder = Encoder("page", "", labels)
        self._viewers: set[asyncio.Queue[Picture]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._offered: asyncio.Event | None = None
        self._latest: tuple[Frame, tuple[Overlay, ...]] | None = None
        self._next_s = 0.0

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    def offer(self, frame: Frame, overlay: Callable[[], Iterable[Overlay]]) -> None:
        """Called for every frame: keeps a reference where somebody looks and the next picture is due."""
        if not self._viewers or self._loop is None or self._offered is None:
            return
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + 1 / self._settings.fps
        self._latest = frame, tuple(overlay())
        self._loop.call_soon_threadsafe(self._offered.set)

    async def encode_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Encode what is offered, for ever; runs as a task of the loop that the viewers are in."""
        self._loop, self._offered = loop, asyncio.Event()
        with ThreadPoolExecutor(1, "web-encode", initializer=_be_meek) as pool:
            while True:
                await self._offered.wait()
                self._offered.clear()
                latest, self._latest = self._latest, None
                if latest is None or not self._viewers:
                    continue
                picture = await loop.run_in_executor(pool, self._encode, *latest)
                for queue in self._viewers:
                    if queue.full():  # a slow viewer misses pictures; it is never waited for
                        queue.get_nowait()
                    queue.put_nowait(picture)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[asyncio.Queue[Picture]]:
        """Look: a queue of the latest picture."""
        queue: asyncio.Queue[Picture] = asyncio.Queue(1)
        self._viewers.add(queue)
        try:
            yield queue
        finally:
            self._viewers.discard(queue)

    def _encode(self, frame: Frame, overlay: tuple[Overlay, ...]) -> Picture:
        image = frame.image
        if frame.width > self._settings.width:
            height = max(1, round(frame.height * self._settings.width / frame.width))
            image = cv2.resize(image, (self._settings.width, height), interpolation=cv2.INTER_LINEAR).astype(
                np.uint8, copy=False
            )
        _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self._settings.quality])
        result = self._encoder.result(0, frame, clock_synced=False).payload.decode()
        shapes = [asdict(shape) for shape in overlay]
        return Picture(f'{{"result":{result},"overlay":{json.dumps(shapes)}}}', jpeg.tobytes())


def _be_meek() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
