"""What is wrong with a file, in words: where, and what a user is to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydsr.model.errors import InputError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]
"""From the root of a file to a value in it: keys of mappings and places in lists."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: what is wrong.
        message: how it is wrong; a sentence whose subject is the path.
        line: where it stands, from 1, if that is known without looking for the path.
    """

    path: Path
    message: str
    line: int | None = None


class ConfigurationError(InputError):
    """A file that is no configuration; its message has a line for each problem.

    Attributes:
        problems: all there are.
    """

    def __init__(self, message: str, problems: Sequence[Problem]) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


def path_text(path: Path) -> str:
    """Return a path as users read it: ``services[1].backends[0].weight``."""
    text = ""
    for step in path:
        if isinstance(step, int) or "." in step or ":" in step:
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """Return a question with the nearest of what is known, or all of that where nothing is near."""
    known = sorted(known)
    near = get_close_matches(text, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"


def in_words(error: InputError) -> str:
    """Return what an error of the model says, with its hint, in one line."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def from_validation(
    details: ErrorDetails,
    keys_at: Callable[[Path], Iterable[str]],
    in_file: Callable[[Path], Path],
) -> Problem:
    """Return a problem for an error of pydantic.

    Args:
        details: the error.
        keys_at: which keys the mapping at a path of pydantic's may have.
        in_file: from such a path to one in the file.
    """
    path = in_file(details["loc"])
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "input":
        return Problem(path, str(context["words"]))
    if kind == "extra_forbidden":
        known = did_you_mean(str(path[-1]), keys_at(details["loc"][:-1]))
        return Problem(path, f"there is no such key; {known}")
    if kind == "missing":
        return Problem(path, "is missing")
    if kind == "union_tag_not_found":
        return Problem((*path, context["discriminator"].strip("'")), "is missing")
    if kind == "union_tag_invalid":
        where = (*path, context["discriminator"].strip("'"))
        known = did_you_mean(context["tag"], context["expected_tags"].strip("'").split("', '"))
        return Problem(where, f"there is no {context['tag']!r}; {known}")
    if kind in ("enum", "literal_error"):
        expected = str(context["expected"])
        return Problem(path, f"must be {expected}, not {_shown(given)}")
    if kind == "greater_than":
        return Problem(path, f"must be above {context['gt']:g}, not {_shown(given)}")
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = f"at least {context['ge']:g}" if "ge" in context else f"at most {context['le']:g}"
        return Problem(path, f"must be {bound}, not {_shown(given)}")
    return Problem(path, f"must be {_WANTED.get(kind, details['msg'])}, not {_shown(given)}")


_WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)
