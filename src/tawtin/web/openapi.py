"""The OpenAPI 3.1 document, made from the table of routes and the records that they name."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import pairwise
from typing import Any, Final, cast

import msgspec

import tawtin
from tawtin.model.views import LogEnd, LogPiece, Problem
from tawtin.web.route import Route

_REF: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"\{(\w+)(:path)?\}")
_PARAMETERS: Final = {
    "id": "The id, as an answer gave it.",
    "name": "The name of a node, a peer or a service.",
    "digest": "`sha256:` and the SHA-256 of the blob, hexadecimal.",
    "path": "The path of a file inside the artifact.",
}
_HEADERS: Final = {
    "Idempotency-Key": "Any text of 1 to 255 printable ASCII characters: a repeat of the same request under it gets "
    "the same answer, another request gets 409. Remembered for a day.",
    "If-Match": "The ETag that was read: the change happens only if nobody changed it since.",
    "If-None-Match": "The ETag that is known already: 304 if it still holds.",
    "Last-Event-ID": "The `id` of the last event that arrived: the stream goes on after it.",
}
_PATTERNS: Final = {
    "Idempotency-Key": r"^[\x20-\x7e]{1,255}$",
    "If-Match": r'^(\*|(W/)?"[\x21\x23-\x7e]{0,100}")$',
    "If-None-Match": r"^[\x21-\x7e]*$",
    "Last-Event-ID": r"^[0-9]{1,16}(:[0-9]{1,16})?$",
}
_MEANINGS: Final = {
    200: "Done.",
    201: "Made, and on disk.",
    204: "Done; there is nothing to say.",
    304: "It did not change.",
    400: "Something in the request is malformed; `errors` say where.",
    401: "No key, or one that is unknown, expired or revoked.",
    403: "The key may not do this.",
    404: "There is no such thing, or it belongs to another tenant.",
    408: "The request did not arrive in time.",
    409: "It does not fit what is there.",
    412: "It was changed since it was read.",
    413: "The body is too long.",
    415: "A media type that has no meaning here.",
    422: "The spec is wrong (`errors` say where), or this factory does not accept it (`token` says why).",
    428: "`If-Match` is missing.",
    503: "Not at the moment; `Retry-After` says when to try again.",
    507: "The factory's storage is full; nothing accepted is lost.",
}


@cache
def document_bytes() -> bytes:
    """Return the document as JSON."""
    from tawtin.web.routes import ROUTES  # noqa: PLC0415 - the table names the handler that serves this

    return json.dumps(document(ROUTES), separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def document(routes: tuple[Route, ...]) -> dict[str, Any]:
    """Return the document of these routes."""
    records: list[Any] = [Problem, LogPiece, LogEnd]
    for route in routes:
        records += [each for each in (route.body, route.answers) if each is not None]
    schemas, components = msgspec.json.schema_components(records, ref_template=_REF)
    refs = {_key(record): schema for record, schema in zip(records, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tawtin",
            "version": tawtin.__version__,
            "summary": "The API of one factory.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _plain(components),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`twk_<id>_<secret>`, as it was issued.",
                }
            },
        },
    }


def _key(record: Any) -> str:  # noqa: ANN401 - a type, or a generic alias
    return repr(record)


def _operation(route: Route, refs: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary.rstrip("."),
        "description": route.description,
        "tags": [_tag(route.path)],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": _responses(route, refs),
        "security": [{"key": []}] if route.scope is not None else [],
    }
    if route.access == "metrics":
        found["security"] = [{}, {"key": []}]
    if route.scope is not None:
        found["description"] += f"\n\nNeeds a key with the scope `{route.scope.value}` or a wider one."
    content: dict[str, Any] = {}
    if route.body is not None:
        content["application/json"] = {"schema": refs[_key(route.body)], "example": route.example}
        if route.method == "PATCH":
            content["application/merge-patch+json"] = dict(content["application/json"])
    for media, example in route.bodies.items():
        content[media] = {"schema": {"type": "string"}, "example": example}
    if content:
        found["requestBody"] = {"required": True, "content": content}
    return found


def _tag(path: str) -> str:
    return path.removeprefix("/api/v1/").partition("/")[0] if path.startswith("/api/v1/") else "operation"


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for match in _PARAMETER.finditer(route.path):
        schema: dict[str, Any] = {"type": "string", "minLength": 1}
        if match[1] == "digest":
            schema["pattern"] = "^sha256:[0-9a-f]{64}$"
        description = _PARAMETERS[match[1]]
        found.append(
            {"name": match[1], "in": "path", "required": True, "schema": schema, "description": description}
        )
    return found


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema, components = msgspec.json.schema_components([route.query], ref_template="{name}")
    properties = cast("dict[str, Any]", components[schema[0]["$ref"]].get("properties", {}))
    texts = _texts(route.query)
    found: list[dict[str, Any]] = []
    for name, raw in properties.items():
        inner = _inlined(raw, components)
        options = [each for each in inner.pop("anyOf", ()) if each.get("type") != "null"]
        inner.update(options[0] if options else {})
        default = inner.pop("default", None)
        if default not in (None, "", [], ()):
            inner["default"] = default
        parameter = {"name": name, "in": "query", "schema": inner, "description": texts.get(name, "")}
        if inner.get("type") == "array":
            parameter.update(style="form", explode=False)
        found.append(parameter)
    return found


def _inlined(schema: Any, components: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(schema, dict):
        plain = cast("dict[str, Any]", schema)
        if "$ref" in plain:
            rest = {name: value for name, value in plain.items() if name != "$ref"}
            return {**_inlined(components[plain["$ref"]], components), **rest}
        return {name: _inlined(value, components) for name, value in plain.items()}
    if isinstance(schema, list):
        return [_inlined(each, components) for each in cast("list[Any]", schema)]
    return schema


def _texts(record: type[Any]) -> dict[str, str]:
    """What stands below each field of a record, its bases included."""
    import ast  # noqa: PLC0415 - once in the life of a process
    import inspect  # noqa: PLC0415 - the same
    import textwrap  # noqa: PLC0415 - the same

    texts: dict[str, str] = {}
    for kind in reversed(record.__mro__):
        if not kind.__module__.startswith("tawtin."):
            continue
        (cls,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        body = cast("ast.ClassDef", cls).body
        for statement, following in pairwise(body):
            match statement, following:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[name] = " ".join(text.split())
                case _:
                    pass
    return texts


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    required = 428 in route.errors
    return [
        {
            "name": name,
            "in": "header",
            "required": required and name == "If-Match",
            "schema": {"type": "string", "pattern": _PATTERNS[name]},
            "description": _HEADERS[name],
        }
        for name in route.headers
    ]


def _responses(route: Route, refs: dict[str, Any]) -> dict[str, Any]:
    media = route.media
    schema: dict[str, Any] = refs[_key(route.answers)] if route.answers is not None else {}
    if media != "application/json":
        schema = {"type": "string"}
    content: dict[str, Any] = {media: {"schema": schema}}
    if media == "text/plain" and route.name == "read_logs":
        content["text/event-stream"] = {"schema": {"type": "string"}}
    done: dict[str, Any] = {"description": _MEANINGS[route.status]}
    if route.status != 204:
        done["content"] = content
    if route.etag:
        done["headers"] = {"ETag": {"description": "The version.", "schema": {"type": "string"}}}
    responses: dict[str, Any] = {str(route.status): done}
    for status in sorted({*_always(route), *route.errors}):
        if status == 503 and route.name == "readyz":
            responses["503"] = {"description": "No new work is accepted.", "content": content}
        elif status == 304:
            responses["304"] = {"description": _MEANINGS[304]}
        else:
            problem = {"application/problem+json": {"schema": refs[_key(Problem)]}}
            responses[str(status)] = {"description": _MEANINGS[status], "content": problem}
    return responses


def _always(route: Route) -> set[int]:
    found = {400}
    if route.scope is not None or route.access == "metrics":
        found |= {401, 403, 503}
    if route.method != "GET":
        found |= {408, 413}
    return found


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """The same with lists for tuples, and without defaults that say nothing."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in cast("list[Any]", value)]
    return value
