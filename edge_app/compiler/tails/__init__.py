"""Cut post-processing off the end of a graph if the family's decoder does it, and keep it for the equality check.

Such tails join boxes and scores into one tensor, which destroys the scores in INT8, and fix the image size.

cutting.py     the cut itself
branches.py    the convolutions that a tail starts from, whatever lies between them and the outputs
probe.py       runs a tail on random maps, and compares boxes
yolo.py        which of its versions decodes the convolutions as the tail does; its anchors
tasks.py       the same of YOLOs for poses, oriented boxes and instances
detectors.py   FastestDet and UltraFace
Not here: recognizing the family (families.py).
"""

from edge_app.compiler.tails.cutting import Cut, cut

__all__ = ["Cut", "cut"]
