"""A spec on its way to the factory: read it here, where lines have numbers, and put the plan into words."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tawtin.cli import exits, output, session
from tawtin.spec import Job, Parsed, Resources, SpecError, parse_any, parse_job

if TYPE_CHECKING:
    from collections.abc import Generator

    from tawtin.model.views import Considered, PlanView, WhoAmI

UNKNOWN_DATASET = "UnknownDataset"
SPEC_BYTES_MAX = 4 << 20


def read_file(path: str, *, envs: dict[str, str], secrets: dict[str, str]) -> Parsed:
    """Return the spec in a YAML file or an sbatch script. Raises Fault with `file:line:column: field: message`."""
    try:
        with Path(path).open("rb") as file:
            body = file.read(SPEC_BYTES_MAX)
    except OSError as error:
        raise exits.Fault(f"cannot read `{path}`: {(error.strerror or str(error)).lower()}") from None
    try:
        return parse_any(body, path, envs=envs, secrets=secrets)
    except SpecError as error:
        raise fault(error) from None


def inline(
    command: list[str],
    *,
    name: str | None,
    gpus: str | None,
    cpus: str | None,
    memory: str | None,
    duration: str | None,
    envs: dict[str, str],
    secrets: dict[str, str],
) -> Parsed:
    """Return the spec of a command after `--`. Raises Fault."""
    import shlex

    accelerators = gpus if gpus is None or not gpus.isdecimal() else f"any:{gpus}"
    try:
        return parse_job(
            Job(
                name=name or Path(command[0]).name,
                run=shlex.join(command),
                envs=dict(envs),
                secrets=dict(secrets),
                max_duration=duration,
                resources=Resources(accelerators=accelerators, cpus=cpus, memory=memory),
            )
        )
    except SpecError as error:
        raise fault(error) from None


def fault(error: SpecError) -> exits.Fault:
    """Return what is wrong with a spec, for people."""
    return exits.Fault(
        str(error), exits.USAGE, hint="nothing was submitted; docs/reference/spec.md has every field"
    )


@contextmanager
def placed(parsed: Parsed) -> Generator[None]:
    """Say in which line of the spec it is what only the factory could find wrong with a field. Raises Fault."""
    from tawtin.client.errors import ApiError
    from tawtin.spec.errors import one_line, placed

    try:
        yield
    except ApiError as error:
        if error.token != UNKNOWN_DATASET:
            raise
        lines = [one_line(each) for each in placed(error.problem.errors, parsed.file, parsed.marks)]
        raise exits.Fault(
            "\n".join(lines), exits.USAGE, token=error.token, hint="nothing was submitted"
        ) from None


def plan_body(parsed: Parsed) -> bytes:
    """Return the body that asks for a plan: without the folders that are uploaded only after it was agreed to."""
    here = {path for path, _ in parsed.mounts_local}
    there = {path: artifact for path, artifact in parsed.job.file_mounts.items() if path not in here}
    workdir = "" if parsed.workdir_local is not None else parsed.job.workdir
    return msgspec.structs.replace(parsed.job, workdir=workdir, file_mounts=there).to_json()


def words(parsed: Parsed, view: PlanView, who: WhoAmI) -> list[str]:
    """Return the plan for people."""
    spec = parsed.spec
    shape = view.shape or spec.demand.options[0]
    count = f", an array of {parsed.array_size}" if parsed.array_size else ""
    lines = [f"plan for `{output.clean(spec.name)}`{count}, as tenant {who.tenant}"]
    where = ", ".join(dict.fromkeys(slot.node for slot in view.slots))
    lines.append(f"  where    {who.factory} ({who.country})" + (f", node {where}" if where else ""))
    lines.append(f"  law      {'allowed' if view.lawful else 'REFUSED'}: {view.verdict}")
    for number, each in enumerate(view.inputs):
        lines.append(f"  {'reads' if not number else '':<9}{session.input_words(each)}")
    lines.append(f"  takes    {session.shape_words(shape, spec.demand.nodes)}")
    if view.declared and shape.gpus:
        lines.append("           THESE GPUS ARE DECLARED BY THE OPERATOR, NOT REAL: nothing computes on them")
    lines.append(f"  price    {_price(view, spec.demand.nodes)}")
    lines.append(f"  network  {'yes' if spec.network else 'none'}")
    if not view.isolated:
        lines.append("  sandbox  NONE: this factory does not keep runs apart")
    if view.starts_now:
        lines.append("  start    now")
    elif view.waiting:
        first, *rest = session.waiting_words(view.waiting, int(time.time() * 1000))
        lines.append(f"  waits    {first}")
        lines += [f"           {each}" for each in rest]
    if len(view.places) > 1:
        lines += ["  factories that were considered:", *(f"  {line}" for line in place_lines(view.places))]
    lines += [f"  note     {warning}" for warning in dict.fromkeys((*parsed.warnings, *view.warnings))]
    return lines


def place_lines(places: tuple[Considered, ...]) -> list[str]:
    """Return every factory that was considered, with the rule that allows or refuses it."""
    lines: list[str] = []
    for place in places:
        parts = ["allowed" if place.allowed else "REFUSED"]
        if place.rate is not None and place.allowed:
            hourly = output.amount(place.rate.minor_per_gpu_hour, place.rate.currency)
            parts.append(f"{'has room' if place.room else 'says it has no room'}, {hourly} a GPU hour")
        elif place.allowed and not place.here:
            parts.append("nothing was heard of what it has")
        if place.transfer_bytes and place.allowed:
            moved = f"{place.transfer_bytes / 1e6:.1f} MB to bring there"
            parts.append(f"{moved}, {place.transfer_ms / 1000:.1f} s")
        if place.latency_ms is not None:
            parts.append(f"{place.latency_ms} ms away")
        if place.carbon_g_per_kwh is not None:
            parts.append(f"{place.carbon_g_per_kwh} g CO2 a kWh")
        if place.score_ms is not None and place.allowed:
            parts.append(f"score {place.score_ms / 1000:.1f} s")
        cited = f" [{place.citation}]" if place.citation and place.citation not in place.sentence else ""
        lines.append(f"  {place.factory} ({place.country}): {'; '.join(parts)}")
        lines.append(f"    {output.clean(place.sentence)}{cited}")
    return lines


def _price(view: PlanView, nodes: int) -> str:
    rate, shape = view.rate, view.shape
    if shape is None:
        return "known when it has a place"
    parts: list[str] = []
    if shape.gpus:
        parts.append(
            f"{output.amount(rate.minor_per_gpu_hour * shape.gpus * nodes, rate.currency)} an hour for GPUs"
        )
    if rate.minor_per_cpu_hour or not parts:
        hourly = rate.minor_per_cpu_hour * shape.cpus_milli * nodes // 1000
        parts.append(f"{output.amount(hourly, rate.currency)} an hour for processors")
    if view.cost_minor_max is None:
        return " + ".join(parts) + "; no limit, as the spec has no max_duration"
    return " + ".join(parts) + f"; at most {output.amount(view.cost_minor_max, rate.currency)}"
