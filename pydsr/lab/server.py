"""The HTTP server of a backend: ``python -m pydsr.lab.server --name backend1``.

``GET /`` returns the host's name, ``GET /bytes/N`` N bytes, so that replies outweigh requests. Both
have the name in the header ``X-Backend``. The server prints ``ready`` once it listens.
"""

from __future__ import annotations

import argparse
import re
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BACKEND_HEADER = "X-Backend"
READY = "ready"
MAX_BYTES = 100_000_000
"""The longest reply that a request may ask for."""

_CHUNK = bytes(64 * 1024)


class LabServer(ThreadingHTTPServer):
    """A server on every address of the host, IPv6 and IPv4."""

    address_family = socket.AF_INET6
    request_queue_size = 1024

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        super().__init__(("::", port), _Handler)

    def server_bind(self) -> None:
        """Bind one socket for both IP versions."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: LabServer

    def do_GET(self) -> None:
        """Answer one request."""
        if self.path == "/":
            body = f"{self.server.name}\n".encode()
            self._send_head(len(body))
            self.wfile.write(body)
        elif match := re.fullmatch(r"/bytes/([0-9]{1,9})", self.path):
            self._send_bytes(int(match[1]))
        else:
            self.send_error(HTTPStatus.NOT_FOUND, explain="the paths are / and /bytes/N")

    def log_message(self, *_: object) -> None:
        """Log nothing: thousands of requests are normal."""

    def _send_bytes(self, length: int) -> None:
        if length > MAX_BYTES:
            self.send_error(HTTPStatus.BAD_REQUEST, explain=f"at most {MAX_BYTES} bytes")
            return
        self._send_head(length)
        for begin in range(0, length, len(_CHUNK)):
            self.wfile.write(_CHUNK[: length - begin])

    def _send_head(self, length: int) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(length))
        self.send_header(BACKEND_HEADER, self.server.name)
        self.end_headers()


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the name that the server returns")
    parser.add_argument("--port", type=int, default=80)
    options = parser.parse_args()
    with LabServer(options.name, options.port) as server:
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
