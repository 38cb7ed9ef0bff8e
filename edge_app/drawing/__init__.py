"""Annotated pictures and clips.

annotation.py  results drawn into a frame, and a clip of such frames
"""

from edge_app.drawing.annotation import ClipWriter, annotate

__all__ = ["ClipWriter", "annotate"]
