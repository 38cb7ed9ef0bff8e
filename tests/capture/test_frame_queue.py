"""FrameQueue: clips in order, only the latest frame of a live source."""

import numpy as np

from edge_app.capture.frame_queue import FrameQueue
from edge_app.frame import Frame


def frame(sequence):
    return Frame("camera", sequence, 10 * sequence, 0, np.zeros((2, 2, 3), np.uint8))


def test_frames_of_a_clip_stay_in_order():
    queue = FrameQueue(2)
    queue.put(frame(0))
    assert not queue.full
    queue.put(frame(1))
    assert queue.full
    assert [queue.pop().sequence for _ in range(2)] == [0, 1]
    assert (len(queue), queue.delivered, queue.dropped) == (0, 2, 0)


def test_the_latest_frame_of_a_live_source_replaces_the_one_before():
    queue = FrameQueue(5)
    for sequence in range(3):
        queue.put_latest(frame(sequence))
    assert (len(queue), queue.pop().sequence, queue.dropped) == (1, 2, 2)
    assert (queue.next_sequence, queue.last_frame_ns) == (3, 20)
