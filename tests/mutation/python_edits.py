"""Plausible mistakes in Python sources, found with ``ast``."""

from __future__ import annotations

import ast
import re

from tests.mutation.edits import Edit

_SWAPS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: (r"is\s+not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: (r"not\s+in", "in"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
    ast.Add: (r"\+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: (r"\*", "+"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "+"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: (r"\|", "&"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}
_LOGGERS = re.compile(r"_?(log|logger)$")


def python_edits(source: bytes) -> list[Edit]:
    """Return the mistakes that can be made in a module, in the order of the source."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    return sorted(finder.found)


class _Finder(ast.NodeVisitor):
    def __init__(self, source: bytes) -> None:
        self._source = source
        self._line_starts = [0, *(match.end() for match in re.finditer(rb"\n", source))]
        self.found: set[Edit] = set()

    # -- places

    def _start(self, node: ast.expr | ast.stmt) -> int:
        return self._line_starts[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._line_starts[node.end_lineno - 1] + node.end_col_offset

    def _replace(self, first: ast.expr | ast.stmt, text: str, last: ast.stmt | None = None) -> None:
        end = self._end(last or first)
        self.found.add(Edit(self._start(first), end, text.encode()))

    def _negate(self, condition: ast.expr) -> None:
        start, end = self._start(condition), self._end(condition)
        self.found.add(Edit(start, end, b"(not (" + self._source[start:end] + b"))"))

    def _swap(self, operator: ast.AST, left: ast.expr, right: ast.expr) -> None:
        swap = _SWAPS.get(type(operator))
        begin = self._end(left)
        token = swap and re.search(swap[0].encode(), self._source[begin : self._start(right)])
        if swap and token:
            self.found.add(Edit(begin + token.start(), begin + token.end(), swap[1].encode()))

    # -- what is left alone

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave text alone; Python 3.11 does not say where its parts are."""

    def visit_arguments(self, node: ast.arguments) -> None:
        """Change default values, but no annotations."""
        for default in (*node.defaults, *node.kw_defaults):
            if default is not None:
                self.visit(default)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Change the value, but not the annotation."""
        if node.value is not None:
            self.visit(node.value)

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for part in (*node.decorator_list, node.args, *node.body):
            self.visit(part)

    visit_FunctionDef = visit_AsyncFunctionDef = _visit_function  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Leave decorators alone: nothing notices that a value is not frozen."""
        for part in node.body:
            self.visit(part)

    # -- mistakes

    def visit_Compare(self, node: ast.Compare) -> None:
        """Confuse comparisons, and the sides of their bounds."""
        operands = [node.left, *node.comparators]
        for operator, left, right in zip(node.ops, operands, operands[1:], strict=False):
            self._swap(operator, left, right)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """Confuse ``and`` with ``or``."""
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._swap(node.op, left, right)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Confuse operators."""
        self._swap(node.op, node.left, node.right)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        """Forget a ``not``."""
        if isinstance(node.op, ast.Not):
            self.found.add(Edit(self._start(node), self._start(node.operand), b""))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Be off by one, or take true for false."""
        if isinstance(node.value, bool):
            self._replace(node, str(not node.value))
        elif isinstance(node.value, int):
            self._replace(node, str(node.value + 1))
        elif isinstance(node.value, float):
            self._replace(node, str(node.value * 2 or 1.0))

    def _visit_conditional(self, node: ast.If | ast.While | ast.IfExp) -> None:
        if ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        if not isinstance(node.test, ast.Constant):
            self._negate(node.test)
            self.generic_visit(node)
            return
        for part in node.body if isinstance(node.body, list) else [node.body]:
            self.visit(part)

    visit_If = visit_While = visit_IfExp = _visit_conditional  # noqa: N815

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """Keep what a filter removes."""
        for condition in node.ifs:
            self._negate(condition)
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        """Return nothing."""
        if node.value is not None and not isinstance(node.value, ast.Constant):
            self._replace(node, "return None")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        """Leave a call out."""
        if isinstance(node.value, ast.Constant) or _is_logging(node.value):
            return
        if not isinstance(node.value, ast.Yield | ast.YieldFrom):
            self._replace(node, "pass")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Forget to store; without the value of a local name, anything would notice."""
        if not any(isinstance(target, ast.Name | ast.Tuple) for target in node.targets):
            self._replace(node, "pass")
        self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Forget to add."""
        self._replace(node, "pass")
        self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        """Ignore a failure."""
        self._replace(node, "pass")

    def visit_Continue(self, node: ast.Continue) -> None:
        """Confuse the ways out of a round."""
        self._replace(node, "break")

    def visit_Break(self, node: ast.Break) -> None:
        """Confuse the ways out of a loop."""
        self._replace(node, "continue")

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """Do not handle an exception."""
        if not isinstance(node.body[0], ast.Raise):
            self._replace(node.body[0], "raise", node.body[-1])
        self.generic_visit(node)


def _is_logging(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    called: ast.expr = node.func.value
    return isinstance(called, ast.Name) and bool(_LOGGERS.search(called.id))
