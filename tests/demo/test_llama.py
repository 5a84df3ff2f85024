"""The demonstration's language model goes down the true gradient of its loss."""

from __future__ import annotations

import numpy as np
import pytest

from demo.work import llama


def test_the_gradient_is_that_of_the_loss() -> None:
    weights = {name: each.astype(np.float64) for name, each in llama.fresh(11, seed=3).items()}
    draw = np.random.default_rng(5)
    tokens = draw.integers(3, 11, (3, 8))
    counts = draw.integers(0, 2, (3, 7)).astype(np.float64)
    counts[0, 3] = 1.0
    _, gradient = llama.loss(weights, tokens, counts)
    step = 1e-4
    for name, each in weights.items():
        way = draw.standard_normal(each.shape)
        there = {**weights, name: each + step * way}
        back = {**weights, name: each - step * way}
        slope = (llama.loss(there, tokens, counts)[0] - llama.loss(back, tokens, counts)[0]) / (2 * step)
        assert slope == pytest.approx(float((gradient[name] * way).sum()), rel=1e-3, abs=1e-6), name
