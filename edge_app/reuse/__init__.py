"""Reuse of features and results across frames: compute only what changed. README.md explains it with two drawings.

The path of a frame, in this order:
frame_reuse.py       what the inference stage calls: one decision per frame, requests, counters
change_detection.py  which blocks of the image changed
dirty_rects.py       from changed blocks to a few boxes
planner.py           the decision: gate, heads, partial, dense or carried
cost_account.py      predicts and records what frames cost
throttle.py          pauses what does not pay
head_schedule.py     which heads have to run, and in which order
network_cache.py     the network and its last outputs
feature_cache.py     partial updates: which segment runs where
maps.py              the cached maps: storing and comparing values
propagation.py       how far a change is followed
segments.py          the model's graphs, run as a whole or on a box
fixed_shapes.py      the same on engines whose graphs have one shape each
doubts.py            where the maps may be wrong
refresh.py           the rolling refresh, which bounds that and the age of the maps
guard.py             measures what partial frames lose, and bounds it
result_comparison.py compares results of a frame in part and in full
crop_cache.py        results of second-stage heads

Bounds, costs and setup:
relaxation.py        the bounds in effect, as configured or relaxed
budget.py            the budget of inference time
costs.py             the cost model
calibrate.py         measures the costs
cost_file.py         stores the costs, per machine
verification.py      compares parts with the whole, for `edge-app check`
loader.py            from a model folder to a feature cache
profile.py           tolerances of a model on a camera, from `edge-app tune`
"""
