"""Workers that join, die and return. Needs optuna: pip install 'edge-app[slim]'."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_app import cli
from edge_app.errors import ConfigError
from tests.running import free_port
from tests.slim import pictures

pytest.importorskip("optuna", reason="the extra `slim` is not installed")
pytest.importorskip("torch", reason="the extra `slim` is not installed")
from edge_app.slim.recipe import HeadRecipe
from edge_app.slim.search import study
from edge_app.slim.search.recipe import Choice, SearchRecipe
from edge_app.slim.search.study import Found, Search

pytestmark = pytest.mark.system
RECIPE = SearchRecipe({"a": HeadRecipe("classify")}, trials=4, population=2, timeout_s=10, sides=(32, 64))


class Clock:
    now = time.time()

    def __call__(self) -> float:
        return self.now


def value(choice: Choice) -> tuple[int, float]:
    return round(choice.width * 1000), 1 - choice.width


def test_the_network_of_a_worker_that_died_is_tried_by_another_one(tmp_path):
    clock = Clock()
    first, second = (Search(RECIPE, study.storage(str(tmp_path / "journal")), "s", clock) for _ in range(2))
    taken = first.next()
    assert taken is not None
    dead, lost = taken
    clock.now += 5
    first.report(dead)
    clock.now += 8
    other = second.next()  # the first one reported 8 s ago
    assert other is not None
    second.finish(other[0], *value(other[1]))
    clock.now += 11
    tried = []
    while (taken := second.next()) is not None:
        tried.append(taken[1])
        second.finish(taken[0], *value(taken[1]))
    assert tried[0] == lost
    assert len(second.found()) == RECIPE.trials
    first.finish(dead, 1, 0.0)  # the dead worker returns: its trial was given away
    assert len(first.found()) == RECIPE.trials
    assert not first.unfinished()


def test_a_trial_that_is_given_back_is_tried_again(tmp_path):
    search = Search(RECIPE, study.storage(str(tmp_path / "journal")), "s", Clock())
    taken = search.next()
    assert taken is not None
    search.release(taken[0])
    again = search.next()
    assert again is not None
    assert again[1] == taken[1]


def test_networks_over_the_limit_do_not_count(tmp_path):
    search = Search(RECIPE, study.storage(str(tmp_path / "journal")), "s", Clock())
    for _ in range(3):
        taken = search.next()
        assert taken is not None
        search.reject(taken[0], 10**9)
    finished = 0
    while (taken := search.next()) is not None:
        search.finish(taken[0], *value(taken[1]))
        finished += 1
    assert finished == RECIPE.trials
    for _ in range(100):
        search = Search(RECIPE, study.storage(str(tmp_path / "other")), "s", Clock())
        taken = search.next()
        assert taken is not None
        search.reject(taken[0], 10**9)
        if len(search._study.trials) > 84:
            break
    with pytest.raises(ConfigError, match="networks are over most_cycles or failed; expected a greater limit"):
        search.next()


@contextmanager
def served(path: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "edge_app", "slim", "serve", str(path), "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "serving" in process.stderr.readline()
        try:
            yield f"grpc://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGKILL)


def test_workers_share_trials_through_the_proxy(tmp_path):
    with served(tmp_path / "journal") as where:
        found: list[int] = []

        def work() -> None:
            search = Search(RECIPE, study.storage(where), "s")
            while (taken := search.next()) is not None:
                found.append(taken[0].number)
                search.finish(taken[0], *value(taken[1]))

        Search(RECIPE, study.storage(where), "s")
        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(set(found)) == len(found) >= RECIPE.trials


def test_a_storage_that_is_none_is_one_line(tmp_path):
    for where, expected in (
        ("grpc://nohost", "expected grpc://HOST:PORT"),
        (str(tmp_path), "cannot be used as a journal"),
    ):
        with pytest.raises(ConfigError, match=expected):
            Search(RECIPE, study.storage(where), "s")


def test_the_area_that_trials_dominate():
    choice = Choice("edge", 1.0, 32, 32)
    found = [Found(0, choice, 2, 0.5), Found(1, choice, 1, 0.8), Found(2, choice, 3, 0.6)]
    assert study.hypervolume(found, (4, 1.0)) == pytest.approx(3 * 0.2 + 2 * 0.3)
    assert [each.number for each in study.front(found)] == [1, 0]


def test_a_search_trains_trials_and_survivors_and_writes_a_report(tmp_path, capsys):
    pictures.classes(tmp_path / "classes", 8)
    (tmp_path / "r.yaml").write_text(
        "heads: {color: {task: classify}}\nwidths: [0.25, 0.5]\nsides: [32]\nchannels: [16]\ntrials: 2\npopulation: 2\n"
        "steps: 1\nsurvivors: 1\nfinal_steps: 2\nbatch: 2\n"
    )
    command = ["slim", "search", str(tmp_path / "classes"), "--recipe", str(tmp_path / "r.yaml")]
    assert cli.main([*command, "--out", str(tmp_path / "out"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["trials"]) == 2
    assert len(report["survivors"]) == 1
    assert "<svg" in (tmp_path / "out" / "search.html").read_text()
    assert cli.main([*command, "--out", str(tmp_path / "out"), "--json"]) == 0  # finished: nothing is trained again
    assert json.loads(capsys.readouterr().out) == report
