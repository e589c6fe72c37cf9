"""Which texts the generators of a module name: how the places that open spans are told apart.

The compiled module asks, once for a module, before it takes a call of ``span("name")`` for one that
no generator makes.
"""

from __future__ import annotations

from types import CodeType, FunctionType

_CO_GENERATOR = 0x20
_CO_ASYNC_GENERATOR = 0x200
_MOST_KNOWN = 1024

_known: dict[int, tuple[int, frozenset[str]]] = {}


def may_name(module: dict[str, object], name: str) -> bool:
    """Whether a generator of the module with these globals has this text among its constants.

    Found are the functions that the globals lead to, by classes, closures and nesting. What is
    hidden in other objects is not.

    >>> def numbers():
    ...     yield "one"
    >>> may_name(numbers.__globals__ | {}, "one")
    False
    >>> may_name(numbers.__globals__, "one")
    True
    """
    size, names = _known.get(id(module), (-1, frozenset[str]()))
    if size != len(module):
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        names = _names(module)
        _known[id(module)] = (len(module), names)
    return name in names


def _names(module: dict[str, object]) -> frozenset[str]:
    found: set[str] = set()
    seen: set[int] = set()
    waiting: list[object] = list(module.values())
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, CodeType):
            if item.co_flags & (_CO_GENERATOR | _CO_ASYNC_GENERATOR):
                found.update(value for value in item.co_consts if isinstance(value, str))
            waiting += [value for value in item.co_consts if isinstance(value, CodeType)]
        elif isinstance(item, FunctionType):
            if item.__globals__ is module:
                waiting.append(item.__code__)
            for cell in item.__closure__ or ():
                try:
                    waiting.append(cell.cell_contents)
                except ValueError:
                    continue
        elif isinstance(item, staticmethod | classmethod):
            waiting.append(item.__func__)
        elif isinstance(item, property):
            waiting += [item.fget, item.fset]
        elif isinstance(item, type) and item.__module__ == module.get("__name__"):
            waiting += vars(item).values()
    return frozenset(found)
