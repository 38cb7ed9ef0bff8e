"""Inference: from a frame's pixels to the results of every head.

engine.py      chooses and builds the inference engine
precision.py   chooses float or int8 graphs by measuring both
stage.py       the inference stage: runs and decodes the heads that are due
branch.py      a head on the whole image: its decoder, when it is due, its last result
overlap.py     the same in steps that run on several threads, for a replay
image_heads.py heads without a network, which read the image itself
preprocess.py  converts pixels to the input tensor
graphs.py      the model's graphs on a backend
decoding.py    decodes the outputs of a head and checks the result
score_check.py reports scores that are no probabilities
filters.py     filters of the detections of a head
crops.py       second-stage heads, on crops of detections; alignment.py cuts and aligns these
shared_engine.py one engine for several cameras
scheduler.py   who of them runs next
supervisor.py  the inference thread; rebuilds a backend that fails or hangs
golden.py      compares this machine's outputs with those of the host; golden_file.py reads them
"""
