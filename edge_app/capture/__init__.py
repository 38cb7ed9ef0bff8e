"""Capture: frames of the configured source, with geometry applied.

thread.py  the capture thread: reads ahead, reconnects
clips.py   a clip read on the caller's thread, for replay
frozen.py  notices a picture that no longer changes
"""

from edge_app.capture.thread import Capture, CaptureStats, State

__all__ = ["Capture", "CaptureStats", "State"]
