"""Translate pydantic's errors into the words of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from pydsr.config.schema import (
    BackendShape,
    FileShape,
    HealthShape,
    InterfaceShape,
    RulesShape,
    ServiceShape,
    VipShape,
    check_shapes,
)
from pydsr.config.yaml_source import Path, Problem

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SHAPES: dict[str, type[BaseModel]] = {
    "": FileShape,
    "interfaces": InterfaceShape,
    "rules": RulesShape,
    "services": ServiceShape,
    "health": HealthShape,
    "backends": BackendShape,
    "sorry": BackendShape,
}
"""The shape of a mapping by the last key on the path to it."""

_TYPES = {
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
"""The type that a value must have, by the type of pydantic's error."""


def problems_of(error: ValidationError) -> Iterator[Problem]:
    """Yield a problem for each of pydantic's errors."""
    return map(_problem, _details_of(error))


def _details_of(error: ValidationError) -> Iterator[ErrorDetails]:
    """Yield every error. Checks are validated apart, so their errors get complete paths here."""
    for details in error.errors():
        inner = details.get("ctx", {}).get("error")
        if not isinstance(inner, ValidationError):
            yield details
            continue
        for nested in _details_of(inner):
            nested["loc"] = (*details["loc"], *nested["loc"])
            yield nested


def _problem(details: ErrorDetails) -> Problem:
    path = _path_in_file(details["loc"])
    kind, value, context = details["type"], _shown(details["input"]), details.get("ctx", {})
    if kind == "input":
        return Problem(path, str(context["words"]))
    if kind == "extra_forbidden":
        known = _did_you_mean(str(path[-1]), _keys_at(details["loc"][:-1]))
        return Problem(path, f"there is no such key; {known}")
    if kind == "missing":
        return Problem(path, "is missing")
    if kind == "union_tag_not_found":
        return Problem((*path, context["discriminator"].strip("'")), "is missing")
    if kind == "union_tag_invalid":
        where = (*path, context["discriminator"].strip("'"))
        known = _did_you_mean(context["tag"], context["expected_tags"].strip("'").split("', '"))
        return Problem(where, f"there is no {context['tag']!r}; {known}")
    if kind in ("enum", "literal_error"):
        return Problem(path, f"must be {context['expected']}, not {value}")
    if kind == "greater_than":
        return Problem(path, f"must be above {context['gt']:g}, not {value}")
    if kind == "greater_than_equal":
        return Problem(path, f"must be at least {context['ge']:g}, not {value}")
    if kind == "less_than_equal":
        return Problem(path, f"must be at most {context['le']:g}, not {value}")
    return Problem(path, f"must be {_TYPES.get(kind, details['msg'])}, not {value}")


def _path_in_file(path: Path) -> Path:
    """Return the path without union members, which pydantic names but the file does not have."""
    if "checks" not in path:
        return path
    members = {*check_shapes(), "int", "str"}
    return tuple(
        step
        for before, step in zip((None, *path), path, strict=False)
        if not (isinstance(before, int) and step in members)
    )


def _keys_at(path: Path) -> list[str]:
    """Return the keys that the mapping at a path, as pydantic names it, may have."""
    if path[:1] == ("vips",):
        shape: type[BaseModel] = VipShape
    else:
        name = next((step for step in reversed(path) if isinstance(step, str)), "")
        shape = (check_shapes() if "checks" in path else _SHAPES)[name]
    return [field.alias or name for name, field in shape.model_fields.items()]


def _did_you_mean(text: str, known: Iterable[str]) -> str:
    """Suggest the nearest of the known words, or list all of them."""
    known = sorted(known)
    near = get_close_matches(text, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value)
