"""One fold of the cross-validation: learn from three quarters of the images, be tested on the fourth.

Which fold is the index of this run in its array.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from digits import CLASSES, SEED, images, model, sklearn

FOLDS = 4
EPOCHS = 12


def main() -> None:
    fold = int(os.environ["SLURM_ARRAY_TASK_ID"])
    pictures, labels = images()
    folds = sklearn("model_selection").StratifiedKFold
    splits = list(folds(FOLDS, shuffle=True, random_state=SEED).split(pictures, labels))
    train, test = splits[fold]
    network = model(64)
    for epoch in range(1, EPOCHS + 1):
        network.partial_fit(pictures[train], labels[train], classes=CLASSES)
        if epoch % 4 == 0:
            print(f"fold {fold}: epoch {epoch} of {EPOCHS}, loss {network.loss_:.4f}", flush=True)
    right = int((network.predict(pictures[test]) == labels[test]).sum())
    print(f"fold {fold}: accuracy {right / len(test):.4f} ({right} of {len(test)} images)", flush=True)
    Path("fold.json").write_text(json.dumps({"fold": fold, "right": right, "tested": len(test)}))


if __name__ == "__main__":
    sys.exit(main())
