"""The base of all models of the configuration file."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Shape(BaseModel):
    """A mapping of the file: keys with dashes, no unknown keys, no conversion of types."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe each key by the docstring of its field.

        Pydantic's use_attribute_docstrings would read the sources whenever they are imported, which
        takes an eighth of the time to load a small file.
        """
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema)["properties"]
        for name, text in _docstrings(cls).items():
            properties[cls.model_fields[name].alias]["description"] = text
        return schema


def _docstrings(shape: type[Shape]) -> dict[str, str]:
    """Return the docstrings of a shape's fields by their names."""
    found: dict[str, str] = {}
    for base in shape.__mro__[: shape.__mro__.index(Shape)]:
        try:
            source = inspect.getsource(base)
        except OSError:
            continue  # made by create_model
        for statements in pairwise(ast.walk(ast.parse(source))):
            match statements:
                case ast.AnnAssign(ast.Name(name)), ast.Expr(ast.Constant(str(words))):
                    found.setdefault(name, inspect.cleandoc(words))
    return found
