"""`python -m tests.system.chaos --seed N --seconds S [--json]`: a daemon under random faults, and a verdict.

A real daemon process on an RTSP camera delivers to a file, to Mosquitto and to an HTTP server. The seed selects
random faults. For the first 40 % of the time the daemon is killed too. After that the same process must survive the
rest, and its memory, descriptors and threads are compared between two settled moments. At the end all faults are
cleared, the queue is drained, and chaos_judge.py compares what arrived. Exit code 1 if a promise is broken.
Without GStreamer's RTSP server, the camera is synthetic and has no faults.
Needs root for the small disk; without it, the disk is never full.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.system import chaos_peers
from tests.system.chaos_judge import DISK_RETRY_S, judge
from tests.system.chaos_testbed import SETTLE_S, WINDOWS, Testbed, now_s, small_disk

KILLING_SHARE, WARM_UP_SHARE, SURVIVING_SHARE = 0.4, 0.2, 0.4
FAULT_EVERY_S = 1.2
MAX_GROWTH_MB = 3.0
BAD_FILES = (b"", b"\0" * 1000, b"[" * 100_000, b"device: &a {id: *a}\n", b"\xff\xfe\x00\x01")
BAD_LINES = (  # each replaces the line of the same block in a configuration that is otherwise good
    b"source: {type: rtsp, url: 'rtsp://127.0.0.1:99999/x'}",
    b"source: {type: rtsp, url: 'rtsp://[::1/x'}",
    b"source: {type: rtsp, url: 'rtsp://a..b/x'}",
    b'source: {type: rtsp, url: "rtsp://127.0.0.1:1/\\0"}',
    b'source: {type: rtsp, url: "rtsp://127.0.0.1:1/\\ud800"}',
    b"source: {type: video, path: /" + b"a" * 5000 + b"}",
    b"source: {type: synthetic, width: " + b"9" * 5000 + b"}",
    b"source: {type: synthetic, mask: [[[0, 0]]]}",
    b"publish: {results: " + b"9" * 5000 + b"}",
    b"model: {path: /dev/zero}",
    b"web: {enabled: true, host: 'a..b', port: 0, token: 'env:HOME'}",
)


class Faults:
    """Injects faults and clears them. counts: of each fault."""

    def __init__(self, bed: Testbed) -> None:
        self.counts: Counter[str] = Counter()
        self._bed = bed
        self._active: dict[str, tuple[float, Callable[[], None]]] = {}
        self._next_s = 0.0

    def step(self, *, kill: bool) -> None:
        now, rng = time.monotonic(), self._bed.rng
        for name, (until_s, clear) in list(self._active.items()):
            if now >= until_s:
                del self._active[name]
                clear()
        if now < self._next_s:
            return
        self._next_s = now + rng.expovariate(1 / FAULT_EVERY_S)
        kinds = ["freeze_broker", "restart_broker", "http", "clock", "hostile_clients", "rubbish", "reload", "backend"]
        kinds += ["disk"] * self._bed.has_disk + ["freeze_camera", "restart_camera"] * (self._bed.camera is not None)
        kind = rng.choice(kinds + ["kill", "kill", "kill", "stop"] * kill)
        length_s = rng.uniform(0.3, 5.0)
        if kind not in self._active and (clear := getattr(self, f"_{kind}")()):
            self.counts[kind] += 1
            self._active[kind] = time.monotonic() + length_s, clear

    def clear(self) -> None:
        for _, clear in self._active.values():
            clear()
        self._active.clear()

    # Each injects one fault and returns the function that clears it, or None if it is not possible now.

    def _kill(self, number: int = signal.SIGKILL) -> Callable[[], None] | None:
        if not self._bed.is_publishing():
            return None
        for name in ("rubbish", "backend"):  # a daemon that starts with one of these exits, as it should
            if name in self._active:
                self._active.pop(name)[1]()
        self._bed.end(number)
        return self._bed.start

    def _stop(self) -> Callable[[], None] | None:
        """In order. Not if the disk was full since the start: then there is no file to record a loss in."""
        started = self._bed.history.starts[-1]
        if any(begin <= started < end for begin, end in self._bed.history.disk_full):
            return None
        return self._kill(signal.SIGTERM)

    def _freeze_broker(self) -> Callable[[], None] | None:
        if not self._bed.broker.running:
            return None
        self._bed.broker.freeze()
        self._bed.history.flaps.append(now_s())
        return self._bed.broker.thaw

    def _restart_broker(self) -> Callable[[], None] | None:
        if "freeze_broker" in self._active:
            return None
        self._bed.broker.stop()
        self._bed.history.flaps.append(now_s())
        return lambda: self._bed.broker.start() and None

    def _freeze_camera(self) -> Callable[[], None] | None:
        assert self._bed.camera is not None
        if "restart_camera" in self._active:
            return None
        self._bed.camera.freeze()
        return self._bed.camera.thaw

    def _restart_camera(self) -> Callable[[], None] | None:
        assert self._bed.camera is not None
        if "freeze_camera" in self._active:
            return None
        self._bed.camera.stop()
        return self._bed.camera.start

    def _http(self) -> Callable[[], None]:
        self._bed.http.mode = mode = self._bed.rng.choice(self._bed.http.MODES)
        self.counts[f"http {mode}"] += 1
        return lambda: setattr(self._bed.http, "mode", "ok")

    def _clock(self) -> Callable[[], None]:
        self._bed.clock.write_text(str(self._bed.rng.choice([-86_400, -30, 3600, 86_400])), encoding="ascii")
        return lambda: None

    def _hostile_clients(self) -> Callable[[], None]:
        return chaos_peers.HostileClients(self._bed.page, self._bed.rng.choice([4, 64]), self._bed.rng).close

    def _rubbish(self) -> Callable[[], None] | None:
        if not self._bed.is_publishing():
            return None
        good, bad = self._bed.good_config, self._bed.rng.choice(BAD_FILES + BAD_LINES)
        if bad in BAD_LINES:
            block = bad.partition(b" ")[0]
            lines = good.splitlines(keepends=True)
            bad = b"".join(bad + b"\n" if line.startswith(block) else line for line in lines)
        self._bed.reload(bad)
        return lambda: self._bed.reload(self._bed.good_config)

    def _reload(self) -> Callable[[], None] | None:
        """A valid change, which builds all sinks again."""
        if "rubbish" in self._active or not self._bed.is_publishing():
            return None
        good = self._bed.good_config
        old, new = (b"all", b"0.01") if b"results: all" in good else (b"0.01", b"all")
        self._bed.good_config = good.replace(b"results: " + old, b"results: " + new)
        self._bed.reload(self._bed.good_config)
        return lambda: None

    def _backend(self) -> Callable[[], None] | None:
        if not self._bed.is_publishing():
            return None
        self._bed.write(self._bed.mischief, b"fail")
        return lambda: self._bed.write(self._bed.mischief, b"good")

    def _disk(self) -> Callable[[], None]:
        """Fill it."""
        began, filler = now_s(), self._bed.folder / "state/filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        self._bed.history.disk_full.append((began, float("inf")))

        def clear() -> None:
            filler.unlink(missing_ok=True)
            self._bed.history.disk_full[-1] = began, now_s() + DISK_RETRY_S

        return clear


def run(bed: Testbed, seconds: float) -> dict:
    """Inject faults, clear them, and judge."""
    faults = Faults(bed)
    measured, opened, settled, page_s = [], [], [], []

    def inject(share: float, *, kill: bool = False) -> None:
        end = time.monotonic() + seconds * share
        while time.monotonic() < end:
            faults.step(kill=kill)
            bed.check_alive()
            time.sleep(0.05)
        faults.clear()

    inject(KILLING_SHARE, kill=True)
    lives = len(bed.history.starts)
    for share in (WARM_UP_SHARE, SURVIVING_SHARE):
        inject(share)
        settled.append(bed.settle())
        measured.append(bed.sizes())
        opened.append(bed.open_files())
        page_s.append(chaos_peers.page_answers_in_s(bed.page))
    same = len(bed.history.starts) == lives
    bed.end(signal.SIGTERM)
    bed.start()  # delivers what waits for a long backoff
    settled.append(bed.settle())
    bed.end(signal.SIGTERM)
    time.sleep(1.0)  # the subscriber's last messages
    bed.record()
    found = judge(bed.sinks, bed.history, bed.unreported_gap())
    growth = {name: round(measured[1][name] - measured[0][name], 2) for name in measured[0]}
    return {
        **found,
        "faults": dict(faults.counts),
        "log": bed.warnings(),
        "times": bed.history.since_first_start(),
        "died": bed.died,
        "settled": settled,
        "page_s": page_s,
        "measured": measured,
        "opened": sorted((opened[1] - opened[0]).elements()),
        "growth": growth if same else None,
    }


def broken_promises(found: dict) -> list[str]:
    """The promises that this run did not show to hold; empty if it showed all of them."""
    broken = [f"the daemon ended: {why}" for why in found["died"]]
    broken += [f"{id_} has two contents" for id_ in found["two_contents"][:5]]
    for name, sink in found["sinks"].items():
        if sink["lost"]:
            broken.append(f"{name}: {len(sink['lost'])} accepted messages lost, such as {sink['lost'][0]}")
        if sink["beyond_gaps"]:
            broken.append(f"{name}: {sink['beyond_gaps']} messages lost more than the gap records count")
        if sink["out_of_order"]:
            broken.append(f"{name}: {sink['out_of_order']} messages out of order")
        cuts = found["kills"] + found["flaps"] * (name == "mqtt")  # QoS 1: unacknowledged messages are sent again
        if sink["repeats"] > WINDOWS[name] * cuts:
            broken.append(f"{name}: {sink['repeats']} repeats; {found['kills']} kills, {found['flaps']} flaps")
    if not all(found["settled"]):
        broken.append(f"did not settle within {SETTLE_S} s: {found['settled']}")
    broken += [f"the page did not answer: {found['page_s']}"] * (None in found["page_s"])
    growth = found["growth"] or {"anonymous_mb": 0, "files": 0, "threads": 0}  # None: see `died`
    if growth["anonymous_mb"] > MAX_GROWTH_MB or growth["files"] != 0 or growth["threads"] != 0:
        broken.append(f"grew: {growth}")
    return broken


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.system.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as text, small_disk(Path(text) / "state") as has_disk:
        bed = Testbed(Path(text), random.Random(given.seed), has_disk)
        with bed.running():
            found = run(bed, given.seconds)
    broken = broken_promises(found)
    found |= {"seed": given.seed, "seconds": given.seconds, "broken": broken}
    print(json.dumps(found, indent=1 if not given.json else None))
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
