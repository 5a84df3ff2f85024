"""When a GPU is sick, and what follows: quarantine, the end of runs that hold it, what is charged, its return.

An engine looks at its GPUs and lets `judge` say what is wrong with each; what it reports of a node names these faults.
The factory makes quarantines of faults that are news (`called_for`), offers the rest of the node (`offered`), ends what
runs on a sick GPU (`struck`), and leaves the time since the fault out of what is charged (`charged`). A quarantine ends
by an operator or by a burn-in job, never by itself, and a fault from before that is an old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from tawtin.core.seats import mask_of
from tawtin.core.state import State
from tawtin.model.base import Record
from tawtin.model.health import FaultKind, GpuFault, HealthLimits, Quarantine
from tawtin.model.reasons import Cause
from tawtin.model.resources import Node, NodeHealth, Shape
from tawtin.model.workload import Run, Usage

XIDS: Final[dict[int, str]] = {
    46: "it stopped processing",
    48: "its memory had an error of two bits, which cannot be corrected",
    62: "its micro-controller halted",
    63: "a row of its memory is to be replaced at its next reset",
    64: "a row of its memory could not be replaced",
    74: "a link to another GPU failed",
    79: "it has fallen off the bus",
    92: "its memory has many errors of one bit",
    94: "its memory had an error that hit one program alone",
    95: "its memory had an error that may have hit any program",
    110: "it reported a security fault",
    119: "its system processor does not answer",
    120: "its system processor failed",
    140: "its memory had an error that could not be recovered from",
    143: "it could not be initialised",
}
"""What the driver's error numbers mean; NVIDIA, "XID Errors" (docs.nvidia.com/deploy/xid-errors), in short.

Numbers that programs cause by themselves (13, 31, 43, 45 and so on) are not here: they say nothing of the GPU.
"""
HARDWARE_SLOWDOWNS: Final = 0x08 | 0x40 | 0x80
"""Of NVML's reasons for low clocks: hardware slowdown, for heat, and for lack of power. Caps of software are not."""


class Sample(Record, frozen=True, kw_only=True):
    """What a driver says of one GPU at one moment. None where it does not support the question."""

    lost: bool = False
    """It does not find it any more."""
    xids: tuple[tuple[int, int], ...] = ()
    """(number, when in milliseconds UTC) of errors since the last look."""
    ecc_uncorrected: int | None = None
    """Uncorrected memory errors since the driver was loaded or the GPU reset."""
    remap_pending: bool = False
    remap_failed: bool = False
    temperature_c: int | None = None
    slowdown_c: int | None = None
    """Where the driver begins to slow it down."""
    slowdowns: int = 0
    """NVML's reasons for its present clocks, as bits."""
    nvlinks: int | None = None
    """Links to other GPUs that are up."""


class Watched(Record, frozen=True, kw_only=True):
    """What is remembered of one GPU from look to look, and what is wrong with it."""

    ecc: int = 0
    """Errors that were counted already."""
    hot_since_ms: int | None = None
    slow_since_ms: int | None = None
    nvlinks: int = 0
    """The most links that were up."""
    faults: tuple[GpuFault, ...] = ()
    """Sorted by kind and code. Those of a state go when the state does; Xids stay until the machine starts anew."""


def judge(known: Watched, sample: Sample, limits: HealthLimits, now_ms: int) -> Watched:
    """What is wrong with a GPU after another look. A fault that goes on keeps the time at which it began."""
    told = [_xid(code, at_ms, limits) for code, at_ms in sample.xids]
    xids = {each.code: each for each in known.faults if each.kind is FaultKind.XID}
    xids |= {each.code: each for each in told if each is not None}
    if sample.lost:
        others = [each for each in known.faults if each.kind is not FaultKind.XID]
        lost = _fault(FaultKind.LOST, now_ms, "its driver does not find it any more")
        return _with(known, known.faults, [*others, *xids.values(), lost])
    hot = sample.slowdown_c and sample.temperature_c is not None and sample.temperature_c >= sample.slowdown_c
    slow = sample.slowdowns & HARDWARE_SLOWDOWNS
    hot_since = (known.hot_since_ms or now_ms) if hot else None
    slow_since = (known.slow_since_ms or now_ms) if slow else None
    links = max(known.nvlinks, sample.nvlinks or 0)
    found: list[GpuFault] = []
    counted = sample.ecc_uncorrected or 0
    before = known.ecc if counted >= known.ecc else 0  # fewer than before: it was reset, and counts anew
    fresh = limits.ecc_uncorrected and counted - before >= limits.ecc_uncorrected
    lasting = [each for each in known.faults if each.kind is FaultKind.ECC and counted >= known.ecc]
    if fresh:
        found.append(
            _fault(FaultKind.ECC, now_ms, f"{counted - before} uncorrected memory errors", code=counted)
        )
    if sample.remap_failed:
        found.append(_fault(FaultKind.ROW_REMAP, now_ms, "its memory could not be repaired", code=2))
    elif sample.remap_pending:
        why = "it must be reset so that its memory is repaired"
        found.append(_fault(FaultKind.ROW_REMAP, now_ms, why, code=1, fatal=False))
    if hot_since is not None and limits.hot_ms and now_ms - hot_since >= limits.hot_ms:
        why = f"it was at {sample.slowdown_c} °C or more, where it is slowed down, for {limits.hot_ms // 1000} s"
        found.append(_fault(FaultKind.TEMPERATURE, now_ms, why, fatal=False))
    if slow_since is not None and limits.throttled_ms and now_ms - slow_since >= limits.throttled_ms:
        why = f"its hardware slowed it down for {limits.throttled_ms // 1000} s"
        found.append(_fault(FaultKind.THROTTLED, now_ms, why, fatal=False))
    down = links - sample.nvlinks if sample.nvlinks is not None else 0
    if limits.nvlinks_down and down >= limits.nvlinks_down:
        why = f"{down} of its {links} links to other GPUs are down"
        found.append(_fault(FaultKind.NVLINK, now_ms, why, fatal=False))
    found += [*([] if fresh else lasting), *xids.values()]
    watched = Watched(
        ecc=counted if fresh or counted < known.ecc else known.ecc,
        hot_since_ms=hot_since,
        slow_since_ms=slow_since,
        nvlinks=links,
    )
    return _with(watched, known.faults, found)


