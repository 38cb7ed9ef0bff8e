"""Capture: frames of the configured source, with geometry applied.

build.py        construct the configured source
thread.py       the capture stage: a thread that reads ahead and reconnects
reader.py       one reader thread and its source
frame_queue.py  frames that were captured and not read yet
connection.py   state, backoff and statistics of the connection
clips.py        the capture stage of a replay
read_ahead.py   a thread that reads a clip a few frames ahead
frozen.py       detects an image that no longer changes
"""

from edge_app.capture.connection import CaptureStats, State
from edge_app.capture.thread import Capture

__all__ = ["Capture", "CaptureStats", "State"]
