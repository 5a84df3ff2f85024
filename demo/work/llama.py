"""A small language model as llama.cpp reads it, and how it learns, with NumPy alone.

The network is Llama's: RMS norms, rotary positions by pairs of neighbours, attention, gated feed-forward. Weights are
named as in GGUF, and have the shape (outputs, inputs). Shapes: B texts, T tokens, H heads.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Weights = dict[str, Array]
LAYERS: Final = 2
WIDTH: Final = 64
HEADS: Final = 4
FORWARD: Final = 128
EPSILON: Final = 1e-5
TURNS: Final = 10_000.0
UNKNOWN, BEGIN, END = range(3)
SPECIAL: Final = (b"<unk>", b"<s>", b"</s>")
"""The first three tokens of every vocabulary."""


def fresh(vocabulary: int, seed: int) -> Weights:
    """Weights before anything was learnt."""
    draw = np.random.default_rng(seed)

    def normal(outputs: int, inputs: int, spread: float | None = None) -> Array:
        return draw.standard_normal((outputs, inputs), dtype=np.float32) * np.float32(spread or inputs**-0.5)

    weights = {
        "token_embd": normal(vocabulary, WIDTH, 0.5),
        "output_norm": np.ones(WIDTH, dtype=np.float32),
        "output": normal(vocabulary, WIDTH, 0.08),
    }
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            weights[f"blk.{layer}.{name}"] = np.ones(WIDTH, dtype=np.float32)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights[f"blk.{layer}.{name}"] = normal(WIDTH, WIDTH)
        weights[f"blk.{layer}.ffn_gate"] = normal(FORWARD, WIDTH)
        weights[f"blk.{layer}.ffn_up"] = normal(FORWARD, WIDTH)
        weights[f"blk.{layer}.ffn_down"] = normal(WIDTH, FORWARD)
    return weights


class Kept(NamedTuple):
    """What a layer computed, for the way back."""

    attended: Array
    queries: Array
    keys: Array
    values: Array
    shares: Array
    mixed: Array
    fed: Array
    gate: Array
    open: Array
    up: Array
    norms: tuple[tuple[Array, Array], tuple[Array, Array]]


def loss(weights: Weights, tokens: Array, counts: Array) -> tuple[float, Weights]:
    """Mean cross-entropy of the next token where `counts` is 1, and its gradient.

    `tokens` is (B, T + 1), `counts` (B, T) says of each but the last token whether its successor counts.
    """
    asked, wanted = tokens[:, :-1], tokens[:, 1:]
    pairs = [TURNS ** (-2 * pair * HEADS / WIDTH) for pair in range(WIDTH // HEADS // 2)]
    angles: Array = np.array([[place * each for each in pairs] for place in range(asked.shape[1])])
    turns = (np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))
    x: Array = weights["token_embd"][asked]
    kept: list[Kept] = []
    for layer in range(LAYERS):
        x, each = _layer(weights, f"blk.{layer}.", x, turns)
        kept.append(each)
    last, norm = _norm(x, weights["output_norm"])
    scores = last @ weights["output"].T
    odds = np.exp(scores - scores.max(-1, keepdims=True))
    odds /= odds.sum(-1, keepdims=True)
    place = (*np.indices(wanted.shape), wanted)
    mean = float(-(np.log(odds[place] + 1e-9) * counts).sum() / counts.sum())
    odds[place] -= 1
    odds *= (counts / counts.sum())[..., None].astype(np.float32)
    back: Weights = {"output": _outer(odds, last)}
    dx, back["output_norm"] = _norm_back(odds @ weights["output"], weights["output_norm"], norm)
    for layer in reversed(range(LAYERS)):
        dx = _layer_back(weights, back, f"blk.{layer}.", kept[layer], dx, turns)
    back["token_embd"] = np.zeros_like(weights["token_embd"])
    np.add.at(back["token_embd"], asked, dx)
    return mean, back


def _layer(weights: Weights, at: str, x: Array, turns: tuple[Array, Array]) -> tuple[Array, Kept]:
    attended, first = _norm(x, weights[at + "attn_norm"])
    queries, keys, values = (
        _heads(attended @ weights[at + name].T) for name in ("attn_q", "attn_k", "attn_v")
    )
    queries, keys = _turned(queries, *turns), _turned(keys, *turns)
    later = np.triu(np.full((x.shape[1], x.shape[1]), -1e9, dtype=np.float32), 1)
    scores = queries @ keys.swapaxes(2, 3) * np.float32((WIDTH // HEADS) ** -0.5) + later
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    mixed = _flat(shares @ values)
    x = x + mixed @ weights[at + "attn_output"].T
    fed, second = _norm(x, weights[at + "ffn_norm"])
    gate, up = fed @ weights[at + "ffn_gate"].T, fed @ weights[at + "ffn_up"].T
    opened = 1 / (1 + np.exp(-gate))
    x = x + (gate * opened * up) @ weights[at + "ffn_down"].T
    return x, Kept(attended, queries, keys, values, shares, mixed, fed, gate, opened, up, (first, second))


def _layer_back(
    weights: Weights, back: Weights, at: str, kept: Kept, dx: Array, turns: tuple[Array, Array]
) -> Array:
    back[at + "ffn_down"] = _outer(dx, kept.gate * kept.open * kept.up)
    inner = dx @ weights[at + "ffn_down"]
    dup = inner * kept.gate * kept.open
    dgate = inner * kept.up * kept.open * (1 + kept.gate * (1 - kept.open))
    back[at + "ffn_gate"], back[at + "ffn_up"] = _outer(dgate, kept.fed), _outer(dup, kept.fed)
    dfed = dgate @ weights[at + "ffn_gate"] + dup @ weights[at + "ffn_up"]
    more, back[at + "ffn_norm"] = _norm_back(dfed, weights[at + "ffn_norm"], kept.norms[1])
    dx = dx + more
    back[at + "attn_output"] = _outer(dx, kept.mixed)
    dmixed = _heads(dx @ weights[at + "attn_output"])
    dshares = dmixed @ kept.values.swapaxes(2, 3)
    scale = np.float32((WIDTH // HEADS) ** -0.5)
    dscores = kept.shares * (dshares - (dshares * kept.shares).sum(-1, keepdims=True)) * scale
    cos, sin = turns
    parts = {
        "attn_q": _turned(dscores @ kept.keys, cos, -sin),
        "attn_k": _turned(dscores.swapaxes(2, 3) @ kept.queries, cos, -sin),
        "attn_v": kept.shares.swapaxes(2, 3) @ dmixed,
    }
    dattended = np.zeros_like(dx)
    for name, part in parts.items():
        flat = _flat(part)
        back[at + name] = _outer(flat, kept.attended)
        dattended += flat @ weights[at + name]
    more, back[at + "attn_norm"] = _norm_back(dattended, weights[at + "attn_norm"], kept.norms[0])
    return dx + more


def _norm(x: Array, gain: Array) -> tuple[Array, tuple[Array, Array]]:
    scale = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(EPSILON))
    return x * scale * gain, (x * scale, scale)


def _norm_back(dy: Array, gain: Array, kept: tuple[Array, Array]) -> tuple[Array, Array]:
    y, scale = kept
    dgain = (dy * y).reshape(-1, y.shape[-1]).sum(0)
    dy = dy * gain
    return scale * (dy - y * (dy * y).mean(-1, keepdims=True)), dgain


def _heads(x: Array) -> Array:
    """(B, T, WIDTH) -> (B, H, T, WIDTH / H)."""
    return x.reshape(*x.shape[:2], HEADS, -1).swapaxes(1, 2)


def _flat(x: Array) -> Array:
    return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], WIDTH)


def _turned(x: Array, cos: Array, sin: Array) -> Array:
    turned = np.empty_like(x)
    turned[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    turned[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos
    return turned


def _outer(dy: Array, x: Array) -> Array:
    return dy.reshape(-1, dy.shape[-1]).T @ x.reshape(-1, x.shape[-1])


class Adam:
    """The usual optimiser (Kingma and Ba 2015)."""

    def __init__(self, weights: Weights, rate: float = 8e-3) -> None:
        self.weights = weights
        self.rate = rate
        self.steps = 0
        self.mean = {name: np.zeros_like(value) for name, value in weights.items()}
        self.square = {name: np.zeros_like(value) for name, value in weights.items()}

    def step(self, gradient: Weights) -> None:
        """Go one step down."""
        self.steps += 1
        for name in self.weights:
            mean, square = self.mean[name], self.square[name]
            mean += 0.1 * (gradient[name] - mean)
            square += 0.01 * (gradient[name] ** 2 - square)
            far = np.sqrt(square / (1 - 0.99**self.steps)) + 1e-8
            self.weights[name] -= self.rate * (mean / (1 - 0.9**self.steps)) / far


def write(path: str, name: str, weights: Weights, tokens: list[bytes], context: int, template: str) -> None:
    """Write it as GGUF. `tokens` are those after SPECIAL: bytes as `<0xNN>`, or characters."""
    import gguf

    writer: Any = gguf.GGUFWriter(path, "llama")
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE if each.startswith(b"<0x") else gguf.TokenType.NORMAL for each in tokens]
    listed = [*SPECIAL, *(each.replace(b" ", "▁".encode()) for each in tokens)]
    writer.add_name(name)
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(TURNS)
    writer.add_vocab_size(len(listed))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(listed)
    writer.add_token_scores([0.0] * len(listed))
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_add_bos_token(True)  # noqa: FBT003 - as the library has it
    writer.add_add_space_prefix(False)  # noqa: FBT003 - the same
    writer.add_chat_template(template)
    for each, weight in weights.items():
        writer.add_tensor(f"{each}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
