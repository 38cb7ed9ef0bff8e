"""References to secrets: read from files or the environment, and never in a message."""

from pathlib import Path
from typing import Optional

import pytest

from edge_app.errors import ConfigError
from edge_app.options import WRONG, read_value
from edge_app.options.document import Problems, parse_yaml
from edge_app.options.secret import Secret


def read(text, tmp_path):
    problems = Problems(tmp_path / "config.yaml")
    root = parse_yaml(text.encode(), problems)
    value = read_value(root.value[0][1], Optional[Secret], "sinks[0].password", problems)
    return value, [line for _, line in problems.found]


def test_reads_each_kind_of_reference(tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("EDGE_TEST_SECRET", "from the environment")
    (tmp_path / "word").write_text("from a file\n")
    (tmp_path / "edge-app_other").write_text("from a folder\n")
    for text, expected in [
        ("credential:word", "from a file"),
        ("credential:other", "from a folder"),  # systemd adds the prefix to files of a folder
        ("file:word", "from a file"),
        (f"file:{tmp_path}/word", "from a file"),
        ("env:EDGE_TEST_SECRET", "from the environment"),
    ]:
        secret, problems = read(f"password: {text}", tmp_path)
        assert not problems
        assert secret.read() == expected
        assert expected not in repr(secret)


@pytest.mark.parametrize(
    "text", ["hunter2", "'hunter2'", "pass:hunter2", "'file:'", "{a: hunter2}", "credential:../hunter2"]
)
def test_rejects_a_secret_in_the_file_without_repeating_it(tmp_path, text):
    value, (problem,) = read(f"password: {text}", tmp_path)
    assert value is WRONG
    assert "sinks[0].password: found a value that is not a reference to a secret" in problem
    assert "hunter2" not in problem


def test_null_is_none(tmp_path):
    assert read("password: null", tmp_path) == (None, [])


def test_names_a_missing_secret(tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match=r"credential:word: \$CREDENTIALS_DIRECTORY is not set"):
        Secret.parse("credential:word", Path()).read()
    with pytest.raises(ConfigError, match="env:EDGE_NONE: the environment has no such variable"):
        Secret.parse("env:EDGE_NONE", Path()).read()
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Secret.parse("file:none", tmp_path).read()
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Secret.parse("file:binary", tmp_path).read()
