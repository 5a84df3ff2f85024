"""A look at what is special about a Slurm set-up: programs, configuration, version, partitions, rights."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tawtin.engines.shared.cluster import ClusterDownError, ClusterError, ClusterRefusedError
from tawtin.engines.slurm import words
from tawtin.engines.slurm.client import PROGRAMS, Slurm
from tawtin.engines.slurm.settings import SlurmSettings
from tawtin.model.findings import Finding, fault, ok

_OLDEST: Final = (22, 5)
_CONF: Final = "/etc/slurm/slurm.conf"
_MUNGE: Final = "/run/munge/munge.socket.2"
_REFUSED: Final = (
    ("account", "ask for an association: sacctmgr add user {user} account=..., or mend `account`"),
    ("qos", "name a quality of service that the account may use, or leave `qos` out"),
    ("reservation", "name a reservation that is there: scontrol show reservations"),
)


def look(settings: SlurmSettings, slurm: Slurm) -> Iterator[Finding]:
    """Everything that Slurm itself can tell without a job."""
    missing = [name for name in PROGRAMS if not slurm.program(name)]
    if missing:
        where = f" in {settings.programs}" if settings.programs else ""
        mend = 'install slurm-client (Debian), or say where they are: programs = "/opt/slurm/bin"'
        yield fault("programs", f"`{'`, `'.join(missing)}` not found{where}", mend)
        return
    if settings.conf and not os.access(settings.conf, os.R_OK):
        mend = "copy the cluster's slurm.conf there, or mend `conf`"
        yield fault("configuration", f"`{settings.conf}` is not there, or cannot be read", mend)
        return
    try:
        version = slurm.call("sbatch", "--version").strip()
    except ClusterError as error:
        yield fault("programs", f"`sbatch --version` fails: {error}", "mend what the message names")
        return
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers < _OLDEST:
        yield fault("programs", f"{version} is older than 22.05", "install a newer Slurm")
        return
    yield ok("programs", version)
    munge = _munge(settings)
    if munge:
        yield fault("munge", munge, "start munged here with the cluster's key: systemctl start munge")
        return
    yield from _partitions(settings, slurm)


def _partitions(settings: SlurmSettings, slurm: Slurm) -> Iterator[Finding]:
    try:
        partitions = slurm.partitions()
    except ClusterError:
        return  # the look at the cluster says what is wrong
    there = {each.name for each in partitions}
    for name in settings.partitions:
        if name not in there:
            mend = f"mend `partitions`; there is {', '.join(sorted(there))}"
            yield fault("partitions", f"there is no partition `{name}`", mend)
            return
    usable = words.usable(settings, partitions)
    if not usable:
        mend = "scontrol update partition=NAME state=up, or name another one"
        yield fault("partitions", f"none of {', '.join(sorted(settings.partitions or there))} is up", mend)
        return
    down = [name for name in settings.partitions if name not in {each.name for each in usable}]
    if down:
        mend = f"scontrol update partition={down[0]} state=up, or take it out of `partitions`"
        yield fault("partitions", f"`{down[0]}` is not up", mend)
        return
    yield ok("partitions", ", ".join(each.name for each in usable))
    yield from _rights(settings, slurm, usable[0].name)


def _munge(settings: SlurmSettings) -> str:
    """What is wrong with the daemon that signs for this user; empty if nothing is, or if another way is used."""
    path = settings.conf or os.environ.get("SLURM_CONF", "") or _CONF
    try:
        text = Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
    if re.search(r"^\s*AuthType\s*=\s*(?!auth/munge)", text, re.MULTILINE | re.IGNORECASE):
        return ""
    named = re.search(r"^\s*AuthInfo\s*=.*?socket=([^,\s]+)", text, re.MULTILINE | re.IGNORECASE)
    place = named[1] if named else _MUNGE
    with socket.socket(socket.AF_UNIX) as tried:
        tried.settimeout(5)
        try:
            tried.connect(place)
        except OSError as error:
            return f"munged is not up at `{place}`: {(error.strerror or str(error)).lower()}"
    return ""


def _rights(settings: SlurmSettings, slurm: Slurm, partition: str) -> Iterator[Finding]:
    asked = [f"--partition={partition}", "--time=1", *settings.options]
    asked += [f"--account={settings.account}"] if settings.account else []
    asked += [f"--qos={settings.qos}"] if settings.qos else []
    try:
        slurm.call("sbatch", "--test-only", "--wrap=true", *asked)
    except ClusterRefusedError as error:
        said = str(error)
        lower = said.lower()
        if "node configuration" in lower:
            return  # no node takes work, which the look at nodes says
        for word, mend in _REFUSED:
            if word in lower:
                yield fault("rights", f"a job would be refused: {said}", mend.format(user=os.geteuid()))
                return
        mend = f"mend `options` ({' '.join(settings.options)})" if settings.options else "mend what it names"
        yield fault("rights", f"a job would be refused: {said}", mend)
    except ClusterDownError:
        return
    else:
        yield ok("rights", f"a job may be sent to {partition}")
