"""Whether a spec that a peer sent may run here. It was parsed at its home, which nobody here has seen: it is read anew.

Types and ranges were checked as it was read. What is left is what an engine would take as a path, a name or a signal.
"""

from __future__ import annotations

import re
from typing import Final

from tawtin.model.workload import WorkloadSpec

SIGNALS: Final = ("SIGUSR1", "SIGUSR2", "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGCONT")
NODES_MAX: Final = 10_000
OPTIONS_MAX: Final = 64
ENVS_MAX: Final = 1_000
INPUTS_MAX: Final = 1_000
SCRIPT_CHARS_MAX: Final = 512 * 1024
_ARTIFACT: Final = re.compile(r"sha256:[0-9a-f]{64}")
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


def unsound(spec: WorkloadSpec) -> str:
    """Why `spec` may not run here as a guest; empty if it may."""
    wrong = _reads(spec)
    if wrong:
        return wrong
    if spec.service is not None or spec.secrets:
        return f"{'services' if spec.service is not None else 'secrets'} stay at home"
    if "\0" in spec.run or "\0" in spec.setup or len(spec.run) + len(spec.setup) > SCRIPT_CHARS_MAX:
        return "its script is too long, or holds a zero byte"
    if len(spec.envs) > ENVS_MAX:
        return f"it has more than {ENVS_MAX} environment variables"
    for name, value in spec.envs.items():
        if not _ENV_NAME.fullmatch(name) or "\0" in value:
            return f"`{name[:64]}` cannot be an environment variable"
    if spec.checkpoint is not None and spec.checkpoint.signal not in SIGNALS:
        return f"`{spec.checkpoint.signal[:64]}` is no signal for a checkpoint"
    if not 1 <= spec.demand.nodes <= NODES_MAX or len(spec.demand.options) > OPTIONS_MAX:
        return f"it asks for {spec.demand.nodes} nodes in {len(spec.demand.options)} ways"
    return ""


def _reads(spec: WorkloadSpec) -> str:
    """Why what it reads cannot be brought here; empty if it can."""
    data = spec.data
    if max(len(data.datasets), len(data.inputs)) > INPUTS_MAX:
        return f"it reads more than {INPUTS_MAX} artifacts"
    folder = [spec.workdir] if spec.workdir else []
    named = (each.artifact for each in (*spec.mounts, *data.inputs))
    for artifact in (*folder, *named):
        if not _ARTIFACT.fullmatch(artifact):
            return f"`{artifact[:80]}` is no artifact"
    return ""
