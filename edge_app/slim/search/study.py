"""The trials of a search in a storage that many workers share. No trial is lost when a worker dies. Needs optuna.

A worker reports while it trains. A running trial whose worker is silent for too long fails, and the same network is
queued again. Infeasible networks cost no training and do not count.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_app.errors import ConfigError, foreign_exception
from edge_app.slim.search.recipe import Choice, SearchRecipe

_LOG = logging.getLogger(__name__)
_ALIVE, _REPLACES, _INFEASIBLE = "alive", "replaces", "infeasible"
_MOST_INFEASIBLE = 20  # times the trials


@dataclass(frozen=True, slots=True)
class Found:
    """A finished trial. cycles, loss: what the search makes small."""

    number: int
    choice: Choice
    cycles: int
    loss: float


def storage(where: str) -> Any:
    """A journal in a file, or `grpc://HOST:PORT` of `slim serve`. Raises ConfigError if it cannot be opened."""
    import optuna
    from optuna.storages import GrpcStorageProxy, JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if where.startswith("grpc://"):
        host, _, port = where.removeprefix("grpc://").rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(f"--storage: found '{where}'; expected grpc://HOST:PORT")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # optuna calls the proxy experimental
            proxy = GrpcStorageProxy(host=host, port=int(port))
        try:
            proxy.wait_server_ready(timeout=10)
        except Exception as exc:  # grpc raises its own types
            raise ConfigError(f"--storage: {where} does not answer; expected a running `edge-app slim serve`") from exc
        return proxy
    try:
        Path(where).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(where))
    except Exception as exc:  # a damaged file raises JSON's and other errors
        raise ConfigError(
            f"{where}: cannot be used as a journal: {foreign_exception(exc)}; expected another --out"
        ) from exc


class Search:
    """The trials of one recipe. clock: seconds since the epoch, equal on all machines within `timeout_s`."""

    def __init__(self, recipe: SearchRecipe, store: Any, name: str, clock: Callable[[], float] = time.time) -> None:
        import optuna

        self._recipe, self._clock, self._optuna = recipe, clock, optuna
        nsga2 = optuna.samplers.NSGAIISampler(population_size=recipe.population)
        sampler = nsga2 if recipe.sampler == "nsga2" else optuna.samplers.RandomSampler()
        self._study = optuna.create_study(
            study_name=name, storage=store, directions=["minimize", "minimize"], sampler=sampler, load_if_exists=True
        )

    def next(self) -> tuple[Any, Choice] | None:
        """A trial and its network; None if enough are finished or running."""
        self._requeue()
        states = self._optuna.trial.TrialState
        trials = self._study.get_trials(deepcopy=False)
        wanted = [t for t in trials if t.state in (states.COMPLETE, states.RUNNING, states.WAITING)]
        waiting = any(t.state == states.WAITING for t in trials)
        if len(wanted) >= self._recipe.trials and not waiting:
            return None
        if len(trials) > self._recipe.trials * (1 + _MOST_INFEASIBLE):
            raise ConfigError(
                f"search: {len(trials)} networks are over most_cycles or failed; expected a greater limit"
            )
        trial = self._study.ask()
        trial.set_user_attr(_ALIVE, self._clock())
        recipe = self._recipe
        low, high = recipe.widths
        return trial, Choice(
            trial.suggest_categorical("backbone", list(recipe.backbones)),
            round(trial.suggest_float("width", low, high), 3),
            trial.suggest_categorical("side", list(recipe.sides)),
            trial.suggest_categorical("channels", list(recipe.channels)),
        )

    def unfinished(self) -> bool:
        """Whether a trial is running or waiting, of any worker."""
        states = self._optuna.trial.TrialState
        return any(t.state in (states.RUNNING, states.WAITING) for t in self._study.get_trials(deepcopy=False))

    def enqueue(self, choices: Sequence[Choice]) -> None:
        """Queue networks that must be tried; those that are there already are left out."""
        for choice in choices:
            self._study.enqueue_trial(asdict(choice), skip_if_exists=True)

    def report(self, trial: Any) -> None:
        """Say that the worker of a trial is alive."""
        trial.set_user_attr(_ALIVE, self._clock())

    def finish(self, trial: Any, cycles: int, loss: float) -> None:
        """Return the values of a trial. They are dropped if another worker was given the network in the meantime."""
        self._study.tell(trial, [float(cycles), loss], skip_if_finished=True)

    def reject(self, trial: Any, cycles: int) -> None:
        """A network that is over the limit."""
        trial.set_user_attr(_INFEASIBLE, cycles)
        self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL, skip_if_finished=True)

    def release(self, trial: Any) -> None:
        """Give a trial back, for another worker or a later run."""
        self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL, skip_if_finished=True)
        self._requeue()

    def found(self) -> list[Found]:
        """The finished trials, by number."""
        state = self._optuna.trial.TrialState.COMPLETE
        trials = self._study.get_trials(deepcopy=False, states=(state,))
        return [Found(t.number, _choice(t.params), int(t.values[0]), float(t.values[1])) for t in trials]

    def _requeue(self) -> None:
        """Fail the trials of silent workers, and queue the networks of failed trials that nothing replaces."""
        states = self._optuna.trial.TrialState
        trials = self._study.get_trials(deepcopy=False)
        now = self._clock()
        for trial in trials:
            silent = now - trial.user_attrs.get(
                _ALIVE, now if trial.datetime_start is None else trial.datetime_start.timestamp()
            )
            if trial.state == states.RUNNING and silent > self._recipe.timeout_s:
                _LOG.warning(
                    "trial %d: its worker is silent for %.0f s; the network is queued again", trial.number, silent
                )
                self._study.tell(trial.number, state=states.FAIL, skip_if_finished=True)
        trials = self._study.get_trials(deepcopy=False)
        replaced = {trial.user_attrs.get(_REPLACES) for trial in trials}
        for trial in trials:
            lost = trial.state == states.FAIL and _INFEASIBLE not in trial.user_attrs and trial.params
            if lost and trial.number not in replaced:
                self._study.enqueue_trial(trial.params, user_attrs={_REPLACES: trial.number})


def _choice(params: Mapping[str, Any]) -> Choice:
    return Choice(params["backbone"], round(params["width"], 3), params["side"], params["channels"])


def hypervolume(found: Sequence[Found], most: tuple[float, float]) -> float:
    """The area that the trials dominate, below `most` cycles and loss. Greater is better."""
    points = sorted((f.cycles, f.loss) for f in found if f.cycles < most[0] and f.loss < most[1])
    area, loss = 0.0, most[1]
    for cycles, own in points:
        if own < loss:
            area += (most[0] - cycles) * (loss - own)
            loss = own
    return area


def front(found: Sequence[Found]) -> list[Found]:
    """The trials that no other one dominates, by cycles."""
    best: list[Found] = []
    for each in sorted(found, key=lambda f: (f.cycles, f.loss)):
        if not best or each.loss < best[-1].loss:
            best.append(each)
    return best
