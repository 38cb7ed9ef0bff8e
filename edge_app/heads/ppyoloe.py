"""PP-YOLOE and PicoDet: corners of boxes in pixels, and class probabilities, of all cells.

Source: PaddleDetection, exported without NMS and without the scale factor of the image. Outputs: 1 x N x 4 and
1 x C x N, in either order, read as those of `yolonas`. Exports with maps for each stride are read by `yolo`
(rknn_model_zoo's PP-YOLOE) and `nanodet` (PicoDet).
"""

from __future__ import annotations

from edge_app.heads import yolonas


class Head(yolonas.Head):
    """Decodes PP-YOLOE and PicoDet."""
