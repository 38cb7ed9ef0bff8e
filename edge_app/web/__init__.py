"""The web page: live view, status, events, metrics. Off by default; the extra `web` installs its libraries.

server.py              the HTTP server
live.py                encodes frames for the live view
viewer.py              one viewer of the live view
access.py              token, sessions, limit on guessing
connection_limiter.py  limits connections and slow requests
request_log.py         the log of aiohttp: one line per malformed request
metrics.py             Prometheus metrics
static/                the page: HTML, script, style sheet; nothing is loaded from other hosts

The page is read-only: nothing here changes the camera or its configuration.
"""
