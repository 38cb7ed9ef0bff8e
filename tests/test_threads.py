"""Worker and Inline run a stage; AbandonedThreads counts the threads that hang."""

from __future__ import annotations

import threading

import pytest

from edge_app.threads import AbandonedThreads, Inline, Worker


@pytest.fixture
def hang():
    """Start a thread that hangs until the test ends."""
    release = threading.Event()
    threads = []

    def start() -> threading.Thread:
        threads.append(threading.Thread(target=release.wait, args=(10,)))
        threads[-1].start()
        return threads[-1]

    yield start
    release.set()
    for thread in threads:
        thread.join()


def test_too_many_abandoned_threads_are_reported(hang):
    abandoned = AbandonedThreads(limit=2)
    for expected in (False, False, True):
        abandoned.add(hang())
        assert abandoned.over_limit is expected
    assert abandoned.count == 3


def test_threads_that_have_ended_no_longer_count(hang):
    abandoned = AbandonedThreads(limit=1)
    ended = threading.Thread(target=int)
    ended.start()
    ended.join()
    for thread in (ended, hang(), ended):
        abandoned.add(thread)
    assert (abandoned.count, abandoned.total, abandoned.over_limit) == (1, 3, False)


def test_a_hung_worker_can_be_abandoned():
    release = threading.Event()
    worker: Worker[int, bool] = Worker(lambda _: release.wait(10), "hung")
    abandoned = AbandonedThreads(limit=0)
    worker.submit(1)
    worker.close(0)
    abandoned.add(worker)
    assert abandoned.over_limit
    release.set()
    worker.close()
    assert not worker.is_alive()


def test_a_worker_raises_the_exceptions_of_its_stage():
    worker: Worker[int, float] = Worker(lambda x: 1 / x, "test")
    worker.submit(2)
    assert worker.result() == 0.5
    worker.submit(0)
    with pytest.raises(ZeroDivisionError):
        worker.result()
    worker.submit(4)
    assert worker.result() == 0.25
    worker.close()


def test_a_worker_returns_results_in_the_order_of_its_items():
    worker: Worker[int, int] = Worker(lambda x: x * x, "test")
    worker.submit(1)
    worker.submit(2)
    worker.wait()
    worker.submit(3)
    assert [worker.result() for _ in range(3)] == [1, 4, 9]
    assert not worker.pending
    worker.close()


def test_a_slow_worker_raises_timeout_error_and_finishes_later():
    release = threading.Event()
    worker: Worker[int, bool] = Worker(lambda _: release.wait(10), "stuck")
    worker.submit(1)
    with pytest.raises(TimeoutError, match=r"stuck did not finish within 0\.01 s"):
        worker.result(timeout_s=0.01)
    release.set()
    assert worker.result(timeout_s=5)
    worker.close()


def test_an_inline_stage_runs_inside_result_and_finishes_once():
    calls, finished = [], []
    inline: Inline[int, float] = Inline(lambda x: calls.append(x) or 1 / x, finish=lambda: finished.append(1))
    inline.submit(0)
    assert inline.pending
    assert not calls
    with pytest.raises(ZeroDivisionError):
        inline.result()
    inline.submit(4)
    assert inline.result() == 0.25
    inline.close()
    inline.close()
    assert finished == [1]
