"""The reduced form of tests/sinks/test_home_assistant.py, with a Home Assistant that is already installed:
$EDGE_APP_HOME_ASSISTANT or $EDGE_APP_TEST_HOME_ASSISTANT."""

from __future__ import annotations

import pytest

from edge_app.bench import mosquitto
from tests.sinks.test_home_assistant import World, installed, logged

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(installed() is None, reason="no Home Assistant here: $EDGE_APP_TEST_HOME_ASSISTANT"),
    pytest.mark.skipif(mosquitto.program() is None, reason="needs the Debian package mosquitto"),
]


def test_the_truth_is_shown_after_a_crash_of_the_camera(tmp_path):
    with World(installed(), tmp_path) as world:
        world.await_truth()
        world.end("camera", kill=True)
        world.set(occupied=True)
        world.start("camera")
        world.await_truth()
        assert not logged(world)
