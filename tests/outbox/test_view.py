"""`edge-app outbox`: inspect and clear an outbox from another process."""

import json
from pathlib import Path

import pytest

from edge_app.cli.parser import main
from edge_app.clock import SystemClock
from edge_app.config import OutboxConfig as Limits
from edge_app.errors import ConfigError
from edge_app.messages import Encoder, Stamp
from edge_app.outbox import Outbox, view
from tests.outbox.boxes import until


@pytest.fixture
def box(tmp_path):
    clock = SystemClock()
    encoder = Encoder("cam-1", clock.boot_id, {})

    def status(seq):
        return encoder.status(seq, Stamp(0, 0, True), {})

    made = Outbox(tmp_path, ["a", "b"], Limits(), clock, lambda seq, gap: status(seq))
    for _ in range(60):
        made.put(status)
    items = made.next_batch("a", 20, 0.0)
    made.acknowledge("a", items[-1].position, 20)
    made.record_refused("a", made.next_batch("a", 1, 0.0)[0], "400 Bad Request")
    until(lambda: made.stats().stored == 61)  # the gap record for the refused message is the last
    yield made
    made.close()


def test_stats_and_list_while_a_daemon_runs(box, tmp_path):
    found = view.stats(tmp_path)
    assert (found.events, found.statuses, found.results) == (0, 61, 0)
    assert found.queued == {"a": 40, "b": 61}
    lines = [json.loads(line) for line in view.messages(tmp_path)]
    assert [line["seq"] for line in lines] == list(range(lines[0]["seq"], lines[0]["seq"] + 61))
    (refused,) = [json.loads(line) for line in view.messages(tmp_path, refused=True)]
    assert refused["reason"] == "400 Bad Request"
    assert refused["message"] == lines[20]


def test_drop_is_rejected_while_a_daemon_runs(box, tmp_path):
    with pytest.raises(ConfigError, match="in use by another edge-app"):
        view.drop(tmp_path)
    box.close()
    assert view.drop(tmp_path) == 61
    assert list(view.messages(tmp_path)) == []


def test_a_missing_outbox_is_one_clear_line(tmp_path):
    for action in (view.stats, view.drop, lambda folder: list(view.messages(folder))):
        with pytest.raises(ConfigError, match="found no outbox"):
            action(tmp_path)


def test_an_unreadable_outbox_is_one_clear_line(tmp_path):
    (tmp_path / "outbox.db").write_bytes(b"noise" * 1000)
    for action in (view.stats, lambda folder: list(view.messages(folder))):
        with pytest.raises(ConfigError, match="cannot be read"):
            action(tmp_path)
    with pytest.raises(ConfigError, match="nothing was dropped"):
        view.drop(tmp_path)


@pytest.fixture
def configured(box, tmp_path):
    """The default configuration, with this outbox as its state."""
    root = Path(__file__).parents[2]
    text = (root / "config.yaml").read_text(encoding="utf-8")
    text = text.replace("state_dir: ./state", "state_dir: .").replace(" models/digits", f" {root}/models/digits")
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_commands_print_and_drop_messages(box, configured, capsys):
    def run(*arguments):
        code = main(["outbox", *arguments, "-c", str(configured)])
        return code, *capsys.readouterr()

    code, out, _ = run("stats", "--json")
    assert (code, json.loads(out)["statuses"]) == (0, 61)
    code, out, _ = run("stats")
    assert code == 0
    assert "statuses         61" in out
    code, out, _ = run("list")
    assert (code, len(out.splitlines())) == (0, 61)
    code, out, error = run("drop")
    assert (code, out) == (2, "")
    assert "in use by another edge-app" in error
    box.close()
    assert run("drop") == (0, "61 messages dropped\n", "")
    code, out, _ = run("list")
    assert (code, out) == (0, "")
