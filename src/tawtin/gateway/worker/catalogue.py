"""The catalogue of models as clients see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.gateway.worker.http import Problem

if TYPE_CHECKING:
    from tawtin.gateway.snapshot import Snapshot

_encode: Final = msgspec.json.Encoder().encode


def no_model(name: str) -> Problem:
    """What is wrong where a request names a model that is not in the catalogue."""
    return Problem(
        404,
        f"there is no model `{name[:127]}`: GET /v1/models lists them",
        code="model_not_found",
        param="model",
    )


def listed(snapshot: Snapshot, path: str) -> bytes:
    """The catalogue, or one model of it, in OpenAI's shape with a few fields more. Raises Problem."""
    models = [
        {
            "id": each.name,
            "object": "model",
            "created": 0,
            "owned_by": snapshot.factory,
            "licence": each.licence,
            "origin": each.origin,
            "languages": each.languages,
            "context_tokens_max": each.context_tokens_max,
            "countries": sorted({replica.country for replica in (*each.replicas, *each.asleep)}),
            "providers": sorted({replica.provider for replica in each.replicas if replica.provider}),
        }
        for each in snapshot.models.values()
    ]
    name = path.removeprefix("/v1/models").removeprefix("/")
    if not name:
        return _encode({"object": "list", "data": models})
    found = next((each for each in models if each["id"] == name), None)
    if found is None:
        raise no_model(name)
    return _encode(found)
