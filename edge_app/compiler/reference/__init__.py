"""Boxes from a published file's own outputs, by the rule that its authors published: plain, independent of the heads.

candidates.py   the input and the result of a rule, and the arithmetic that rules share
detectors.py    the rules of FastestDet, NanoDet, UltraFace, YuNet and digits
faces.py        the rules of face detectors with landmarks
yolo.py         the rules of the YOLO detectors
queries.py      the rules of detection transformers, YOLO-NAS and PP-YOLOE
ssd.py          SSD: priors and deltas, or corners
tasks.py        the rules of YOLOs for poses, oriented boxes and instances
rules.py        the rule of a family
The comparison with the boxes of a head is in ../box_proof.py.
"""

from edge_app.compiler.reference.candidates import Candidates, Published, overlaps, rotated_overlaps
from edge_app.compiler.reference.rules import candidates
from edge_app.compiler.reference.tasks import masks

__all__ = ["Candidates", "Published", "candidates", "masks", "overlaps", "rotated_overlaps"]
