"""Inference: from a frame's pixels to the results of every head.

preprocess.py  pixels to the input tensor
graphs.py      the model's graphs on a backend
stage.py       the stage: which heads are due, run, decode
crops.py       second-stage heads on crops
supervisor.py  the inference thread; rebuilds a backend that fails or hangs
"""
