"""Import a package's parts without the rest of it."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any


def by_parts(name: str) -> None:
    """Have a package imported part by part, as each is asked for.

    Some packages import all they have, whatever is wanted of them: that of pyroute2 takes longer
    than all the rest of a command. Here its own module is not run before somebody asks it for
    something that is none of its parts; then everything is as if it had been.

    A package that is imported already stays as it is, and one that is not there is left to the
    import that wants it.
    """
    if name in sys.modules:
        return
    spec = find_spec(name)
    if spec is None:
        return
    module = module_from_spec(spec)
    module.__class__ = _Package
    sys.modules[name] = module


class _Package(ModuleType):
    """A package whose module was not run yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        part = f"{self.__name__}.{name}"
        if find_spec(part) is not None:
            return import_module(part)
        self.__class__ = ModuleType  # type: ignore[assignment]
        if self.__spec__ is not None and self.__spec__.loader is not None:
            self.__spec__.loader.exec_module(self)
        return getattr(self, name)
