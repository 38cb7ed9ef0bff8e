"""Annotated images and clips.

annotation.py   draws results into a copy of a frame
clip_writer.py  writes annotated frames as a clip that browsers play
"""

from edge_app.drawing.annotation import annotate
from edge_app.drawing.clip_writer import ClipWriter

__all__ = ["ClipWriter", "annotate"]
