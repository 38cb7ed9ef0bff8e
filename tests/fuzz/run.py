"""`python -m tests.fuzz.run --target NAME --seconds N [--json]`: fuzz one target, or all, guided by coverage.

Needs atheris (https://github.com/google/atheris). A child process fuzzes; it is restarted after a crash or a hang until
the time is over. Memory growth is measured afterwards: another child repeats the corpus that was found, because atheris
itself needs more memory with every input that it keeps. Exit code 1 if anything was found.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

HANG_S = 5
MEMORY_LIMIT_MB = 2048
_UPDATER = ["bundle", "device", "durable", "state", "trial"]
_WRITE_EVERY = 2000  # inputs
_LIBFUZZER_TIMEOUT = 70  # exit code
_MAX_TRACEBACKS = 20  # different ones; more are only counted


@dataclass
class Report:
    """tracebacks: one of each kind, input in hex. growth_mb: of resident memory while the corpus is repeated."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    tracebacks: list[dict[str, str]] = field(default_factory=list)
    hangs: int = 0
    crashes: int = 0
    corpus: int = 0
    growth_mb: float = 0.0


def fuzz(name: str, seconds: float) -> Report:
    """Fuzz a target in child processes."""
    report = Report(name)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        corpus = folder / "corpus"
        shutil.copytree(Path(__file__).with_name("corpus") / name, corpus)
        while (left_s := seconds - (time.monotonic() - began)) > 0.5:
            _run_once(report, folder, left_s)
        report.corpus = len(list(corpus.iterdir()))
        done = subprocess.run(_command("repeat", name, corpus), capture_output=True, text=True, check=False)
        report.crashes += done.returncode != 0
        report.growth_mb = float(done.stdout) if done.returncode == 0 else 0.0
    report.seconds = round(time.monotonic() - began, 1)
    return report


def _run_once(report: Report, folder: Path, left_s: float) -> None:
    part = folder / "part"
    part.unlink(missing_ok=True)
    command = _command("fuzz", report.target, folder / "corpus", part, str(left_s))
    with (folder / "log").open("wb") as log:
        try:
            code = subprocess.run(command, stdout=log, stderr=log, timeout=left_s + 60, check=False).returncode
        except subprocess.TimeoutExpired:
            code = _LIBFUZZER_TIMEOUT
    if code != 0:
        sys.stderr.write((folder / "log").read_text(encoding="utf-8", errors="replace")[-3000:])
        report.hangs += code == _LIBFUZZER_TIMEOUT
        report.crashes += code != _LIBFUZZER_TIMEOUT
    if part.exists():
        found = json.loads(part.read_text(encoding="utf-8"))
        report.inputs += found["inputs"]
        report.slowest_s = max(report.slowest_s, found["slowest_s"])
        known = {each["kind"] for each in report.tracebacks}
        report.tracebacks += [each for each in found["tracebacks"] if each["kind"] not in known]


def _command(part: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.fuzz.run", "--child", part, *map(str, arguments)]


# The child processes.


def _fuzz_child(name: str, corpus: str, part: str, seconds: str) -> None:
    import atheris

    with atheris.instrument_imports(include=["edge_app", *_UPDATER]):
        from tests.fuzz import targets
    target = targets.TARGETS[name]
    report = Report(name)
    end = time.monotonic() + float(seconds)

    def one_input(data: bytes) -> None:
        began = time.monotonic()
        try:
            target(data)
        except Exception as exc:  # noqa: BLE001  recorded: that is what fuzzing is for
            _record(report, exc, data)
        now = time.monotonic()
        report.inputs += 1
        report.slowest_s = max(report.slowest_s, round(now - began, 3))
        if now >= end or report.inputs % _WRITE_EVERY == 0:
            _write(Path(part), report)
        if now >= end:
            os._exit(0)  # libFuzzer ends only by exit(), which would report the threads of a target as a crash

    longest = max(path.stat().st_size for path in Path(corpus).iterdir())
    limits = [f"-timeout={HANG_S}", f"-rss_limit_mb={MEMORY_LIMIT_MB}", f"-max_len={max(4096, 2 * longest)}"]
    atheris.Setup([sys.argv[0], corpus, *limits, f"-artifact_prefix={part}."], one_input)
    atheris.Fuzz()


def _record(report: Report, exc: Exception, data: bytes) -> None:
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    kind = f"{type(exc).__name__} at {Path(frame.filename).name}:{frame.lineno}"
    if len(report.tracebacks) < _MAX_TRACEBACKS and kind not in {each["kind"] for each in report.tracebacks}:
        text = "".join(traceback.format_exception(exc)[-6:])
        report.tracebacks.append({"kind": kind, "input": data[: 1 << 16].hex(), "text": text[-2000:]})


def _write(path: Path, report: Report) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(report)), encoding="utf-8")
    fresh.replace(path)


def _repeat_child(name: str, corpus: str) -> None:
    """Print by how many MB resident memory grows between the first third and the end of 5 s of repetitions."""
    from tests.conftest import resident_bytes
    from tests.fuzz.targets import TARGETS

    inputs = [path.read_bytes() for path in sorted(Path(corpus).iterdir())]
    before = 0
    began = time.monotonic()
    rounds = 0
    while rounds < 6 or time.monotonic() - began < 5:
        for data in inputs:
            with contextlib.suppress(Exception):  # found and counted while fuzzing
                TARGETS[name](data)
        rounds += 1
        if not before and rounds >= 3 and time.monotonic() - began > 5 / 3:
            before = resident_bytes()
    print(round((resident_bytes() - before) / 1e6, 2))


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--child"]:
        {"fuzz": _fuzz_child, "repeat": _repeat_child}[arguments[1]](*arguments[2:])
        return 0
    parser = argparse.ArgumentParser(prog="tests.fuzz.run", description=__doc__)
    names = sorted(path.name for path in Path(__file__).with_name("corpus").iterdir())
    parser.add_argument("--target", choices=[*names, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        parser.error("found no atheris; expected it installed: pip install atheris")
    reports = []
    for name in names if given.target == "all" else [given.target]:
        reports.append(report := fuzz(name, given.seconds))
        if not given.json:
            found = f"{len(report.tracebacks)} tracebacks, {report.hangs} hangs, {report.crashes} crashes"
            print(f"{name:<16} {report.inputs:>9,} inputs  {found}, {report.growth_mb:+.2f} MB", flush=True)
            for each in report.tracebacks:
                print(f"  {each['kind']}: {bytes.fromhex(each['input'])!r:.300}", flush=True)
    total = sum(report.inputs for report in reports)
    if given.json:
        print(json.dumps({"inputs": total, "targets": [asdict(report) for report in reports]}, indent=1))
    else:
        print(f"{total:,} inputs in all")
    return int(any(report.tracebacks or report.hangs or report.crashes for report in reports))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
