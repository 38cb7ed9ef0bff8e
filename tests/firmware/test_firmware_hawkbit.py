"""Pulling updates by hawkBit's published API: the server proposes, the signature and the trial decide.

No hawkBit runs here: hawkbit_api.py has its published schemas.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import hawkbit
from bundle import UpdateError
from tests.firmware.device import FIRMWARE
from tests.firmware.hawkbit_api import Hawkbit


@pytest.fixture
def server():
    server = Hawkbit()
    yield server
    server.close()


@pytest.fixture
def account(camera, server):
    """The camera of test_firmware_slots, which runs 1.0, with an account at the server."""
    camera.run("1.0")
    (camera.root / "credentials").mkdir(exist_ok=True)
    (camera.root / "credentials/hawkbit").write_text("secret\n")
    (camera.root / "hawkbit.json").write_text(json.dumps({"url": server.url, "controller": "cam-1"}))
    return camera


def poll(camera):
    return hawkbit.poll(camera.root, camera.slots, hawkbit.Server(hawkbit.read_account(camera.root)))


def closed(server):
    return [
        (path, s["result"]["finished"], s["details"][0]) for path, s in server.feedback if s["execution"] == "closed"
    ]


def test_a_release_is_downloaded_tried_kept_and_reported(account, server):
    server.offer(account.bundle("2.0"))
    line, restart = poll(account)
    assert restart
    assert line.startswith("action 8: 2.0-")
    release = account.slots.state().trial.release
    assert server.data == {"board": "amd64", "release": account.slots.state().good}
    assert poll(account) == (f"action 8: {release} is on trial", False)
    account.slots.boot()
    account.slots.mark_good()
    assert poll(account) == (f"action 8: {release} is kept", False)
    assert [status["execution"] for _, status in server.feedback] == ["proceeding", "closed"]
    assert closed(server) == [("/deploymentBase/8/feedback", "success", f"{release} is kept")]
    assert poll(account) == ("nothing to do", False)
    assert not list(account.root.glob("incoming*"))


def test_a_release_that_is_rolled_back_is_reported_as_a_failure_with_its_reason(account, server):
    server.offer(account.bundle("2.0"))
    poll(account)
    release, _ = account.slots.boot()
    account.slots.rollback("golden vectors differ")
    poll(account)
    assert closed(server) == [("/deploymentBase/8/feedback", "failure", "rolled back: golden vectors differ")]
    assert account.slots.state().failed.release == release


def test_a_bundle_that_the_server_approves_but_no_trusted_key_signed_is_rejected(account, server):
    before = account.tree()
    server.offer(account.bundle("2.0", key="stranger"))
    assert poll(account)[1] is False
    ((_, finished, detail),) = closed(server)
    assert finished == "failure"
    assert "matches none of the 1 trusted keys" in detail
    assert account.tree() == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"board": "rk3588"}, "made for the board rk3588"), ({"version": "0.9"}, "is older than")],
)
def test_another_board_and_an_older_version_are_rejected_whatever_the_server_wants(account, server, fields, message):
    server.offer(account.bundle(**{"version": "2.0", **fields}))
    poll(account)
    ((_, finished, detail),) = closed(server)
    assert (finished, message in detail) == ("failure", True)
    assert account.slots.state().trial is None


def test_the_running_release_is_not_tried_again(account, server):
    server.offer(account.bundle("1.0"))
    assert poll(account)[1] is False
    assert closed(server)[0][1:] == ("success", f"{account.slots.state().good} runs already")


@pytest.mark.parametrize("fields", [{"update": "skip"}, {"maintenanceWindow": "unavailable"}])
def test_outside_of_the_maintenance_window_nothing_is_installed(account, server, fields):
    server.offer(account.bundle("2.0"), **fields)
    assert poll(account) == ("action 8: not to be installed yet", False)
    assert account.slots.state().trial is None
    assert not [path for _, path, _ in server.requests if path.endswith(".bundle")]


def test_a_cancellation_is_confirmed(account, server):
    server.cancel("9")
    assert poll(account) == ("action 9: canceled", False)
    assert closed(server) == [("/cancelAction/9/feedback", "success", "canceled before it began")]


def test_of_several_bundles_the_one_of_the_board_is_taken(account, server):
    server.offer(account.bundle("2.0"), name="amd64.bundle")
    path = next(path for path in server.answers if "deploymentBase" in path)
    fields = json.loads(server.answers[path])
    chunk = fields["deployment"]["chunks"][0]
    chunk["artifacts"].insert(0, {**chunk["artifacts"][0], "filename": "rk3588.bundle", "_links": {}})
    chunk["artifacts"].append({"filename": "notes.txt", "size": 3, "hashes": {}})
    server.answers[path] = json.dumps(fields).encode()
    assert poll(account)[1] is True
    chunk["artifacts"][1]["filename"] = "other.bundle"
    (account.root / "hawkbit.state.json").unlink()
    server.answers[path] = json.dumps(fields).encode()
    poll(account)
    assert "found 2 bundles in the deployment; expected one, or one named amd64.bundle" in closed(server)[0][2]


@pytest.mark.parametrize("size", [-1, 1])
def test_a_file_that_is_not_what_the_server_announced_is_not_installed_and_tried_again(account, server, size):
    before = account.tree()
    server.offer(account.bundle("2.0"))
    path = next(path for path in server.answers if path.endswith(".bundle"))
    good = server.answers[path]
    server.answers[path] = good[:size] if size < 0 else good + b"x"
    with pytest.raises(hawkbit.ServerError, match="differs in size or sha256"):
        poll(account)
    assert account.tree() == before
    server.answers[path] = good
    assert poll(account)[1] is True


def test_a_download_that_does_not_fit_is_rejected_before_it_begins(account, server):
    server.offer(account.bundle("2.0"))
    path = next(path for path in server.answers if "deploymentBase" in path)
    fields = json.loads(server.answers[path])
    fields["deployment"]["chunks"][0]["artifacts"][0]["size"] = 10**15
    server.answers[path] = json.dumps(fields).encode()
    poll(account)
    assert "found a bundle of 1000000000000000 bytes" in closed(server)[0][2]


def test_the_token_goes_to_the_servers_origin_only_and_redirects_are_not_followed(account, server):
    other = Hawkbit(token="none")
    try:
        server.offer(account.bundle("2.0"))
        path = next(path for path in server.answers if "deploymentBase" in path)
        server.answers[path] = server.answers[path].replace(server.url.encode(), other.url.encode())
        with pytest.raises(hawkbit.ServerError, match="status 404"):
            poll(account)
        assert [authorization for _, _, authorization in other.requests] == [None]
        server.redirect = f"{other.url}/elsewhere"
        with pytest.raises(hawkbit.ServerError, match="status 302"):
            poll(account)
        assert len(other.requests) == 1
    finally:
        other.close()


@pytest.mark.parametrize("link", ["file:///etc/passwd", "ftp://x/y.bundle", "javascript:0", "", "https://[::1"])
def test_a_link_by_another_protocol_is_not_opened(account, server, link):
    server.offer(account.bundle("2.0"))
    path = next(path for path in server.answers if "deploymentBase" in path)
    fields = json.loads(server.answers[path])
    fields["deployment"]["chunks"][0]["artifacts"][0]["_links"] = {"download": {"href": link}}
    server.answers[path] = json.dumps(fields).encode()
    try:
        poll(account)
    except hawkbit.ServerError as exc:
        assert "found a link by" in str(exc)  # noqa: PT017
    assert account.slots.state().trial is None


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"{" * 100_000, b'{"_links": 1}', b'{"_links": {"deploymentBase": 7}}', b"\xff", b" " * (2 << 20)],
)
def test_an_answer_that_is_not_of_the_api_is_one_line(account, server, answer, capsys):
    before = account.tree()
    server.answers[server.root] = answer
    assert hawkbit.main(["--root", str(account.root)]) in (0, 3)
    assert "".join(capsys.readouterr()).count("\n") == 1
    assert account.tree() == before


@pytest.mark.parametrize(
    ("text", "token", "message"),
    [("", "x", "cannot be read"), ("[]", "x", "cannot be read"), ('{"url": "x"}', "x", "expected url and controller"),
     ('{"url": "file:///x", "controller": "a"}', "x", "expected url"),
     ('{"url": "https://x", "controller": 7}', "x", "expected url"),
     ('{"url": "https://x", "controller": "a"}', "", "expected the target token"),
     ('{"url": "https://x", "controller": "a"}', "a\nb", "in one line"),
     ('{"url": "https://x", "controller": "a"}', None, "cannot be read")],
)  # fmt: skip
def test_a_mistake_in_the_account_is_one_line(account, text, token, message):
    (account.root / "hawkbit.json").write_text(text)
    secret = account.root / "credentials/hawkbit"
    secret.unlink()
    if token is not None:
        secret.write_text(token)
    with pytest.raises(UpdateError) as caught:
        hawkbit.read_account(account.root)
    assert message in str(caught.value)


def test_without_an_account_nothing_is_polled_and_a_server_that_is_away_is_exit_code_3(account, server):
    command = [sys.executable, "-sE", FIRMWARE / "updater/hawkbit.py", "--root", account.root]
    server.close()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    (account.root / "hawkbit.json").unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "no hawkbit.json: nothing is polled\n")
