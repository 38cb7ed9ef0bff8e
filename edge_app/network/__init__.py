"""Connections to network peers, for sources and sinks: bounded in time and bytes, and verified.

connection.py   TCP and TLS connections whose steps share one deadline
tls.py          certificates, and errors in plain words
http_client.py  requests to one HTTP server
"""
