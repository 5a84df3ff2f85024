"""A spec as written becomes the model's record: units, paths and names are checked and made plain.

Everything that reaches a factory goes through here, whatever it was written in. What is wrong is collected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from tawtin.model.artifact import DATASET_NAME
from tawtin.model.codes import COUNTRIES, COUNTRY_HINTS
from tawtin.model.rules import DATA_CLASSES
from tawtin.model.workload import (
    SANDBOX_DATASETS,
    Checkpoint,
    Data,
    Mount,
    OnPartition,
    Output,
    Residency,
    WorkloadSpec,
    WorkloadType,
)
from tawtin.spec.errors import Problems, shown
from tawtin.spec.fields import ENV_NAME, LABEL_NAME, SIGNALS
from tawtin.spec.job import Job, Parsed
from tawtin.spec.kinds import MAP_MAX
from tawtin.spec.paths import ARTIFACT, MOUNTS_MAX, filled, inside, nested, source, target
from tawtin.spec.service import serving, type_of
from tawtin.spec.shapes import demand, spot
from tawtin.spec.units import ARRAY_MAX, array_indices, duration_ms, money
from tawtin.spec.workspace import program, workspace

NAME_MAX: Final = 128
SCRIPT_CHARS_MAX: Final = 512 * 1024
ENV_CHARS_MAX: Final = 100_000
TEXT_MAX: Final = 1024
LABELS_MAX: Final = 64
STOP_GRACE_MS: Final = 10_000
CHECKPOINT_GRACE_MS: Final = 30_000
GRACE_MS_MAX: Final = 3_600_000
_ON_PARTITION: Final = {each.value: each for each in OnPartition}
_DATA: Final = Data()
_RESIDENCY: Final = Residency()
T = TypeVar("T")


def build(job: Job, problems: Problems, *, name: str = "job", wire: bool = False) -> Parsed:
    """Return `job` understood; `name` serves where it has none. On the wire, local paths are refused.

    Raises SpecError with everything that `problems` collected, here or before.
    """
    secret_values = _secrets(job, problems)
    envs = _envs(job, problems)
    workdir, workdir_local = _workdir(job, envs, problems, wire=wire)
    mounts, mounts_local, file_mounts = _mounts(job, envs, problems, wire=wire)
    array_size, array = _array(job, problems)
    budget_minor, currency = _budget(job, problems)
    priority = job.resources.priority if job.priority is None else job.priority
    asked = type_of(job, problems)
    spec = WorkloadSpec(
        name=_label("name", name if job.name is None else job.name, problems),
        type=asked,
        service=serving(job, asked, problems),
        workspace=workspace(job, asked, problems),
        run=_script("run", program(job, asked), problems),
        setup=_script("setup", job.setup, problems),
        envs=envs,
        secrets=tuple(sorted(secret_values)),
        workdir=workdir,
        mounts=mounts,
        outputs=_outputs(job, problems),
        demand=demand(job, problems),
        max_duration_ms=_duration("max_duration", job.max_duration, None, problems, least=1),
        stop_grace_ms=_duration("stop_grace", job.stop_grace, STOP_GRACE_MS, problems, most=GRACE_MS_MAX)
        or 0,
        priority=_priority(job, priority or 0, problems),
        preemptible=_preemptible(job, problems),
        checkpoint=_checkpoint(job, problems),
        network=bool(job.network) or asked in {WorkloadType.SERVICE, WorkloadType.WORKSPACE},
        on_partition=_word("on_partition", job.on_partition, _ON_PARTITION, OnPartition.WAIT, problems),
        data=_data(job, {path for path, _ in mounts_local} | {mount.path for mount in mounts}, problems),
        residency=_residency(job, problems),
        budget_minor=budget_minor,
        project=_label("project", job.project, problems) if job.project else "",
        labels=_labels(job, problems),
    )
    runs = asked in {WorkloadType.JOB, WorkloadType.SERVICE}
    if not job.run.strip() and runs and "run" not in problems.marks:
        problems.add("run", "`run` is missing; say what is to be run")
    elif not job.run.strip() and runs:
        problems.add("run", "`run` is empty; say what is to be run")
    if job.resources.job_recovery not in {None, "failover"}:
        problems.add(
            "resources.job_recovery", f"{shown(str(job.resources.job_recovery))} is not `failover`; remove it"
        )
    problems.check()
    if not wire:
        job = msgspec.structs.replace(
            job,
            name=spec.name,
            workdir=workdir or workdir_local or "",
            file_mounts=file_mounts,
            secrets=dict(job.secrets),
        )
    return Parsed(
        spec=spec,
        job=job,
        array_size=array_size,
        array=array,
        workdir_local=workdir_local,
        mounts_local=mounts_local,
        secret_values=secret_values,
        budget_currency=currency,
    )


def _try(turn: Callable[[str], T], text: str, field: str, otherwise: T, problems: Problems) -> T:
    try:
        return turn(text)
    except ValueError as error:
        problems.add(field, str(error))
        return otherwise


def _text(field: str, text: str, most: int, problems: Problems) -> str:
    if len(text) > most:
        problems.add(
            field, f"this is longer than {most} characters; shorten it, or put it into a file of `workdir`"
        )
    if "\0" in text:
        problems.add(field, "this holds a NUL character, which no program can be given; remove it")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            problems.add(field, "this holds half of a character (a lone surrogate); remove it")
            return ""
    return text


def _script(field: str, text: str, problems: Problems) -> str:
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    return _text(field, text, SCRIPT_CHARS_MAX, problems)


def _label(field: str, text: str, problems: Problems) -> str:
    if not text or len(text) > NAME_MAX or not text.isprintable() or text.strip() != text:
        problems.add(
            field, f"{shown(text)} is no name: 1 to {NAME_MAX} printable characters, no space at the ends"
        )
    return text


def _word(field: str, text: str, words: dict[str, T], otherwise: T, problems: Problems) -> T:
    found = words.get(text)
    if found is None:
        known = ", ".join(f"`{word}`" for word in words)
        problems.add(field, f"{shown(text)} is not one of {known}")
        return otherwise
    return found


def _duration(
    field: str,
    value: str | int | None,
    otherwise: int | None,
    problems: Problems,
    *,
    least: int = 0,
    most: int = 0,
) -> int | None:
    if value is None:
        return otherwise
    ms = _try(duration_ms, str(value), field, otherwise, problems)
    if ms is not None and (ms < least or (most and ms > most)):
        problems.add(
            field,
            f"{shown(str(value))} is too "
            + ("short; give it some time" if ms < least else "long; an hour is the most"),
        )
        return otherwise
    return ms


def _envs(job: Job, problems: Problems) -> dict[str, str]:
    if len(job.envs) > MAP_MAX:
        problems.add("envs", f"there are more than {MAP_MAX}; put them into a file of `workdir`")
        return {}
    found: dict[str, str] = {}
    for name, value in job.envs.items():
        field = f"envs.{name}"
        if not ENV_NAME.fullmatch(name):
            problems.add(field, f"{shown(name)} is not a name of letters, digits and `_`")
        elif name in job.secrets:
            problems.add(field, f"{shown(name)} is among `secrets` as well; remove one")
        elif value is None:
            if field not in problems.marks:
                problems.add(field, f"{shown(name)} has no value; give it one")
        else:
            found[name] = _text(field, value, ENV_CHARS_MAX, problems)
    return found


def _secrets(job: Job, problems: Problems) -> dict[str, str]:
    found: dict[str, str] = {}
    if not job.secrets:
        return found
    if len(job.secrets) > MAP_MAX:
        problems.add("secrets", f"there are more than {MAP_MAX}; put them into one")
        return found
    for name, value in job.secrets.items():
        field = f"secrets.{name}"
        if not ENV_NAME.fullmatch(name):
            problems.add(field, f"{shown(name)} is not a name of letters, digits and `_`")
        elif value is None:
            if "secrets" not in problems.marks:
                problems.add(field, f"{shown(name)} has no value; give it with `--secret {name}=...`")
        else:
            found[name] = _text(field, value, ENV_CHARS_MAX, problems)
    return found


def _local(field: str, path: str, problems: Problems) -> None:
    problems.add(
        field,
        f"{shown(path)} is a path on your machine, which a factory cannot read; upload it, and "
        "write the artifact's `sha256:...` id",
    )


def _workdir(job: Job, envs: dict[str, str], problems: Problems, *, wire: bool) -> tuple[str, str | None]:
    if not job.workdir:
        return "", None
    path = _try(lambda text: source(filled(text, envs, job.secrets)), job.workdir, "workdir", "", problems)
    if not path or ARTIFACT.fullmatch(path):
        return path, None
    if wire:
        _local("workdir", path, problems)
    return "", path


def _mounts(
    job: Job, envs: dict[str, str], problems: Problems, *, wire: bool
) -> tuple[tuple[Mount, ...], tuple[tuple[str, str], ...], dict[str, str]]:
    if not job.file_mounts:
        return (), (), {}
    if len(job.file_mounts) > MOUNTS_MAX:
        problems.add("file_mounts", f"there are more than {MOUNTS_MAX}; mount folders that hold several")
        return (), (), {}
    found: dict[str, str] = {}
    for where, what in job.file_mounts.items():
        field = f"file_mounts.{where}"
        place = _try(lambda text: target(filled(text, envs, job.secrets)), where, field, "", problems)
        from_ = _try(lambda text: source(filled(text, envs, job.secrets)), what, field, "", problems)
        if not place or not from_:
            continue
        if place in found:
            problems.add(field, f"something else is mounted at {shown(place)} as well; choose another path")
        elif wire and not ARTIFACT.fullmatch(from_):
            _local(field, from_, problems)
        found[place] = from_
    if (hidden := nested(list(found))) is not None:
        problems.add(
            "file_mounts",
            f"{shown(hidden)} lies inside another mount, and mounts are read-only; mount it elsewhere",
        )
    mounts = tuple(
        Mount(path=place, artifact=what) for place, what in found.items() if ARTIFACT.fullmatch(what)
    )
    local = tuple((place, what) for place, what in found.items() if not ARTIFACT.fullmatch(what))
    return mounts, local, found


def _outputs(job: Job, problems: Problems) -> tuple[Output, ...]:
    if not job.outputs:
        return ()
    if len(job.outputs) > MOUNTS_MAX:
        problems.add("outputs", f"there are more than {MOUNTS_MAX}; keep folders that hold several")
        return ()
    found: dict[str, Output] = {}
    for number, each in enumerate(job.outputs):
        field = f"outputs.{each.name}" if f"outputs.{each.name}" in problems.marks else f"outputs[{number}]"
        name = _label(field, each.name, problems)
        if "/" in name:
            problems.add(field, f"{shown(name)} is no name of an artifact; leave out `/`")
        if name in found:
            problems.add(field, f"two outputs are called {shown(name)}; write them as `name: path`")
        found[name] = Output(name=name, path=_try(inside, each.path, field, "out", problems))
    return tuple(found.values())


def _array(job: Job, problems: Problems) -> tuple[int | None, tuple[int, ...]]:
    value = job.array
    if value is None:
        return None, ()
    text = str(value)
    if isinstance(value, list):
        if not value or len(value) > ARRAY_MAX or not all(0 <= each <= 999_999 for each in value):
            problems.add("array", f"an array has 1 to {ARRAY_MAX} members, of indices from 0 to 999999")
            return None, ()
        indices = tuple(sorted(set(value)))
    elif text.isdigit() and len(text) <= 9:
        if not 1 <= int(text) <= ARRAY_MAX:
            problems.add("array", f"`{text}` members are outside of 1 to {ARRAY_MAX}")
            return None, ()
        return int(text), ()
    else:
        indices = _try(array_indices, text, "array", (), problems)
    return len(indices), () if indices == tuple(range(len(indices))) else indices


def _budget(job: Job, problems: Problems) -> tuple[int | None, str]:
    if job.budget is None:
        return None, ""
    return _try(money, job.budget, "budget", (None, ""), problems)


def _priority(job: Job, priority: int, problems: Problems) -> int:
    if job.priority is not None and job.resources.priority is not None:
        problems.add("priority", "`resources.priority` is given as well, and means the same; remove one")
    if not -1000 <= priority <= 1000:
        problems.add("priority", f"`{priority}` is outside of -1000 to 1000")
        return 0
    return priority


def _preemptible(job: Job, problems: Problems) -> bool:
    by_spot = spot(job)
    if job.preemptible is not None and by_spot not in {None, job.preemptible}:
        problems.add("preemptible", "`resources.use_spot` says the opposite; remove one")
    said = job.preemptible if job.preemptible is not None else by_spot
    return True if said is None else said


def _checkpoint(job: Job, problems: Problems) -> Checkpoint | None:
    if job.checkpoint is None:
        return None
    signal = (
        job.checkpoint.signal if job.checkpoint.signal.startswith("SIG") else f"SIG{job.checkpoint.signal}"
    )
    if signal not in SIGNALS:
        problems.add(
            "checkpoint.signal", f"{shown(job.checkpoint.signal)} is not one of {', '.join(SIGNALS)}"
        )
    grace = _duration(
        "checkpoint.grace", job.checkpoint.grace, CHECKPOINT_GRACE_MS, problems, most=GRACE_MS_MAX
    )
    return Checkpoint(signal=signal, grace_ms=grace or 0)


def _country(field: str, code: str, problems: Problems) -> str:
    upper = code.upper()
    if upper not in COUNTRIES:
        hint = COUNTRY_HINTS.get(upper)
        why = (
            f"write `{hint}`" if hint and len(hint) == 2 else "write `MA` for Morocco, `ZA` for South Africa"
        )
        why = f"write {hint}" if hint and len(hint) > 2 else why
        problems.add(field, f"{shown(code)} is no country of ISO 3166-1; {why}")
    return upper


def _residency(job: Job, problems: Problems) -> Residency:
    wish = job.residency
    if not wish.allow and not wish.deny:
        return _RESIDENCY
    found: dict[str, tuple[str, ...]] = {}
    for side, codes in (("allow", wish.allow), ("deny", wish.deny)):
        upper = [
            _country(
                field if (field := f"residency.{side}[{number}]") in problems.marks else f"residency.{side}",
                code,
                problems,
            )
            for number, code in enumerate(codes)
        ]
        found[side] = tuple(dict.fromkeys(upper))
    return Residency(allow=found["allow"], deny=found["deny"])


def _data(job: Job, mounted: set[str], problems: Problems) -> Data:
    use = job.data
    if use.data_class == "public" and not use.origin and not use.purpose and not use.datasets:
        return _DATA
    if use.data_class not in DATA_CLASSES:
        problems.add("data.class", f"{shown(use.data_class)} is not one of {', '.join(DATA_CLASSES)}")
    _datasets(use.datasets, mounted, problems)
    return Data(
        data_class=use.data_class,
        origin=_country("data.origin", use.origin, problems) if use.origin else "",
        purpose=_text("data.purpose", use.purpose, TEXT_MAX, problems),
        datasets=tuple(use.datasets),
    )


def _datasets(names: list[str], mounted: set[str], problems: Problems) -> None:
    if len(names) + len(mounted) > MOUNTS_MAX:
        problems.add("data.datasets", f"with `file_mounts` there are more than {MOUNTS_MAX}; make some one")
    paths = sorted(mounted)
    for number, name in enumerate(names):
        field, path = f"data.datasets[{number}]", f"{SANDBOX_DATASETS}/{name}"
        if not DATASET_NAME.fullmatch(name):
            problems.add(
                field, f"{shown(name)} is no name of a dataset: up to 63 letters, digits, `_`, `.` and `-`"
            )
        elif name in names[:number]:
            problems.add(field, f"{shown(name)} is read already; remove it here")
        elif path in mounted or nested([*paths, path]) is not None:
            problems.add(
                field, f"`file_mounts` has something at {shown(path)} as well; choose another path for that"
            )


def _labels(job: Job, problems: Problems) -> dict[str, str]:
    if not job.labels and not job.resources.labels:
        return {}
    found = {**job.resources.labels, **job.labels}
    if len(found) > LABELS_MAX:
        problems.add("labels", f"there are more than {LABELS_MAX}")
    for name, value in found.items():
        field = f"labels.{name}"
        if not LABEL_NAME.fullmatch(name):
            problems.add(field, f"{shown(name)} is not a label of letters, digits, `_`, `.`, `/` and `-`")
        _text(field, value, TEXT_MAX, problems)
    return found
