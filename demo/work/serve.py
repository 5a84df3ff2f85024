"""llama.cpp's server for one file. Arguments: the file, the model's name, host, port."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

CONTEXT = 16_384
"""Tokens of a conversation."""


def serve(file: str, name: str, host: str, port: int, *, context: int, embeddings: bool = False) -> Any:  # noqa: ANN401 - its types are not complete
    """Serve a file with OpenAI's API as long as what is returned is kept; it has a `listening_address`."""
    import xllamacpp

    library: Any = xllamacpp
    wanted = library.CommonParams()
    wanted.model.path = file
    wanted.model_alias = {name}
    wanted.hostnames = [host]
    wanted.port = port
    wanted.n_parallel = 2
    wanted.n_ctx = 2 * context
    wanted.warmup = False
    wanted.n_threads_http = 4
    wanted.cpuparams.n_threads = 1
    if embeddings:
        wanted.embedding = True
        wanted.pooling_type = library.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return library.Server(wanted)


def main() -> None:
    file, name, host, port = sys.argv[1:]
    server = serve(file, name, host, int(port), context=CONTEXT)
    print(f"{name} at {server.listening_address}", flush=True)
    signal.sigwait([signal.SIGTERM])
    os._exit(0)  # its threads wait for clients that keep connections open


if __name__ == "__main__":
    # before any thread is there, so that none of them takes it
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    main()
