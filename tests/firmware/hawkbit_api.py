"""A server with hawkBit's Direct Device Integration API, and the schemas of that API.

The schemas and the form of the answers are transcribed from a third-party copy of the published OpenAPI document
(that of eclipse.dev/hawkbit/rest-api/ddi; read in November 2026): DdiControllerBase, DdiDeploymentBase, DdiCancel,
DdiActionFeedback, DdiConfigData. Every request body is validated. It is not hawkBit: its state machine, roll-outs and
authentication are not here.
"""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jsonschema

EXECUTION = ["closed", "proceeding", "canceled", "scheduled", "rejected", "resumed", "downloaded", "download"]
FEEDBACK = {  # DdiActionFeedback
    "type": "object",
    "required": ["status"],
    "additionalProperties": False,
    "properties": {
        "timestamp": {"type": "integer"},
        "status": {  # DdiStatus
            "type": "object",
            "required": ["execution", "result"],
            "additionalProperties": False,
            "properties": {
                "execution": {"enum": EXECUTION},
                "result": {  # DdiResult
                    "type": "object",
                    "required": ["finished"],
                    "additionalProperties": False,
                    "properties": {"finished": {"enum": ["success", "failure", "none"]}, "progress": {}},
                },
                "code": {"type": "integer"},
                "details": {"type": "array", "items": {"type": "string"}},
            },
        },
    },
}
CONFIG_DATA = {  # DdiConfigData
    "type": "object",
    "required": ["data"],
    "additionalProperties": False,
    "properties": {
        "mode": {"enum": ["merge", "replace", "remove"]},
        "data": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 128}},
    },
}


class Hawkbit:
    """One controller. offer: a bundle to deploy; cancel: an action to cancel. Assign `answer` to break an answer."""

    def __init__(self, tenant: str = "DEFAULT", controller: str = "cam-1", token: str = "secret") -> None:
        self.root = f"/{tenant}/controller/v1/{controller}"
        self.token = token
        self.feedback: list[tuple[str, dict]] = []
        self.data: dict[str, str] | None = None
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, authorization
        self.answers: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        self.redirect: str | None = None
        hawkbit = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                hawkbit.requests.append(("GET", self.path, self.headers.get("Authorization")))
                if hawkbit.redirect:
                    self.send_response(302)
                    self.send_header("Location", hawkbit.redirect)
                    self.end_headers()
                elif self._allowed() and self.path in hawkbit.answers:
                    self._answer(200, hawkbit.answers[self.path])
                else:
                    self._answer(404, b"{}")

            def do_POST(self):
                self._receive(FEEDBACK)

            def do_PUT(self):
                self._receive(CONFIG_DATA)

            def _receive(self, schema):
                hawkbit.requests.append((self.command, self.path, self.headers.get("Authorization")))
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                jsonschema.validate(body, schema)
                if not self._allowed() or self.headers["Content-Type"] != "application/json":
                    self._answer(400, b"{}")
                elif self.command == "PUT":
                    hawkbit.data = body["data"]
                    self._answer(200, b"")
                else:
                    hawkbit.feedback.append((self.path.removeprefix(hawkbit.root), body["status"]))
                    if body["status"]["execution"] == "closed":
                        hawkbit.withdraw()
                    self._answer(200, b"")

            def _allowed(self):
                return self.headers.get("Authorization") == f"TargetToken {hawkbit.token}"

            def _answer(self, code, data):
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.withdraw()

    def offer(self, bundle: Path, action: str = "8", name: str | None = None, **fields: object) -> None:
        """Deploy a bundle. fields: of the deployment."""
        data = bundle.read_bytes()
        filename = name or bundle.name
        path = f"{self.root}/softwaremodules/23/artifacts/{filename}"
        hashes = {"sha1": hashlib.sha1(data).hexdigest(), "md5": hashlib.md5(data).hexdigest()}
        hashes["sha256"] = hashlib.sha256(data).hexdigest()
        artifact = {
            "filename": filename, "hashes": hashes, "size": len(data),
            "_links": {"download-http": {"href": self.url + path}, "md5sum-http": {"href": f"{self.url}{path}.MD5SUM"}},
        }  # fmt: skip
        chunk = {"part": "bApp", "version": "2.0", "name": "edge-app", "artifacts": [artifact]}
        deployment = {"download": "forced", "update": "forced", "chunks": [chunk], **fields}
        self.set("deploymentBase", f"/deploymentBase/{action}?c=-2127183556", {"id": action, "deployment": deployment})
        self.answers[path] = data

    def cancel(self, action: str = "9") -> None:
        fields = {"id": "11", "cancelAction": {"stopId": action}}
        self.set("cancelAction", f"/cancelAction/{action}", fields)

    def set(self, link: str, path: str, fields: dict) -> None:
        self.links[link] = self.url + self.root + path
        self.answers[self.root + path] = json.dumps(fields).encode()
        self._write_base()

    def withdraw(self) -> None:
        self.links = {"configData": f"{self.url}{self.root}/configData"}
        self.answers = {}
        self._write_base()

    def _write_base(self) -> None:
        links = {name: {"href": href} for name, href in self.links.items()}
        fields = {"config": {"polling": {"sleep": "00:05:00"}}, "_links": links}
        self.answers[self.root] = json.dumps(fields).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
