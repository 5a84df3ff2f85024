r"""A language model of two layers with random weights, and llama.cpp's server for it.

    python -m tools.tiny_model FILE              # writes the model, 0.5 MB of GGUF
    python -m tools.tiny_model FILE --serve [--embeddings]  # and serves it until standard input ends

It says nothing that has a meaning, and it says that in the way of every other model. What it is made of is what the
demonstration trains (demo/work/llama.py), before it has learnt anything.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import Final

CONTEXT: Final = 512
SEED: Final = 7
TEMPLATE: Final = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def missing() -> str:
    """What is not installed here, or nothing."""
    absent = [
        name for name in ("gguf", "numpy", "openai", "xllamacpp") if importlib.util.find_spec(name) is None
    ]
    return ", ".join(absent)


def write(path: Path) -> None:
    """Write the model. Its tokens are bytes."""
    from demo.work import llama

    tokens = [b"<0x%02X>" % byte for byte in range(256)]
    weights = llama.fresh(len(llama.SPECIAL) + len(tokens), SEED)
    weights["output"][: len(llama.SPECIAL)] = (
        0.0  # never among the likely ones: an answer is as long as it may be
    )
    llama.write(str(path), "tiny", weights, tokens, CONTEXT, TEMPLATE)


def main() -> None:
    """Do what the command line says."""
    from demo.work.serve import serve

    parser = argparse.ArgumentParser(prog="python -m tools.tiny_model")
    parser.add_argument("file", type=Path)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--embeddings", action="store_true")
    arguments = parser.parse_args()
    if not arguments.file.exists():
        write(arguments.file)
    if arguments.serve:
        server = serve(
            str(arguments.file), "tiny", "127.0.0.1", 0, context=CONTEXT, embeddings=arguments.embeddings
        )
        print(server.listening_address, flush=True)
        sys.stdin.read()
        os._exit(0)  # its threads wait for clients that keep connections open


if __name__ == "__main__":
    main()
