"""The web page: live view, status, events, metrics. Off by default; the extra `web` installs its libraries.

server.py              the HTTP server: its thread, its routes
guard.py               admission of requests: Host, Origin, token, session; security headers
handlers.py            what each path shows
commands.py            what each path changes: commands, Save, Undo
data.py                the data that the page shows
live.py                encodes frames for the live view
viewer.py              one viewer of the live view
mjpeg.py               one viewer of /stream.mjpg
access.py              token, sessions, limit on guessing
connection_limiter.py  limits connections and slow requests
request_log.py         the log of aiohttp: one line per malformed request
cameras.py             which camera a request is about
clips.py               the videos of event clips
metrics.py             Prometheus metrics
static/                the page: HTML, style sheet, one ES module per subject; nothing is loaded from other hosts

Without `web.commands`, the page is read-only: nothing here changes the camera or its configuration.
"""
