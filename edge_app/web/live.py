"""The live view: the latest frame as a small JPEG, with the results of heads and rules.

The pipeline stores a reference to the frame and continues. A thread of lower priority scales and encodes it, once for
all viewers, and only if there are any. Not here: the sockets (viewer.py, mjpeg.py).
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
from edge_app.drawing import annotate
from edge_app.frame import Frame
from edge_app.messages import Encoder, Labels
from edge_app.rules import Overlay

_NICENESS = 10  # of the encoding thread; the pipeline has priority


@dataclass(frozen=True, slots=True)
class Picture:
    """One update for a viewer. results: JSON; jpeg: the frame of these results."""

    results: str
    jpeg: bytes


class LiveView:
    """Passes frames from the pipeline's thread (`submit`) to viewers in an event loop (`subscribe`, `encode`)."""

    def __init__(self, labels: Labels, settings: WebConfig) -> None:
        self._settings = settings
        self._encoder = Encoder("page", "", labels)
        self._labels = labels
        self._viewers: dict[asyncio.Queue[Picture], bool] = {}  # whether it gets images with boxes
        self._loop: asyncio.AbstractEventLoop | None = None
        self._submitted: asyncio.Event | None = None
        self._latest: tuple[Frame, tuple[Overlay, ...]] | None = None
        self._next_s = 0.0

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    def submit(self, frame: Frame, overlay: Callable[[], Iterable[Overlay]]) -> None:
        """Take every processed frame; store a reference if there are viewers and the next image is due."""
        if not self._viewers or self._loop is None or self._submitted is None:
            return
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + 1 / self._settings.fps
        self._latest = frame, tuple(overlay())
        self._loop.call_soon_threadsafe(self._submitted.set)

    async def encode(self, loop: asyncio.AbstractEventLoop) -> None:
        """Encode submitted frames until cancelled. loop: the running event loop, which also serves the viewers."""
        self._loop, self._submitted = loop, asyncio.Event()
        with ThreadPoolExecutor(1, "web-encode", initializer=_lower_priority) as pool:
            while True:
                await self._submitted.wait()
                self._submitted.clear()
                latest, self._latest = self._latest, None
                if latest is None or not self._viewers:
                    continue
                for boxes in sorted(set(self._viewers.values())):
                    picture = await loop.run_in_executor(pool, self._encode_picture, *latest, boxes)
                    self._hand_out(picture, boxes)

    @asynccontextmanager
    async def subscribe(self, *, boxes: bool = False) -> AsyncIterator[asyncio.Queue[Picture]]:
        """Register a viewer. Yields a queue of length one: the latest image. boxes: draw the results into it."""
        queue: asyncio.Queue[Picture] = asyncio.Queue(1)
        self._viewers[queue] = boxes
        try:
            yield queue
        finally:
            del self._viewers[queue]

    def _hand_out(self, picture: Picture, boxes: bool) -> None:
        for queue, with_boxes in self._viewers.items():
            if with_boxes == boxes:
                if queue.full():  # a slow viewer misses images; the others do not wait for it
                    queue.get_nowait()
                queue.put_nowait(picture)

    def _encode_picture(self, frame: Frame, overlay: tuple[Overlay, ...], boxes: bool) -> Picture:
        image = annotate(frame, self._labels, overlay) if boxes else frame.image
        if frame.width > self._settings.width:
            height = max(1, round(frame.height * self._settings.width / frame.width))
            image = cv2.resize(image, (self._settings.width, height), interpolation=cv2.INTER_LINEAR).astype(
                np.uint8, copy=False
            )
        _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self._settings.quality])
        result = self._encoder.result(0, frame, clock_synced=False).payload.decode()
        shapes = [asdict(shape) for shape in overlay]
        return Picture(f'{{"result":{result},"overlay":{json.dumps(shapes)}}}', jpeg.tobytes())


def _lower_priority() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
