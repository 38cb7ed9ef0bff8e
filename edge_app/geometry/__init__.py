"""Geometry of boxes, polygons and images.

boxes.py        letterboxing and its inverse, IoU, NMS
rotated.py      corners and NMS of oriented boxes
polygons.py     validation of polygons and lines, point-in-polygon test
orientation.py  rotate, flip, crop and mask an image
"""

from edge_app.geometry.boxes import Resize, Transform, fit, iou, nms

__all__ = ["Resize", "Transform", "fit", "iou", "nms"]
