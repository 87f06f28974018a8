"""Send HTTP requests, each on a new connection: ``python -m pydsr.lab.client --target HOST:PORT``.

It prints one line of JSON for each request. It ends after ``--requests``, or else when its stdin is
closed, so that it ends with its parent process.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from itertools import count
from time import monotonic
from typing import IO

from pydsr.lab.server import BACKEND_HEADER


@dataclass(frozen=True)
class Answer:
    """The outcome of one request.

    Attributes:
        target: the ``ADDR:PORT`` it was sent to.
        began, ended: monotonic seconds, comparable between processes of one machine.
        backend: the backend that answered; empty if the request failed.
        error: why it failed; empty if it did not.
    """

    target: str
    began: float
    ended: float
    backend: str = ""
    bytes: int = 0
    error: str = ""

    @classmethod
    def parse(cls, line: str) -> Answer:
        """Parse a line of this program's output."""
        return cls(**json.loads(line))


def request(target: str, path: str, timeout: float) -> Answer:
    """Get a path of ``ADDR:PORT`` on a new connection; each step may take ``timeout`` seconds."""
    began = monotonic()
    connection = HTTPConnection(target, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException) as error:
        return Answer(target, began, monotonic(), error=f"{type(error).__name__}: {error}")
    finally:
        connection.close()
    if response.status != 200:
        return Answer(target, began, monotonic(), error=f"HTTP {response.status}")
    name = response.headers.get(BACKEND_HEADER, "")
    return Answer(target, began, monotonic(), name, len(body))


class Worker:
    """Threads that share a number of requests, and print each outcome."""

    def __init__(self, targets: list[str], path: str, timeout: float, requests: int | None) -> None:
        self._targets = targets
        self._path = path
        self._timeout = timeout
        self._tickets: Iterator[int] = count() if requests is None else iter(range(requests))
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def run(self, threads: int) -> None:
        """Send the requests; return when all are done, or those in flight after a stop."""
        workers = [threading.Thread(target=self._work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def stop_at_end_of(self, stream: IO[str]) -> None:
        """Send no further requests once a stream is closed at its other end."""
        stream.read()
        self._stopped.set()

    def _work(self) -> None:
        while not self._stopped.is_set():
            with self._lock:
                number = next(self._tickets, None)
            if number is None:
                return
            answer = request(self._targets[number % len(self._targets)], self._path, self._timeout)
            line = json.dumps(asdict(answer))
            with self._lock:
                sys.stdout.write(f"{line}\n")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", action="append", required=True, help="ADDR:PORT, repeatable")
    parser.add_argument("--path", default="/")
    parser.add_argument("--requests", type=int, help="how many; otherwise until stdin is closed")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--timeout", type=float, default=5.0)
    options = parser.parse_args()
    worker = Worker(options.target, options.path, options.timeout, options.requests)
    if options.requests is None:
        threading.Thread(target=worker.stop_at_end_of, args=[sys.stdin], daemon=True).start()
    worker.run(options.threads)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
