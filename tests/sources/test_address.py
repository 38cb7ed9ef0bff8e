"""_address: variables in the address of a camera."""

from edge_app.options import Url
from edge_app.sources._address import resolve

URL = Url("rtsp")


def test_only_variables_in_the_login_part_are_escaped(monkeypatch):
    monkeypatch.setenv("CAM_PASSWORD", "p@s/s:1")
    monkeypatch.setenv("CAM_HOST", "10.0.0.7:8554")
    monkeypatch.setenv("CAM_PATH", "a/b")
    url = resolve("rtsp://bob:${CAM_PASSWORD}@${CAM_HOST}/${CAM_PATH}", URL)
    assert url == "rtsp://bob:p%40s%2Fs%3A1@10.0.0.7:8554/a/b"


def test_a_variable_may_contain_the_complete_url(monkeypatch):
    monkeypatch.setenv("CAM_URL", "rtsp://bob:secret@cam/live")
    assert resolve("${CAM_URL}", URL) == "rtsp://bob:secret@cam/live"
