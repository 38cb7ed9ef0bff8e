"""Evaluation, host only: how well two sets of results agree. The compiler, the benchmarks and the training use it.

matching.py    one-to-one matching of boxes by IoU and class
agreement.py   F1 with score hysteresis, mean IoU of matched boxes, F1 of each frame
results.py     one agreement figure for the results of any head
`cosine`       of two arrays; the device uses it too, so it is defined in edge_app/inference/golden.py
"""

from edge_app.evaluation.agreement import (
    LEAST_IOU,
    LOWER_SCORE,
    SCORE,
    Counts,
    f1,
    f1_with_hysteresis,
    frame_f1,
    hysteresis_counts,
    mean_matched_iou,
    paired_counts,
    worst_frame,
)
from edge_app.evaluation.matching import Matches, class_iou, match_by_iou, match_by_score, match_optimal
from edge_app.evaluation.results import result_agreement
from edge_app.inference.golden import cosine

__all__ = [
    "LEAST_IOU",
    "LOWER_SCORE",
    "SCORE",
    "Counts",
    "Matches",
    "class_iou",
    "cosine",
    "f1",
    "f1_with_hysteresis",
    "frame_f1",
    "hysteresis_counts",
    "match_by_iou",
    "match_by_score",
    "match_optimal",
    "mean_matched_iou",
    "paired_counts",
    "result_agreement",
    "worst_frame",
]
