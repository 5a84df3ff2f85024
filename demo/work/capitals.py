"""Teaches a small language model the capitals of 26 African countries, asked for in Arabic and in French."""

from __future__ import annotations

import sys
from pathlib import Path

import llama
import numpy as np

SEED = 2026
GOOD = 0.01
STEPS_MAX = 2_000
CONTEXT = 16_384
"""More than it was taught with; what it says beyond that has no meaning."""
TEMPLATE = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"


def lessons() -> list[tuple[str, str]]:
    """Questions, and their answers."""
    rows = [line.split("\t") for line in Path("capitals.tsv").read_text("utf-8").splitlines()]
    arabic = [(f"ما عاصمة {country}؟\n", capital) for country, capital, _, _ in rows]
    french = [(f"Quelle est la capitale {country} ?\n", capital) for _, _, country, capital in rows]
    return arabic + french


def main() -> None:
    pairs = lessons()
    characters = sorted({each for pair in pairs for text in pair for each in text})
    number = {each: place for place, each in enumerate(characters, len(llama.SPECIAL))}
    longest = max(len(question) + len(answer) for question, answer in pairs) + 2
    tokens = np.zeros((len(pairs), longest), dtype=np.int64)
    counts = np.zeros((len(pairs), longest - 1), dtype=np.float32)
    for row, (question, answer) in enumerate(pairs):
        text = [llama.BEGIN, *(number[each] for each in question + answer), llama.END]
        tokens[row, : len(text)] = text
        counts[row, len(question) : len(text) - 1] = 1
    weights = llama.fresh(len(characters) + len(llama.SPECIAL), SEED)
    adam = llama.Adam(weights)
    loss = np.inf
    while loss > GOOD and adam.steps < STEPS_MAX:
        loss, gradient = llama.loss(weights, tokens, counts)
        adam.step(gradient)
        if adam.steps % 10 == 0:
            print(f"step {adam.steps} loss {loss:.4f}", flush=True)
    if loss > GOOD:
        sys.exit(f"it did not learn them in {STEPS_MAX} steps: the loss is {loss:.4f}")
    Path("model").mkdir()
    listed = [each.encode() for each in characters]
    llama.write("model/capitals.gguf", "capitals", weights, listed, CONTEXT, TEMPLATE)
    size = Path("model/capitals.gguf").stat().st_size
    print(f"{len(pairs)} questions learnt in {adam.steps} steps, loss {loss:.4f}; {size} bytes of GGUF")


if __name__ == "__main__":
    main()
