"""The options of the page for reverse proxies: mistakes are reported with their line."""

from __future__ import annotations

import pytest

from edge_app import config
from edge_app.errors import ConfigError

TEXT = """source: {type: synthetic}
model: {path: PROJECT/models/digits}
web:
  enabled: true
  OPTION
"""


@pytest.mark.parametrize(
    "option",
    [
        "base_path: /cam",
        "base_path: /home/cam-1",
        "allowed_hosts: [cam.example, 192.0.2.7, '2001:db8::1']",
        "frame_ancestors: [self, 'https://home.example:8123', 'http://[2001:db8::1]:80', 'https://*.example']",
    ],
)
def test_accepts_options_for_reverse_proxies(config_file, option):
    config.load(config_file(TEXT.replace("OPTION", option)))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("base_path: cam", r":5: web\.base_path: found 'cam'; expected a path such as /camera"),
        ("base_path: /cam/", r":5: web\.base_path: found '/cam/'"),
        ("base_path: /a//b", r":5: web\.base_path"),
        ('base_path: "/a\\r\\nX: y"', r":5: web\.base_path: found the control character"),
        ("base_path: '/{path}'", r":5: web\.base_path"),
        ("allowed_hosts: ['http://cam']", r":5: web\.allowed_hosts: "),
        ("allowed_hosts: ['']", r":5: web\.allowed_hosts: "),
        ("frame_ancestors: ['*']", r":5: web\.frame_ancestors: found '\*'; expected self, or a site"),
        ("frame_ancestors: [home.example]", r":5: web\.frame_ancestors"),
        ("frame_ancestors: [\"https://a; script-src 'unsafe-inline'\"]", r":5: web\.frame_ancestors"),
    ],
)
def test_rejects_malformed_options_for_reverse_proxies(config_file, option, message):
    with pytest.raises(ConfigError, match=message):
        config.load(config_file(TEXT.replace("OPTION", option)))
