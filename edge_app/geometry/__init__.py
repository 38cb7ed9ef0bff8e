"""Geometry: boxes, polygons, and the orientation of pictures.

boxes.py        letterbox and back, IoU, NMS
polygons.py     which polygons and lines are usable, and what lies inside
orientation.py  rotate, flip, crop and mask a picture
"""

from edge_app.geometry.boxes import Resize, Transform, fit, iou, nms

__all__ = ["Resize", "Transform", "fit", "iou", "nms"]
