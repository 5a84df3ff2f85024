"""sbatch scripts: `#SBATCH` lines become the fields of a spec, and the script itself becomes `run`.

An option without a meaning here is refused by name and line. Where Slurm counts tasks, a spec counts what each node
gets: processors and memory are multiplied out, GPUs divided by nodes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from tawtin.model.views import FieldError
from tawtin.spec.advice import warnings_for
from tawtin.spec.build import build
from tawtin.spec.errors import Problems, SpecError, shown
from tawtin.spec.fields import ENV_NAME
from tawtin.spec.job import Job, Parsed, Resources, Save
from tawtin.spec.parse import decode, stem
from tawtin.spec.sbatch_options import FLAGS, IGNORED, LONG, REFUSED
from tawtin.spec.units import array_indices

_DIRECTIVE: Final = re.compile(r"#SBATCH(?:\s+(.*))?$")
_TIME: Final = re.compile(r"(?:(\d{1,5})-)?(\d{1,7})(?::(\d{1,2}))?(?::(\d{1,2}))?", re.ASCII)
_MEMORY: Final = re.compile(r"(\d{1,12})([KMGT]?)B?", re.ASCII | re.IGNORECASE)
_GRES: Final = re.compile(
    r"(?:gres[:/])?gpu(?:[:/]([A-Za-z][\w.-]*))?(?:[:=](\d{1,6}))?(?:\(.*\))?", re.ASCII
)
_GPUS: Final = re.compile(r"(?:([A-Za-z][\w.-]*):)?(\d{1,6})", re.ASCII)
_SIGNAL: Final = re.compile(r"(?:[BR]{1,2}:)?([A-Za-z0-9]+)(?:@(\d{1,5}))?", re.ASCII)
_SIGNAL_NUMBERS: Final = {
    "10": "USR1",
    "12": "USR2",
    "2": "INT",
    "15": "TERM",
    "1": "HUP",
    "3": "QUIT",
    "18": "CONT",
}
_KIB: Final = {"K": 1, "": 1 << 10, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}
_SHELL: Final = re.compile(r"#!\s*(?:/usr/bin/env\s+(?:-S\s+)?)?(?:/\S+/)?(?:ba|da)?sh(?:\s.*)?")
_AS_UNDER_SBATCH: Final = "set +e +o pipefail  # as sbatch runs scripts: a failed command does not end them"


@dataclass(slots=True)
class _Asked:
    """What the script asked for, before it is multiplied out."""

    name: str | None = None
    nodes: int = 1
    tasks: int | None = None
    tasks_per_node: int | None = None
    cpus_per_task: int = 1
    mem_mib: int | None = None
    mem_per_cpu_mib: int | None = None
    mem_per_gpu_mib: int | None = None
    cpus_per_gpu: int | None = None
    disk_mib: int | None = None
    model: str = ""
    gpus_total: int | None = None
    gpus_per_node: int | None = None
    gpus_per_task: int | None = None
    seconds: int | None = None
    array: list[int] | None = None
    checkpoint: Save | None = None
    workdir: str = ""
    envs: dict[str, str | None] = field(default_factory=dict[str, "str | None"])
    labels: dict[str, str] = field(default_factory=dict[str, str])
    warnings: list[str] = field(default_factory=list[str])


def parse_sbatch(
    text: str | bytes,
    *,
    file: str = "<script>",
    envs: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Parsed:
    """Read a job from an sbatch script. `envs` and `secrets` come from the command line. Raises SpecError."""
    text = decode(text, file).replace("\r\n", "\n")
    if not text.startswith("#!"):
        message = "a batch script begins with `#!` and the interpreter, such as `#!/bin/bash`"
        raise SpecError((FieldError(message=message, line=1, column=1, file=file),))
    marks: dict[str, tuple[int, int]] = {"": (1, 1), "run": (1, 1)}
    problems = Problems(file, marks)
    first, _, rest = text.partition("\n")
    if not _SHELL.fullmatch(first.rstrip()):
        problems.add(
            "",
            f"{shown(first)} is no shell, and scripts are run by bash; call the interpreter in the script",
            (1, 1),
        )
    asked = _Asked()
    read: list[str] = []
    for line, option, value in _options(text, problems):
        marks[option] = (line, 1)
        read.append(option)
        _take(asked, option, value, line, problems)
    for name, value in (envs or {}).items():
        asked.envs[name] = value
    for name, value in asked.envs.items():
        if value is None:
            problems.add("export", f"{shown(name)} has no value; give it with `--env {name}=...`")
            marks[f"envs.{name}"] = marks.get("export", (1, 1))
    job = _job(asked, f"{_AS_UNDER_SBATCH}\n{rest}", problems)
    marks.update({ours: marks[theirs] for ours, theirs in _WRITTEN_AS if theirs in marks})
    parsed = build(msgspec.structs.replace(job, secrets=dict(secrets or {})), problems, name=stem(file))
    return msgspec.structs.replace(
        parsed, warnings=(*asked.warnings, *warnings_for(parsed.spec, said=False)), fields=tuple(read)
    )


_WRITTEN_AS: Final = (
    ("name", "job-name"), ("num_nodes", "nodes"), ("max_duration", "time"), ("workdir", "chdir"),
    ("checkpoint.signal", "signal"), ("resources.accelerators", "gres"), ("resources.memory", "mem"),
)  # fmt: skip


def _options(text: str, problems: Problems) -> Iterator[tuple[int, str, str]]:
    """Yield (line, long name of the option, value), up to the first line that is a command, as Slurm reads them."""
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip() and not content.startswith("#"):
            return
        match = _DIRECTIVE.match(content)
        if not match:
            continue
        try:
            words = shlex.split(match[1] or "", comments=True)
        except ValueError:
            problems.add("", f"the quotes of {shown(content)} do not close", (line, 1))
            continue
        while words:
            found = _option(words, line, problems)
            if found is not None:
                yield line, *found


def _option(words: list[str], line: int, problems: Problems) -> tuple[str, str] | None:
    """Take one option with its value off `words`."""
    word = words.pop(0)
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
    elif word.startswith("-") and len(word) > 1:
        name, value = LONG.get(word[1], word[1]), word[2:].removeprefix("=")
        equals = value
    else:
        problems.add(word, f"{shown(word)} is no option; options begin with `-`", (line, 1))
        return None
    if not equals and name not in FLAGS and words and not words[0].startswith("-"):
        value = words.pop(0)
    return name, value


def _take(asked: _Asked, option: str, value: str, line: int, problems: Problems) -> None:
    if option in REFUSED:
        problems.add(option, f"`{option}` has no meaning here: {REFUSED[option]}", (line, 1))
    elif option in IGNORED:
        asked.warnings.append(f"line {line}: {IGNORED[option].format(value=shown(value))}")
    elif option in _TAKES:
        if not value and option not in FLAGS:
            problems.add(option, f"`{option}` needs a value", (line, 1))
            return
        try:
            _TAKES[option](asked, value)
        except ValueError as error:
            problems.add(option, str(error), (line, 1))
    else:
        problems.add(option, f"there is no option {shown(option)}; remove it", (line, 1))


def _count(value: str, *, least: int = 1) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 6 and int(value) >= least):
        raise ValueError(f"{shown(value)} is no whole number from {least}; write one")
    return int(value)


def _nodes(asked: _Asked, value: str) -> None:
    low, dash, high = value.partition("-")
    if dash and low != high:
        raise ValueError(
            f"{shown(value)} is a range, and a run has a fixed number of nodes; write one number"
        )
    asked.nodes = _count(low)


def _mem(value: str) -> int:
    match = _MEMORY.fullmatch(value)
    if not match:
        raise ValueError(f"{shown(value)} is no size; write `16G` or `512M`")
    if int(match[1]) == 0:
        raise ValueError(f"{shown(value)} asks for all of a node; say how much, such as `64G`")
    return -(-int(match[1]) * _KIB[match[2].upper()] // 1024)


def _gres(asked: _Asked, value: str) -> None:
    for part in value.split(","):
        match = _GRES.fullmatch(part)
        if not match:
            raise ValueError(
                f"{shown(part)} is no GPU, and there are no other generic resources; write `gpu:H100:2`"
            )
        _model(asked, match[1])
        asked.gpus_per_node = (asked.gpus_per_node or 0) + int(match[2] or 1)


def _model(asked: _Asked, model: str | None) -> None:
    if model and asked.model and model.upper() != asked.model.upper():
        raise ValueError(f"{shown(model)} is a second GPU model, and all GPUs of a run are of one; write one")
    asked.model = model or asked.model


def _gpus(field_: str) -> Callable[[_Asked, str], None]:
    def take(asked: _Asked, value: str) -> None:
        match = _GPUS.fullmatch(value)
        if not match:
            raise ValueError(f"{shown(value)} is no number of GPUs; write `2` or `H100:2`")
        _model(asked, match[1])
        setattr(asked, field_, int(match[2]))

    return take


def _seconds(value: str) -> int:
    match = _TIME.fullmatch(value)
    if not match:
        raise ValueError(f"{shown(value)} is no time; write minutes, `2:30:00` or `1-12:00:00`")
    days, parts = match[1], [int(each) for each in match.groups()[1:] if each is not None]
    if days is not None:
        parts += [0] * (3 - len(parts))
        return int(days) * 86_400 + parts[0] * 3600 + parts[1] * 60 + parts[2]
    if len(parts) == 3:
        return parts[0] * 3600 + parts[1] * 60 + parts[2]
    return parts[0] * 60 + (parts[1] if len(parts) == 2 else 0)


def _time(asked: _Asked, value: str) -> None:
    asked.seconds = _seconds(value)
    if asked.seconds == 0:
        raise ValueError(f"{shown(value)} means no limit; remove it, and there is none")


def _signal(asked: _Asked, value: str) -> None:
    match = _SIGNAL.fullmatch(value)
    if not match:
        raise ValueError(f"{shown(value)} is no signal; write `B:USR1@60`")
    name = _SIGNAL_NUMBERS.get(match[1], match[1].upper())
    asked.checkpoint = Save(signal=name, grace=int(match[2] or 60))
    asked.warnings.append(
        "`signal` is sent before a run is preempted or its node drained, not before its time limit"
    )


def _export(asked: _Asked, value: str) -> None:
    for part in value.split(","):
        name, equals, given = part.partition("=")
        if part.upper() in {"NONE", "NIL"}:
            continue
        if part.upper() == "ALL":
            raise ValueError(
                "`ALL` hands on your whole environment, which is never sent; name the variables: `A=1,B=2`"
            )
        if not ENV_NAME.fullmatch(name):
            raise ValueError(f"{shown(name)} is no name of a variable; write `A=1,B=2`")
        asked.envs[name] = given if equals else None


def _array(asked: _Asked, value: str) -> None:
    asked.array = list(array_indices(value))


def _chdir(asked: _Asked, value: str) -> None:
    if value.startswith("/"):
        raise ValueError(
            f"{shown(value)} is a folder of another machine; write the local folder to take along, such as `.`"
        )
    asked.workdir = value


def _set(field_: str, turn: Callable[[str], object]) -> Callable[[_Asked, str], None]:
    return lambda asked, value: setattr(asked, field_, turn(value))


def _comment(asked: _Asked, value: str) -> None:
    asked.labels["comment"] = value


def _same(asked: _Asked, value: str) -> None:
    """Say what happens anyway."""
    del asked, value


_TAKES: Final[dict[str, Callable[[_Asked, str], None]]] = {
    "job-name": _set("name", str),
    "nodes": _nodes,
    "ntasks": _set("tasks", _count),
    "ntasks-per-node": _set("tasks_per_node", _count),
    "cpus-per-task": _set("cpus_per_task", _count),
    "cpus-per-gpu": _set("cpus_per_gpu", _count),
    "mem": _set("mem_mib", _mem),
    "mem-per-cpu": _set("mem_per_cpu_mib", _mem),
    "mem-per-gpu": _set("mem_per_gpu_mib", _mem),
    "tmp": _set("disk_mib", _mem),
    "gres": _gres,
    "gpus": _gpus("gpus_total"),
    "gpus-per-node": _gpus("gpus_per_node"),
    "gpus-per-task": _gpus("gpus_per_task"),
    "time": _time,
    "array": _array,
    "signal": _signal,
    "export": _export,
    "chdir": _chdir,
    "comment": _comment,
    "requeue": _same,
}


def _job(asked: _Asked, text: str, problems: Problems) -> Job:
    """Multiply out what was asked for."""
    tasks = asked.tasks_per_node
    if tasks is None:
        tasks = -(-(asked.tasks or asked.nodes) // asked.nodes)
    elif asked.tasks is not None and asked.tasks > tasks * asked.nodes:
        problems.add(
            "ntasks",
            f"{asked.tasks} tasks are more than {asked.nodes} nodes with {tasks} each; raise one of them",
        )
    gpus = _gpus_each(asked, tasks, problems)
    cpus = tasks * asked.cpus_per_task
    if asked.cpus_per_gpu is not None:
        cpus = max(cpus, asked.cpus_per_gpu * gpus)
    memory = asked.mem_mib
    if asked.mem_per_cpu_mib is not None:
        memory = asked.mem_per_cpu_mib * cpus
    elif asked.mem_per_gpu_mib is not None:
        memory = asked.mem_per_gpu_mib * max(gpus, 1)
    if tasks > 1:
        asked.warnings.append(
            f"{tasks} tasks on each node become {cpus} processors; "
            "the script is started once on each node, not once for each task"
        )
    elif asked.nodes > 1:
        asked.warnings.append(
            "the script is started once on every node, with its number in SLURM_NODEID, not on the first alone"
        )
    return Job(
        name=asked.name,
        run=text,
        envs=dict(asked.envs),
        workdir=asked.workdir,
        resources=Resources(
            accelerators=f"{asked.model or 'any'}:{gpus}" if gpus else None,
            cpus=cpus,
            memory=None if memory is None else f"{memory}Mi",
            disk_size=None if asked.disk_mib is None else f"{asked.disk_mib}Mi",
        ),
        num_nodes=asked.nodes,
        array=asked.array,
        max_duration=asked.seconds,
        checkpoint=asked.checkpoint,
        labels=asked.labels,
    )


def _gpus_each(asked: _Asked, tasks: int, problems: Problems) -> int:
    """GPUs on each node; all that were asked for in different ways must agree."""
    said: dict[str, int] = {}
    if asked.gpus_per_node is not None:
        said["gpus-per-node"] = asked.gpus_per_node
    if asked.gpus_per_task is not None:
        said["gpus-per-task"] = asked.gpus_per_task * tasks
    if asked.gpus_total is not None:
        if asked.gpus_total % asked.nodes:
            problems.add(
                "gpus", f"{asked.gpus_total} GPUs do not divide by {asked.nodes} nodes; write `gpus-per-node`"
            )
        said["gpus"] = asked.gpus_total // asked.nodes
    if len(set(said.values())) > 1:
        problems.add(
            min(said),
            f"{' and '.join(f'`{name}`' for name in sorted(said))} ask for different numbers; remove one",
        )
    return max(said.values(), default=0)
