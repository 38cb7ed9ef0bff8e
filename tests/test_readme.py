"""README.md is true: its links lead somewhere, its commands exist, and CI runs its test command to the letter."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import PROJECT

TEXT = (PROJECT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)


def test_two_commands_set_everything_up():
    assert len(COMMANDS) == 2
    assert "edge-app run" in COMMANDS[0]
    assert "pytest" in COMMANDS[1]


def test_ci_runs_the_readme_s_test_command_to_the_letter():
    assert COMMANDS[1] in (PROJECT / ".ci/run").read_text(encoding="utf-8")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXT))))
def test_every_link_leads_somewhere(target: str):
    assert (PROJECT / target).exists()


NAMED = sorted(set(re.findall(r"`edge-app ([a-z]+(?: pipeline| track| outbox| reuse)?)", TEXT)))


@pytest.mark.parametrize("command", NAMED)
def test_every_command_that_is_named_exists(command: str):
    arguments = [sys.executable, "-m", "edge_app.cli", *command.split(), "--help"]
    assert subprocess.run(arguments, capture_output=True, check=False).returncode == 0
