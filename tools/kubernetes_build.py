"""Kubernetes itself, built from its Go modules: one program that is apiserver, scheduler, controller-manager, kubelet.

    python -m tools.kubernetes_build            build it, unless it is there
    python -m tools.kubernetes_build --where    only say where it is, or would be

Nobody ships these programs where pip, npm or Debian would find them, so they are built once, from the modules that
`tools/kubernetes/go.sum` pins, and kept outside the checkout: in `$TAWTIN_KUBERNETES`, else in
`$XDG_CACHE_HOME/tawtin` or `~/.cache/tawtin`, in a folder that is named for the version and for what it was built of.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).parent / "kubernetes"
PARTS: Final = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
PROGRAM: Final = "kubernetes"
_STAMP: Final = "k8s.io/component-base/version"


class BuildError(Exception):
    """It could not be built; the message says why and what to do."""


def version() -> str:
    """The version that `go.mod` asks for, such as `1.35.4`. Raises BuildError."""
    found = re.search(
        r"^(?:require)?\s+k8s\.io/kubernetes v(\S+)$", (SOURCE / "go.mod").read_text("utf-8"), re.MULTILINE
    )
    if found is None:
        raise BuildError(f"{SOURCE}/go.mod requires no `k8s.io/kubernetes`")
    return found[1]


def folder() -> Path:
    """Where the programs are, or would be."""
    sources = hashlib.sha256()
    for name in ("go.mod", "go.sum", "main.go"):
        sources.update((SOURCE / name).read_bytes())
    own = os.environ.get("TAWTIN_KUBERNETES", "")
    cache = os.environ.get("XDG_CACHE_HOME", "") or "~/.cache"
    place = Path(own or Path(cache, "tawtin")).expanduser()
    return place / f"kubernetes-{version()}-{sources.hexdigest()[:12]}"


def missing() -> str:
    """What is not there; empty if everything is."""
    if all((folder() / name).exists() for name in PARTS):
        return ""
    return "needs: Kubernetes, built once by `python -m tools.kubernetes_build` (with Go 1.25 or newer)"


def build() -> Path:
    """Build what is not there yet; return its folder. Raises BuildError."""
    place = folder()
    if not missing():
        return place
    go = shutil.which("go")
    if go is None:
        raise BuildError("`go` is not on the PATH: install Go 1.25 or newer (https://go.dev/dl)")
    place.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
    try:
        _compile(go, made / PROGRAM)
        for name in PARTS:
            (made / name).symlink_to(PROGRAM)
        made.chmod(0o755)
        _move(made, place)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return place


def _compile(go: str, program: Path) -> None:
    major, minor, _ = version().split(".", 2)
    stamps = {"gitVersion": f"v{version()}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    flags = ["-s", "-w", *(f"-X {_STAMP}.{name}={value}" for name, value in stamps.items())]
    words = [go, "build", "-trimpath", "-mod=readonly", f"-ldflags={' '.join(flags)}", f"-o={program}", "."]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    done = subprocess.run(words, cwd=SOURCE, env=environment, check=False)
    if done.returncode:
        raise BuildError(f"`go build` ended with {done.returncode}; its lines above say why")


def _move(made: Path, place: Path) -> None:
    """The first one that is whole stays; whoever built at the same time throws the own one away."""
    try:
        made.rename(place)
    except OSError:
        if missing():  # the remains of an earlier try, or of a person's
            shutil.rmtree(place)
            made.rename(place)


def main() -> int:
    """Build, and say how long it took."""
    parser = argparse.ArgumentParser(description="build Kubernetes from its Go modules")
    parser.add_argument("--where", action="store_true", help="only say where it is, or would be")
    parser.add_argument("--if-possible", action="store_true", help="say what is missing, and be content")
    asked = parser.parse_args()
    if asked.where:
        print(folder())
        return 0
    if not missing():
        print(f"Kubernetes {version()} is there: {folder()}")
        return 0
    if asked.if_possible and shutil.which("go") is None:
        print(
            "Kubernetes is not built, and not tested: `go` is not on the PATH (https://go.dev/dl)",
            file=sys.stderr,
        )
        return 0
    print(f"building Kubernetes {version()} (about ten minutes on two cores; once): {folder()}", flush=True)
    began = time.monotonic()
    try:
        place = build()
    except BuildError as error:
        print(f"not built: {error}", file=sys.stderr)
        return 0 if asked.if_possible else 1
    size_mib = (place / PROGRAM).stat().st_size >> 20
    print(f"built in {time.monotonic() - began:.0f} s: {place} ({size_mib} MiB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
