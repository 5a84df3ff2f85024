r"""A language model of two layers with random weights, and llama.cpp's server for it.

    python -m tools.tiny_model FILE              # writes the model, 0.5 MB of GGUF
    python -m tools.tiny_model FILE --serve [--embeddings]  # and serves it until standard input ends

It says nothing that has a meaning, and it says that in the way of every other model.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, Final

LAYERS: Final = 2
WIDTH: Final = 64
HEADS: Final = 4
FORWARD: Final = 128
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
    import gguf
    import numpy as np

    writer: Any = gguf.GGUFWriter(str(path), "llama")
    tokens = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256))]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)  # noqa: FBT003 - the library's own way
    writer.add_chat_template(TEMPLATE)
    draw = np.random.default_rng(SEED)

    def weights(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", (draw.standard_normal(shape) * 0.05).astype(np.float32))

    def ones(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))

    weights("token_embd", len(tokens), WIDTH)
    ones("output_norm")
    weights("output", len(tokens), WIDTH)
    for layer in range(LAYERS):
        ones(f"blk.{layer}.attn_norm")
        ones(f"blk.{layer}.ffn_norm")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights(f"blk.{layer}.{name}", WIDTH, WIDTH)
        weights(f"blk.{layer}.ffn_gate", FORWARD, WIDTH)
        weights(f"blk.{layer}.ffn_up", FORWARD, WIDTH)
        weights(f"blk.{layer}.ffn_down", WIDTH, FORWARD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(path: Path, *, embeddings: bool) -> None:
    """Serve it on loopback until standard input ends."""
    import xllamacpp

    library: Any = xllamacpp  # its types are not complete
    wanted = library.CommonParams()
    wanted.model.path = str(path)
    wanted.model_alias = {"tiny"}
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = 0
    wanted.n_ctx = 2 * CONTEXT
    wanted.n_parallel = 2
    wanted.warmup = False
    wanted.n_threads_http = 4
    wanted.cpuparams.n_threads = 1
    if embeddings:
        wanted.embedding = True
        wanted.pooling_type = library.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = library.Server(wanted)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)  # its threads wait for clients that keep connections open


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tools.tiny_model")
    parser.add_argument("file", type=Path)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--embeddings", action="store_true")
    arguments = parser.parse_args()
    if not arguments.file.exists():
        write(arguments.file)
    if arguments.serve:
        serve(arguments.file, embeddings=arguments.embeddings)


if __name__ == "__main__":
    main()
