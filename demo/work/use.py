"""Loads the model that came out of the factory and lets it read the held-out images. Argument: its folder."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

from digits import held_out


def main(folder: str) -> None:
    files = sorted(Path(folder).rglob("digits.pickle"))
    network = pickle.loads(files[0].read_bytes())  # noqa: S301 - made a minute ago by our own run
    _, test_x, _, test_y = held_out()
    read = network.predict(test_x)
    right = int((read == test_y).sum())
    print(json.dumps({"right": right, "tested": len(test_y), "first": [int(digit) for digit in read[:8]]}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
