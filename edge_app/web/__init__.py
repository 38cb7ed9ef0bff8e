"""The page through which a person looks at what the camera sees. Off by default; the extra `web` brings its libraries.

server.py is what answers, live.py what is shown of a frame, access.py who may look, door.py how many at a time,
metrics.py what Prometheus reads, static/ the page: one HTML, one script, one style sheet, nothing from elsewhere.
Not here: anything that changes the camera. The page only looks.
"""
