"""Run ``python -m tests.mutation FILES``; the package's docstring is its help."""

from __future__ import annotations

import argparse
import compileall
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import mutation
from tests.mutation.c_edits import c_edits
from tests.mutation.edits import Edit
from tests.mutation.python_edits import python_edits
from tests.support.paths import CHECKOUT

_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", "build", "dist", ".*_cache")
_IRRELEVANT = ("tests/xdp/test_headers.py", "tests/xdp/test_compiler.py")
"""They compile a lot, and never run what a mutant changes."""
_NOT_A_PROGRAM = ("does not compile with this bcc", "the kernel refused the program")
_CLEAN_UP_SECONDS = 30


@dataclass(frozen=True)
class Mutant:
    """A mistake in a file.

    Attributes:
        path: of the file, in the checkout.
    """

    path: Path
    edit: Edit

    def __str__(self) -> str:
        source = (CHECKOUT / self.path).read_bytes()
        return f"{self.path}:{self.edit.line(source)}\n{self.edit.diff(source)}"


class Copy:
    """A copy of the checkout in which a file has a mistake."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(CHECKOUT, folder, ignore=_LEFT_OUT, dirs_exist_ok=True, symlinks=True)
        folder.chmod(0o755)  # some tests run commands as nobody
        (folder / ".venv").symlink_to(CHECKOUT / ".venv")
        compileall.compile_dir(folder, quiet=2)

    @contextmanager
    def containing(self, mutant: Mutant) -> Iterator[None]:
        """Have the mistake in the copy for the length of the block."""
        source = (CHECKOUT / mutant.path).read_bytes()
        (self.folder / mutant.path).write_bytes(mutant.edit.applied_to(source))
        try:
            yield
        finally:
            (self.folder / mutant.path).write_bytes(source)

    def start(self, *module: str) -> subprocess.Popen[str]:
        """Start a Python module of the copy, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": str(self.folder),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYDSR_CACHE_DIRECTORY": str(self.folder / "programs"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def instructions(self, path: Path) -> str | None:
        """Return hashes of the data plane's instructions, or None if it does not load.

        Args:
            path: the file that may have a mistake.
        """
        process = self.start("tests.mutation.program", path.stem)
        output = process.communicate()[0]
        return output if process.returncode == 0 else None

    def run(self, tests: Sequence[str], limit: float | None) -> tuple[bool, str]:
        """Run tests until one fails, those first that failed last time.

        Args:
            tests: files and folders.
            limit: the seconds after which they are stopped, and count as failed.

        Returns:
            Whether all passed, and the output.
        """
        ignored = [f"--ignore={path}" for path in _IRRELEVANT]
        process = self.start(
            "pytest", "-x", "-q", "--no-header", "--tb=line", "--failed-first", *ignored, *tests
        )
        try:
            output = process.communicate(timeout=limit)[0]
        except subprocess.TimeoutExpired:
            _stop(process)
            return False, f"nothing within {limit:.0f} s"
        return process.returncode == 0, output


def _stop(process: subprocess.Popen[str]) -> None:
    """Interrupt tests so that their fixtures clean up, then end all that they started."""
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=_CLEAN_UP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def mutants_of(path: Path) -> list[Mutant]:
    """Return every mistake that can be made in a file."""
    edits = python_edits if path.suffix == ".py" else c_edits
    return [Mutant(path, edit) for edit in edits((CHECKOUT / path).read_bytes())]


def tests_of(path: Path) -> list[str]:
    """Return the tests that belong to a file: those of its package."""
    if path.parts[0] == "xdp":
        return ["tests/xdp"]
    candidates = [Path("tests", tier, path.parts[1]) for tier in ("unit", "netns")]
    return [str(tests) for tests in candidates if (CHECKOUT / tests).is_dir()]


class Run:
    """Tries mutants one after the other."""

    def __init__(self, copy: Copy, tests: Sequence[str] | None) -> None:
        self._copy = copy
        self._tests = tests
        self._limits: dict[tuple[str, ...], float] = {}
        self._instructions: dict[Path, str | None] = {}
        self.tried: Counter[Path] = Counter()
        self.survivors: list[Mutant] = []

    def prepare(self, path: Path) -> None:
        """See that the tests of a file pass without a mistake, and how long they take.

        Raises:
            SystemExit: they fail.
        """
        tests = self._tests_of(path)
        if path.suffix != ".py":
            self._instructions[path] = self._copy.instructions(path)
        if tests in self._limits:
            return
        start = time.monotonic()
        passed, output = self._copy.run(tests, None)
        seconds = time.monotonic() - start
        if not passed:
            sys.exit(f"{' '.join(tests)} fails without a mutant: {_last_line(output)}")
        _say(f"{' '.join(tests)}: {seconds:.0f} s without a mutant")
        self._limits[tests] = 60 + 3 * seconds

    def attempt(self, mutant: Mutant) -> bool:
        """Try a mutant; return whether it counts."""
        tests = self._tests_of(mutant.path)
        start = time.monotonic()
        with self._copy.containing(mutant):
            passed, output = self._copy.run(tests, self._limits[tests])
            if mutant.path in self._instructions:
                if any(said in output for said in _NOT_A_PROGRAM):
                    return False
                if passed and (
                    self._copy.instructions(mutant.path) == self._instructions[mutant.path]
                ):
                    return False
        self.tried[mutant.path] += 1
        if passed:
            self.survivors.append(mutant)
        outcome = "SURVIVED" if passed else f"killed by {_last_line(output)}"
        _say(f"{mutant}\n  {outcome} ({time.monotonic() - start:.0f} s)")
        return True

    def report(self) -> None:
        """Print the share that was killed, file by file, and the survivors."""
        survived = Counter(mutant.path for mutant in self.survivors)
        for mutant in self.survivors:
            _say(str(mutant))
        for path, tried in [*sorted(self.tried.items()), ("all", self.tried.total())]:
            lived = survived[path] if isinstance(path, Path) else survived.total()
            _say(f"{tried - lived:4} of {tried:4} killed ({1 - lived / tried:4.0%})  {path}")

    def _tests_of(self, path: Path) -> tuple[str, ...]:
        return tuple(self._tests or tests_of(path))


def _last_line(output: str) -> str:
    """Return the failure of a test, or whatever was printed last."""
    lines = output.splitlines() or [""]
    return ([line for line in lines if line.startswith(("FAILED", "ERROR"))] or lines)[-1]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Try a random sample of mutants."""
    for number in (signal.SIGINT, signal.SIGTERM):  # also in the background of a script
        signal.signal(number, signal.default_int_handler)
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation",
        description=mutation.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, help="Python files, and C files of xdp/")
    parser.add_argument(
        "--sample", type=int, default=50, help="mutants to try; 0: all (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="selects the sample (%(default)s)")
    parser.add_argument("--tests", nargs="+", help="files and folders, instead of the file's own")
    arguments = parser.parse_args()
    paths = [path.resolve().relative_to(CHECKOUT) for path in arguments.files]
    mutants = [mutant for path in paths for mutant in mutants_of(path)]
    random.Random(arguments.seed).shuffle(mutants)
    with tempfile.TemporaryDirectory(prefix="pydsr-mutation-") as folder:
        run = Run(Copy(Path(folder)), arguments.tests)
        try:
            for path in paths:
                run.prepare(path)
            for mutant in mutants:
                run.attempt(mutant)
                if run.tried.total() == arguments.sample:
                    break
        except KeyboardInterrupt:
            _say("interrupted")
        if run.tried:
            run.report()


if __name__ == "__main__":
    main()
