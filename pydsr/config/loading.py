"""Load a configuration file: all that is wrong with it at once, or a configuration."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pydsr.config import conversion
from pydsr.config.problems import (
    ConfigurationError,
    Problem,
    from_validation,
    path_text,
)
from pydsr.config.schema import FileShape, ServiceShape, in_file, keys_at
from pydsr.config.source import Source, read
from pydsr.model.desired_state import DesiredService, DesiredState
from pydsr.model.errors import InputError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

STDIN = "-"


def load_file(name: str) -> DesiredState:
    """Load a file, or what stdin has where its name is ``-``.

    Raises:
        ConfigurationError: it is no configuration; says all that is wrong.
        InputError: it cannot be read.
    """
    if name == STDIN:
        return load_text("stdin", sys.stdin.read())
    try:
        return load_text(name, FilePath(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is no text in UTF-8: {error.reason} at byte {error.start}"
        ) from None


def load_text(name: str, text: str) -> DesiredState:
    """Load the text of a file.

    Args:
        name: of the file, for messages.
        text: what is in it.

    Raises:
        ConfigurationError: it is no configuration; says all that is wrong.
    """
    source = read(name, text)
    problems: list[Problem] = list(source.problems)
    if source.value is None and problems:
        raise _error(source, problems)
    value = {} if source.value is None else source.value
    try:
        shape = FileShape.model_validate(value)
    except ValidationError as error:
        problems += [from_validation(one, keys_at, in_file) for one in _details_of(error)]
        # What the parts that are right say of each other is worth knowing as well.
        _convert_services(_valid_services(value), problems)
        raise _error(source, problems) from None
    services = _convert_services(list(enumerate(shape.services)), problems)
    configuration = DesiredState(
        interfaces=conversion.interfaces_of(shape.interfaces, problems),
        table_size=shape.table_size,
        seed=shape.seed,
        policies=conversion.policies_of(
            shape.vips, (service.endpoint for service in services), problems
        ),
        services=services,
        rules=conversion.rules_of(shape.rules, None, (), problems),
        answer_while=conversion.answer_while_of(shape.answer_while, services, problems),
    )
    if problems:
        raise _error(source, problems)
    return configuration


def _details_of(error: ValidationError) -> Iterator[ErrorDetails]:
    """Yield every error, those of a check, which is validated by itself, with the whole path."""
    for one in error.errors():
        inner = one.get("ctx", {}).get("error")
        if not isinstance(inner, ValidationError):
            yield one
            continue
        for deeper in _details_of(inner):
            deeper["loc"] = (*one["loc"], *deeper["loc"])
            yield deeper


def _convert_services(
    shapes: list[tuple[int, ServiceShape]], problems: list[Problem]
) -> tuple[DesiredService, ...]:
    services = [
        (number, conversion.service_of(shape, ("services", number), problems))
        for number, shape in shapes
    ]
    conversion.check_together(services, problems)
    return tuple(service for _, service in services)


def _valid_services(value: Any) -> list[tuple[int, ServiceShape]]:
    """Return the services, with their numbers, as far as what each says is right."""
    items = value.get("services") if isinstance(value, dict) else None
    found = []
    for number, item in enumerate(items if isinstance(items, list) else ()):
        shape = _valid_part(item)
        if shape is not None:
            found.append((number, shape))
    return found


def _valid_part(item: Any) -> ServiceShape | None:
    try:
        return ServiceShape.model_validate(item)
    except ValidationError as error:
        wrong = {one["loc"][0] for one in error.errors() if one["loc"]}
    if not isinstance(item, dict) or "endpoint" in wrong:
        return None
    return ServiceShape.model_validate(
        {key: value for key, value in item.items() if key not in wrong}
    )


def _error(source: Source, problems: list[Problem]) -> ConfigurationError:
    lines = sorted(
        (problem.line or source.line(problem.path), _text(problem)) for problem in problems
    )
    said = [f"{source.name}:{line}: {text}" for line, text in dict.fromkeys(lines)]
    if len(said) > 1:
        said.insert(0, f"{source.name} has {len(said)} errors")
    return ConfigurationError("\n".join(said), problems)


def _text(problem: Problem) -> str:
    where = path_text(problem.path)
    return f"{where}: {problem.message}" if where else problem.message
