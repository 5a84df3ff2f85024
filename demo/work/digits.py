"""What the runs share: the handwritten digits that scikit-learn ships, and the model that learns to read them."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import numpy as np

warnings.simplefilter("ignore")
CLASSES = np.arange(10)
SEED = 2026


def sklearn(module: str) -> Any:  # noqa: ANN401 - the library carries no types
    """A module of scikit-learn."""
    return import_module(f"sklearn.{module}")


def images() -> tuple[Any, Any]:
    """1,797 images of 8 x 8 grey values scaled to 0..1, and the digit that each shows."""
    data = sklearn("datasets").load_digits()
    return data.data / 16.0, data.target


def held_out() -> tuple[Any, Any, Any, Any]:
    """Images to learn from, images to be tested on (a fifth of all), and the digits of both."""
    pictures, labels = images()
    split = sklearn("model_selection").train_test_split
    return split(pictures, labels, test_size=0.2, random_state=SEED, stratify=labels)


def model(units: int) -> Any:  # noqa: ANN401 - the library carries no types
    """A network with one hidden layer."""
    network = sklearn("neural_network").MLPClassifier
    return network((units,), learning_rate_init=0.002, batch_size=64, random_state=SEED)
