"""The daemon: start, go round until told to stop, stop in order. Signals only set a flag."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from types import FrameType

from edge_app import pipeline
from edge_app import proof as proofs
from edge_app.config import Config
from edge_app.errors import EndOfClip

_log = logging.getLogger(__name__)


def run(
    config: Config,
    *,
    max_frames: int | None = None,
    health_file: Path | None = None,
    release_file: Path | None = None,
) -> None:
    """Run the pipeline until its clip ends, `max_frames` have passed, or SIGTERM or SIGINT comes.

    health_file, release_file: what is said to the updater, and what it says (proof.py). Raises EdgeError where it
    cannot start or go on.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.INFO)
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    previous = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    frames = 0
    try:
        with proofs.Proof(health_file) as proof:
            proof.prove_model(config)
            with pipeline.build(config) as running:
                running.about = proofs.release(release_file)
                _log.info("running %s on %s", config.manifest.name, running.health().backend)
                while not stop.is_set() and frames != max_frames:
                    frame = running.step(timeout_s=0.5)
                    proof.turn(running, frame)
                    frames += frame is not None
    except EndOfClip:
        _log.info("the clip ended after %d frames", frames)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
