"""Tracking: track ids for the detections of one head.

tracker.py     the tracking stage
carried.py     keypoints, corners and polygons while a head does not run
assignment.py  the optimal assignment of detections to tracks
"""

from edge_app.tracking.tracker import UNTRACKED, Tracker

__all__ = ["UNTRACKED", "Tracker"]
