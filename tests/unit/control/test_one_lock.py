"""One lock, one transaction: no other module takes the lock on a directory of pins."""

from __future__ import annotations

import ast
from pathlib import Path

import pydsr

_ROOT = Path(pydsr.__file__).parent


def test_only_the_transaction_takes_the_lock() -> None:
    takers = {
        str(path.relative_to(_ROOT))
        for path in _ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "pydsr.kernel.bpf.lock"
        if any(alias.name == "locked" for alias in node.names)
    }
    assert {"control/transaction.py"} == takers
