"""What an operator can set about every engine on a shared folder."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tawtin.model.base import Record

Positive = Annotated[int, msgspec.Meta(ge=1)]
Natural = Annotated[int, msgspec.Meta(ge=0)]


class ClusterSettings(Record, frozen=True, kw_only=True):
    """Settings of an engine on a shared folder."""

    root: str = ""
    """Absolute path of the folder for runs, logs and scripts. Every node must see it at the same path; empty for a
    folder below the data, which suits a cluster of one machine."""
    gpus_declared: bool = False
    """The cluster's GPUs are not real, which everything then says."""
    look_ms: Positive = 500
    """How often the runs' folders are looked at."""
    ask_ms: Positive = 2_000
    """How often the cluster is asked for the state of all jobs."""
    nodes_ms: Positive = 10_000
    """How often the cluster is asked for its nodes."""
    call_ms_max: Positive = 30_000
    """How long the cluster may take to answer."""
    submitters: Annotated[int, msgspec.Meta(ge=1, le=32)] = 4
    """How many jobs are prepared and submitted at a time."""
    vanished_ms: Positive = 60_000
    """A job that the cluster does not know any more, and whose end nobody wrote down, is given up after this time."""
    log_bytes_max: Positive = 64 << 20
    """Output kept of one run; what comes after it is counted and dropped."""
    retention_ms: Natural = 7 * 86_400_000
    """How long logs stay after the outcome was recorded."""
    retention_runs: Positive = 20_000
    """How many ended runs keep their logs at most."""
