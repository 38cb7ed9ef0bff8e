"""What must be computed again, and what stands: features and results reused from frame to frame.

change.py     which blocks of the picture changed, against what features were computed from
boxes.py      from changed blocks to a handful of rectangles
units.py      the model's graphs as steps that can be run on a rectangle
fixed.py      the same on engines whose graphs have one shape each
features.py   the cached maps, and their update where something changed
cost.py       what each step takes: a + b * area, measured once on the device, kept in a file
guard.py      whether reuse pays at the moment
sweep.py      how old cells may become
frames.py     the decision, frame by frame: gate, heads, partial or dense
"""