def _xid(code: int, at_ms: int, limits: HealthLimits) -> GpuFault | None:
    fatal = code in limits.xids_fatal
    if not fatal and code not in limits.xids_worn:
        return None
    meaning = XIDS.get(code, "see NVIDIA's list of Xid errors")
    return _fault(FaultKind.XID, at_ms, f"Xid {code}: {meaning}", code=code, fatal=fatal)


def _fault(kind: FaultKind, at_ms: int, why: str, *, code: int = 0, fatal: bool = True) -> GpuFault:
    return GpuFault(index=0, kind=kind, at_ms=at_ms, fatal=fatal, code=code, why=why)


def _with(watched: Watched, before: Iterable[GpuFault], found: Iterable[GpuFault]) -> Watched:
    """A state that lasts keeps the fault that it was; an event is what was told last."""
    old = {(each.kind, each.code): each for each in before if each.kind is not FaultKind.XID}
    now = {(each.kind, each.code): each for each in found}
    kept = [old.get(name, each) for name, each in now.items()]
    return replace(watched, faults=tuple(sorted(kept, key=lambda each: (each.kind, each.code))))


# --- what the factory makes of it ------------------------------------------------------------------------------------


def gpu_name(node: Node, index: int) -> str:
    """What a quarantine calls a GPU."""
    return node.gpu_ids[index] if index < len(node.gpu_ids) else f"#{index}"


def indices(node: Node, quarantine: Quarantine) -> tuple[int, ...]:
    """The indices that a quarantine takes out of its node, all of them for the whole node."""
    return tuple(index for index in range(node.gpus) if quarantine.gpu in {"", gpu_name(node, index)})


def called_for(node: Node, known: Mapping[str, Quarantine]) -> list[Quarantine]:
    """The quarantines, new or graver than those that are `known`, that a reported node's faults call for."""
    found: dict[str, Quarantine] = {}
    for fault in sorted(node.gpu_faults, key=lambda each: (not each.fatal, each.at_ms)):
        if fault.index >= node.gpus:
            continue
        made = Quarantine(
            node=node.name,
            gpu=gpu_name(node, fault.index),
            kind=fault.kind,
            code=fault.code,
            why=fault.why,
            fatal=fault.fatal,
            since_ms=fault.at_ms,
        )
        old = known.get(made.key)
        if made.key in found or (old is not None and _is_old(fault, old)):
            continue
        if old is not None:
            made = replace(made, tried=old.tried if old.out else 0, version=old.version + 1)
        found[made.key] = made
    return [found[key] for key in sorted(found)]


def _is_old(fault: GpuFault, known: Quarantine) -> bool:
    """Whether a fault is no news: it is what the GPU is out for, less than that, or from before its return."""
    if known.returned_ms is not None:
        return fault.at_ms <= known.returned_ms
    return (
        known.fatal or not fault.fatal or bool(known.trial)
    )  # what comes during a trial is looked at when it ends


def offered(node: Node, quarantines: Iterable[Quarantine]) -> Node:
    """A reported node as it is offered: without what is in quarantine."""
    sick, health = dict.fromkeys(node.gpus_sick), node.health
    for each in quarantines:
        if each.node == node.name and each.out:
            sick.update(dict.fromkeys(indices(node, each)))
            if not each.gpu and health is NodeHealth.READY:
                health = NodeHealth.SICK
    return replace(node, gpus_sick=tuple(sorted(sick)), health=health)


