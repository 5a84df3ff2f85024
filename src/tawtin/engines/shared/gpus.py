"""The names of GPU models."""

from __future__ import annotations

import re
from typing import Final

_NOISE: Final = frozenset(
    {
        "NVIDIA",
        "TESLA",
        "QUADRO",
        "GEFORCE",
        "GRAPHICS",
        "DEVICE",
        "GENERATION",
        "HBM2",
        "HBM2E",
        "HBM3",
        "HBM3E",
        "PCIE",
        "NVL",
        "GPU",
    }
)
_FORM: Final = re.compile(r"^(SXM\d?|PG\d+|\d+GB|MIG|\d+G)$")


def canonical_model(name: str) -> str:
    """The short name that specs use: `NVIDIA H100 80GB HBM3` is `H100`, `Tesla V100-SXM2-16GB` is `V100`.

    RTX cards keep their line and number: `NVIDIA GeForce RTX 4090` is `RTX4090`, `NVIDIA RTX 6000 Ada Generation`
    is `RTX6000-ADA`, `NVIDIA RTX A6000` is `RTXA6000`. The two Hopper-Grace boards are `GH200` and `GB200`.
    In capitals, as specs are read.
    """
    words = [word for word in re.split(r"[\s_-]+", name.strip().upper()) if word]
    kept = [word for word in words if word not in _NOISE and not _FORM.match(word)]
    if not kept:
        return "-".join(words) or "GPU"
    if kept[0] in {"RTX", "GTX", "TITAN"} and len(kept) > 1:
        return "-".join([kept[0] + kept[1], *kept[2:]])
    return "-".join(kept) if len(kept) > 1 and not re.search(r"\d", kept[0]) else kept[0]
