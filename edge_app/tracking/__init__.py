"""Tracking: identities for the detections of one head.

tracker.py     the stage
assignment.py  which detection belongs to which track
"""

from edge_app.tracking.tracker import UNTRACKED, Tracker

__all__ = ["UNTRACKED", "Tracker"]
