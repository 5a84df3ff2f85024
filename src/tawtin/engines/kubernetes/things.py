"""Reading objects of Kubernetes, which are JSON: what is not there is empty."""

from __future__ import annotations

from typing import Any, cast

Object = dict[str, Any]


def table(thing: Object, *path: str) -> Object:
    """The object at this path."""
    found: Any = thing
    for name in path:
        found = cast("Object", found).get(name) if isinstance(found, dict) else None
    return cast("Object", found) if isinstance(found, dict) else {}


def rows(thing: Object, *path: str) -> list[Object]:
    """The list of objects at this path."""
    found = table(thing, *path[:-1]).get(path[-1])
    return (
        [cast("Object", each) for each in cast("list[Any]", found) if isinstance(each, dict)]
        if isinstance(found, list)
        else []
    )


def text(thing: Object, *path: str) -> str:
    """The text, or number, at this path."""
    found = table(thing, *path[:-1]).get(path[-1])
    return "" if found is None else str(found)


def labels_of(thing: Object) -> dict[str, str]:
    """Its labels."""
    return table(thing, "metadata", "labels")


def name_of(thing: Object) -> str:
    """Its name."""
    return text(thing, "metadata", "name")


def key_of(thing: Object) -> str:
    """`namespace/name`, or the name of what has no namespace."""
    namespace = text(thing, "metadata", "namespace")
    return f"{namespace}/{name_of(thing)}" if namespace else name_of(thing)


def version_of(thing: Object) -> int:
    """The resource version; those of one cluster are numbers in the order of writes."""
    found = text(thing, "metadata", "resourceVersion")
    return int(found) if found.isdecimal() else 0
