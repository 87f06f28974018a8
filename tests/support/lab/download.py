"""Download slowly for as long as stdin is open, then at once: ``python download.py HOST PATH``.

Ends with the number of bytes of the body on stdout; a line of its own says that it has begun.
"""

import select
import socket
import sys

_SLOW_BYTES = 4096
_SLOW_SECONDS = 0.01


def main() -> None:
    """Download over one connection."""
    host, path = sys.argv[1:]
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    with socket.create_connection((host, 80), timeout=30) as connection:
        connection.sendall(request.encode())
        received = bytearray(connection.recv(_SLOW_BYTES))
        sys.stdout.write("begun\n")
        sys.stdout.flush()
        while not select.select([sys.stdin], [], [], _SLOW_SECONDS)[0]:
            received += connection.recv(_SLOW_BYTES)
        while part := connection.recv(1 << 20):
            received += part
    _, _, body = received.partition(b"\r\n\r\n")
    sys.stdout.write(f"{len(body)}\n")


if __name__ == "__main__":
    main()
