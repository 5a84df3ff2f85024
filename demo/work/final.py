"""The final fit: long enough to be interrupted, and its log says which process it is, to show that it was not."""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from pathlib import Path

from digits import CLASSES, held_out, model

SECONDS = 9
EPOCHS_MIN = 30


def start_time() -> str:
    """When this process started, in clock ticks since boot: with its id it names the process for good."""
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]


def secret_can_be_read(path: str) -> bool:
    try:
        return bool(Path(path).read_text())
    except OSError:
        return False


def main() -> None:
    me = f"pid={os.getpid()} started={start_time()}"
    print(f"user id {os.getuid()}, key readable: {secret_can_be_read(os.environ['FORBIDDEN'])}", flush=True)
    train_x, test_x, train_y, test_y = held_out()
    network = model(128)
    until = time.monotonic() + SECONDS
    epoch = 0
    while epoch < EPOCHS_MIN or time.monotonic() < until:
        epoch += 1
        network.partial_fit(train_x, train_y, classes=CLASSES)
        print(f"epoch {epoch} at={time.time():.3f} {me} loss {network.loss_:.4f}", flush=True)
        time.sleep(max(0.0, (until - time.monotonic()) / EPOCHS_MIN / 2))
    right = int((network.predict(test_x) == test_y).sum())
    print(f"held-out accuracy {right / len(test_y):.4f} ({right} of {len(test_y)} images)", flush=True)
    Path("model").mkdir()
    Path("model/digits.pickle").write_bytes(pickle.dumps(network))
    Path("model/about.json").write_text(json.dumps({"epochs": epoch, "right": right, "tested": len(test_y)}))


if __name__ == "__main__":
    sys.exit(main())
