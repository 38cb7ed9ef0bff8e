"""Labeled pictures of the kinds that people have. Needs no torch.

examples.py   an example, a data set, and their checks
sources.py    recognizes the kind of a folder and opens it
yolo.py       data.yaml, with a text file of boxes per picture
coco.py       one JSON file of boxes per part
classes.py    a folder per class
masks.py      pictures and masks of the same name
pictures.py   reads a picture into the network's input, with random changes
"""

from edge_app.slim.data.examples import DataSet, Example
from edge_app.slim.data.sources import open_data

__all__ = ["DataSet", "Example", "open_data"]