def mended(node: Node, quarantines: Iterable[Quarantine]) -> Node:
    """A node as it would be offered if these, which are all of it that are out, were not."""
    mine = [each for each in quarantines if each.node == node.name and each.out]
    out = {index for each in mine for index in indices(node, each)}
    whole = node.health is NodeHealth.SICK and any(not each.gpu for each in mine)
    return replace(
        node,
        gpus_sick=tuple(index for index in node.gpus_sick if index not in out),
        health=NodeHealth.READY if whole else node.health,
    )


def struck(state: State) -> Iterator[tuple[str, Cause]]:
    """Live runs that hold what is in quarantine, and what they are ended for; burn-in jobs go on."""
    for key in sorted(state.quarantines):
        quarantine = state.quarantines[key]
        node, seat = state.nodes.get(quarantine.node), state.seats.get(quarantine.node)
        if not quarantine.out or node is None or seat is None:
            continue
        mask = mask_of(indices(node, quarantine))
        for run in sorted(seat.held):
            workload = state.workloads[state.runs[run].workload]
            if workload.tries == key or (quarantine.gpu and not seat.held[run].mask & mask):
                continue
            if quarantine.fatal:
                yield run, Cause.GPU_FAILED
            elif workload.spec.preemptible:
                yield run, Cause.DRAINED


def fault_ms(state: State, run: Run) -> int | None:
    """When a GPU that the run holds, or its node, became worthless; None if none did since it was placed."""
    times = [
        each.since_ms
        for each in state.quarantines.values()
        if each.out and each.fatal and each.since_ms >= run.placed_ms and _holds(state, run, each)
    ]
    return min(times, default=None)


def _holds(state: State, run: Run, quarantine: Quarantine) -> bool:
    node = state.nodes.get(quarantine.node)
    if node is None:
        return False
    out = indices(node, quarantine)
    return any(
        slot.node == quarantine.node and (not quarantine.gpu or any(index in out for index in slot.gpus))
        for slot in run.slots
    )


def charged(usage: Usage, run: Run, ended_ms: int, since_ms: int) -> Usage:
    """What a run is charged for whose GPU was worth nothing since `since_ms`: time on it after that is left out.

    Processor time, bytes, peaks and energy stay what was measured.
    """
    wall_ms = max(0, min(usage.wall_ms, usage.wall_ms - (ended_ms - since_ms)))
    gpus = sum(len(slot.gpus) for slot in run.slots)
    return replace(usage, wall_ms=wall_ms, gpu_ms=min(usage.gpu_ms, gpus * wall_ms))


def tried(state: State, run: Run, name: str) -> tuple[int, ...] | None:
    """The GPUs in quarantine on the node `name` that this run may have as their burn-in job; None if it is not."""
    quarantine = state.quarantines.get(state.workloads[run.workload].tries)
    if (
        quarantine is None
        or quarantine.trial != run.workload
        or quarantine.node != name
        or not quarantine.out
    ):
        return ()
    return indices(state.nodes[name], quarantine)


# --- burn-in ---------------------------------------------------------------------------------------------------------


def trial_shape(node: Node, quarantine: Quarantine) -> Shape:
    """What a burn-in job of a GPU, or of all GPUs of a node, takes: as much beside them as a job that does not say."""
    gpus = len(indices(node, quarantine))
    parts = gpus or 1
    whole = node.gpus or 1
    return Shape(
        gpu_model=node.gpu_model if gpus else "",
        gpus=gpus,
        cpus_milli=min(2000 * parts, node.cpus_milli * parts // whole),
        memory_mib=min(8192 * parts, node.memory_mib * parts // whole),
    )


def after_trial(
    state: State, quarantine: Quarantine, run: Run, *, passed: bool, said: str, now_ms: int
) -> Quarantine:
    """What becomes of a quarantine when its burn-in job has ended. A fault during it counts as one of the job."""
    node = state.nodes.get(quarantine.node)
    out = indices(node, quarantine) if node is not None else ()
    begun_ms = run.started_ms if run.started_ms is not None else run.placed_ms
    faults = [
        each for each in (node.gpu_faults if node else ()) if each.index in out and each.at_ms >= begun_ms
    ]
    ended = replace(quarantine, trial="", version=quarantine.version + 1)
    if passed and not faults:
        return replace(ended, returned_ms=now_ms, returned_by="")
    worst = min(faults, key=lambda each: (not each.fatal, each.at_ms), default=None)
    why = (
        f"during its burn-in job: {worst.why}"
        if worst is not None
        else f"its burn-in job did not pass: {said}"
    )
    return replace(
        ended,
        kind=worst.kind if worst is not None else FaultKind.BURN_IN,
        code=worst.code if worst is not None else 0,
        fatal=quarantine.fatal or (worst is not None and worst.fatal),
        why=why,
        tried=quarantine.tried + 1,
    )
