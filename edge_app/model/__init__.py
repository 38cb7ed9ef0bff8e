"""The model folder.

manifest.py  reads model.yaml and the files in its folder
schema.py    the blocks of model.yaml
checks.py    cross-checks between the parts of model.yaml
memory.py    the memory that a model needs on a board
cycles.py    the cycles that an NPU needs for each layer
"""
