"""The Python client of a factory: `Client`, and `AsyncClient` with the same methods.

    from tawtin.client import Client

    with Client() as factory:
        made = factory.submit("train.yaml")
        for piece in factory.follow(made.workloads[0].id):
            ...

Each method builds one `Call`, or is one flow of calls; two small drivers carry them out, one over blocking sockets, one
over asyncio streams. Nothing but the standard library is imported before the first answer is decoded.
"""

from __future__ import annotations

from tawtin.client.aio import AsyncClient
from tawtin.client.errors import ApiError, ClientError, ConnectionBroken
from tawtin.client.sync import Client

__all__ = ["ApiError", "AsyncClient", "Client", "ClientError", "ConnectionBroken"]
