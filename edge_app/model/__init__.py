"""The model folder.

manifest.py  model.yaml: reading it, and its nouns
checks.py    whether its parts agree
memory.py    what a model takes on a board
"""
