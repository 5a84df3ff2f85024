"""Engines on benches, by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tawtin.engines import manifest
from tawtin.engines.conformance import Bench
from tawtin.ports import EngineParts
from tawtin.store.artifacts import BlobArtifacts
from tawtin.store.blobs import LocalBlobs
from tools.kubernetes_nodes import IMAGE


def kubernetes_bench(kubeconfig: str, folder: Path, **more: Any) -> Bench:  # noqa: ANN401 - settings
    """The engine on a Kubernetes of this machine, whose nodes see `folder`."""
    table = {
        "kubeconfig": kubeconfig,
        "volume": {"hostPath": {"path": str(folder)}},
        "volume_path": str(folder),
        "expose": (str(folder / "shared"),),
        "image": IMAGE,
        "image_pull": "Never",
        "gpus_declared": True,
        "look_ms": 200,
        "ask_ms": 500,
        "nodes_ms": 500,
        **more,
    }
    return bench_of("kubernetes", table, folder)


def bench_of(use: str, table: dict[str, Any], folder: Path, folders: tuple[str, ...] = ()) -> Bench:
    """An engine of this kind with these settings, on a bench of its own."""
    found = manifest.found(folders)[use]
    artifacts = BlobArtifacts(LocalBlobs(folder / "blobs"))
    parts = EngineParts(name=use, root=str(folder / "engine"), mark=folder.name, artifacts=artifacts)
    shared = folder / "shared"
    shared.mkdir(exist_ok=True)
    return Bench(
        make=lambda: manifest.make(found, manifest.settings_of(found, table), parts),
        artifacts=artifacts,
        folder=folder,
        shared=shared,
    )
