"""Annotated images and clips.

annotation.py  draws results into a copy of a frame, and writes annotated frames as a clip
"""

from edge_app.drawing.annotation import ClipWriter, annotate

__all__ = ["ClipWriter", "annotate"]
