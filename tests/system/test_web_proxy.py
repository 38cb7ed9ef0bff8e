"""The page behind nginx: under a path that the proxy keeps or removes, with its streams. Debian: nginx-light."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.running import Running, free_port, is_listening

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")
import aiohttp

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(NGINX is None, reason="needs the Debian package nginx-light"),
]

TOKEN = "a long and secret word"
SITE = "cams.example"
CONFIG = """
device: {id: cam, state_dir: state}
source: {type: synthetic, width: 320, height: 240, fps: 10, live: true}
model: {path: PROJECT/models/digits, backend: onnx}
heads: {digits: {}}
rules: [{name: all, type: count, head: digits}]
sinks: [{type: jsonl, path: out.jsonl}]
web:
  enabled: true
  port: WEB
  token: 'file:token'
  commands: true
  base_path: /cam
  allowed_hosts: [cams.example]
  frame_ancestors: ['https://home.example:8123']
"""
PROXY = """
daemon off;
pid FOLDER/nginx.pid;
error_log FOLDER/nginx.log;
events {}
http {
  access_log FOLDER/access.log;
  client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy; fastcgi_temp_path FOLDER/fastcgi;
  uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
  map $http_upgrade $connection_upgrade { default upgrade; '' close; }
  proxy_http_version 1.1;
  proxy_buffering off;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $connection_upgrade;
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-Proto https;
  server { listen 127.0.0.1:KEEPS;   location /cam { proxy_pass http://127.0.0.1:WEB; } }
  server { listen 127.0.0.1:REMOVES; location /cam/ { proxy_pass http://127.0.0.1:WEB/; } }
}
"""


@pytest.fixture(scope="module")
def ports(tmp_path_factory):
    """The ports of the proxies: one that keeps the path, one that removes it."""
    folder = tmp_path_factory.mktemp("proxy")
    web, keeps, removes = (free_port() for _ in range(3))
    text = CONFIG.replace("PROJECT", str(Path(__file__).parents[2])).replace("WEB", str(web))
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    (folder / "token").write_text(TOKEN, encoding="ascii")
    proxy = PROXY.replace("FOLDER", str(folder)).replace("WEB", str(web))
    (folder / "nginx.conf").write_text(proxy.replace("KEEPS", str(keeps)).replace("REMOVES", str(removes)))
    with Running(folder / "config.yaml") as running:
        running.wait_for("READY=1")
        nginx = subprocess.Popen([NGINX, "-p", folder, "-c", folder / "nginx.conf"], stderr=subprocess.DEVNULL)
        try:
            while not is_listening(removes):
                assert nginx.poll() is None, (folder / "nginx.log").read_text()
                time.sleep(0.05)
            yield keeps, removes
        finally:
            nginx.terminate()
            nginx.wait(10)
        assert TOKEN not in (folder / "access.log").read_text() + running.errors()


@pytest.mark.parametrize("path_is", ["kept", "removed"])
def test_the_page_its_streams_and_its_commands_pass_the_proxy(ports, path_is: str):
    port = ports[path_is == "removed"]
    host = f"{SITE}:{port}"

    async def visit() -> None:
        base = f"http://127.0.0.1:{port}/cam"
        own = {"Host": host, "Origin": f"https://{host}"}
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(headers={"Host": host}, cookie_jar=jar) as session:
            async with session.get(base, allow_redirects=False) as answer:
                assert answer.status in (301, 308)
                assert answer.headers["Location"].endswith("/cam/")
            async with session.get(f"{base}/") as answer:
                assert answer.status == 200
                assert "frame-ancestors https://home.example:8123;" in answer.headers["Content-Security-Policy"]
            async with session.get(f"{base}/page.js") as answer:
                assert answer.status == 200
            async with session.get(f"{base}/api/status") as answer:
                assert answer.status == 401
            async with session.post(f"{base}/api/login", data=TOKEN, headers=own) as answer:
                cookie = answer.cookies["edge_app_session"]
            assert (answer.status, cookie["path"], cookie["secure"], cookie["samesite"]) == (200, "/cam", True, "None")
            own["Cookie"] = f"{cookie.key}={cookie.value}"  # a Secure one, which this client sends by HTTPS only
            await check_streams(session, base, own)
            for command, status in (("rules/all", 200), ("rules/none", 404)):
                body = {"value": "OFF"}
                async with session.post(f"{base}/api/set/{command}", json=body, headers=own) as answer:
                    assert answer.status == status, await answer.text()
            for wrong in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
                async with session.post(f"{base}/api/set/rules/all", json=body, headers={**own, **wrong}) as answer:
                    assert answer.status == 403

    asyncio.run(asyncio.wait_for(visit(), 60))


async def check_streams(session: aiohttp.ClientSession, base: str, own: dict[str, str]) -> None:
    """The live view, a WebSocket, and the motion JPEG arrive while they are being sent."""
    async with session.ws_connect(f"{base}/api/live", headers=own) as socket:
        for _ in range(3):
            assert '"result"' in (await socket.receive_str(timeout=10))
            assert (await socket.receive_bytes(timeout=10)).startswith(b"\xff\xd8")
    async with session.get(f"{base}/stream.mjpg", headers=own) as answer:
        assert answer.status == 200
        data = b""
        while data.count(b"Content-Type: image/jpeg") < 3:
            data += await asyncio.wait_for(answer.content.readany(), 10)
