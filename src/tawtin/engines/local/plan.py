"""From an order to a plan: every decision about how a run is to be started, made once, in the control plane."""

from __future__ import annotations

import hashlib
import os
import signal
from dataclasses import dataclass, field

import msgspec

from tawtin.engines.local import sandbox
from tawtin.engines.local.meter import MIB
from tawtin.engines.local.orders import Limits, Plan, SetupCache
from tawtin.engines.local.portbook import HOST
from tawtin.engines.local.sandbox import Sandbox, View
from tawtin.engines.local.settings import LocalSettings
from tawtin.engines.shared import doors as door
from tawtin.engines.shared import places
from tawtin.engines.shared.environ import PATH, gpu_names, rank_env, run_env, service_env
from tawtin.engines.shared.folders import Laid, PlanError
from tawtin.engines.shared.shell import exports
from tawtin.model.resources import Node
from tawtin.model.workload import SANDBOX_HOME, SANDBOX_WORK
from tawtin.ports import RunOrder

_GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
_SHM_SHARE = 2
_NOBODY = 65_534


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What plans stand on."""

    settings: LocalSettings
    box: Sandbox
    cgroup: dict[str, str]
    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    gpu_devices: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """UUID -> device files."""
    salt: bytes = b""
    """Hashes secrets inside set-up keys."""


def user_of(ground: Ground, order: RunOrder) -> tuple[int, int]:
    """(uid, gid) that the run's processes have, as the machine sees them."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    number = ground.settings.uid_base + order.tenant_number
    if not 0 < number < 1 << 31 or number == _NOBODY:
        raise PlanError(f"tenant number {order.tenant_number} gives no user id; lower the setting `uid_base`")
    return number, number


def scripts(order: RunOrder, ground: Ground) -> dict[str, str]:
    """The scripts and account files of a run, by name."""
    found = sandbox.account_files(*user_of(ground, order))
    found |= {"run.sh": order.spec.run}
    if order.spec.setup:
        found["setup.sh"] = order.spec.setup
    count = len(order.slots)
    if count > 1:
        for rank in range(count):
            found[f"rank.{rank}"] = exports(rank_env(rank, gpu_names(order, ground.nodes, rank)))
        found["ranks.sh"] = _RANKS.replace("@count@", str(count))
    if order.spec.workspace is not None:
        found |= door.scripts()
    return found


def _main(order: RunOrder) -> str:
    """The script that begins a run."""
    if order.spec.workspace is not None:
        return door.SCRIPT
    return "ranks.sh" if len(order.slots) > 1 else "run.sh"


_RANKS = """\
here=${BASH_SOURCE[0]%/*}
for rank in $(seq 0 $((@count@ - 1))); do
    ( . "$here/rank.$rank"; exec /bin/bash -eo pipefail "$here/run.sh" ) &
done
for rank in $(seq 1 @count@); do
    wait -n || { code=$?; kill $(jobs -p) 2>/dev/null || :; exit $code; }
done
"""
"""All ranks of a gang that this machine holds alone; the first that fails ends the others."""


def make_plan(order: RunOrder, ground: Ground, *, folder: str, root: str, laid: Laid, cached: bool) -> Plan:
    """Resolve an order. `folder` is the run's own, `root` holds all runs, `cached` says that set-up is done already.

    Raises PlanError.
    """
    settings, box, spec = ground.settings, ground.box, order.spec
    uid, gid = user_of(ground, order)
    files = f"{folder}/{places.FILES}"
    home, work, temporary = (
        (SANDBOX_HOME, SANDBOX_WORK, sandbox.TMP)
        if box
        else tuple(f"{files}/{name}" for name in ("home", "work", "tmp"))
    )
    names = gpu_names(order, ground.nodes)
    everyone = [name for rank in range(len(order.slots)) for name in gpu_names(order, ground.nodes, rank)]
    main = _main(order)
    limits = _limits(order, settings)
    texts = scripts(order, ground)
    env = run_env(order, home=home, work=work, temporary=temporary, gpu_names=names)
    env |= service_env(order, HOST)
    if spec.workspace is not None:
        env |= door.environ(work, spec.envs.get("PATH", PATH), settings.expose)
    if spec.checkpoint is not None:
        env["TAWTIN_CHECKPOINT"] = f"{home}/checkpoint"
    if box:
        view = View(
            files=files,
            scripts=tuple(f"{sandbox.SCRIPTS}/{name}" for name in texts),
            uid=uid,
            gid=gid,
            network=spec.network,
            shm_bytes=max(64 * MIB, limits["memory_bytes"] // _SHM_SHARE),
            mounts=tuple((f"{folder}/inputs/{name}", target) for name, target, _ in laid.mounts),
            devices=_devices(everyone, ground),
        )
        args = sandbox.options(box, view)
        command = sandbox.command(box, view, main)
        setup = sandbox.command(box, view, "setup.sh") if spec.setup else []
    else:
        shell = ["/bin/bash", "-eo", "pipefail"]
        args, command = [], [*shell, f"{folder}/{places.SCRIPTS}/{main}"]
        setup = [*shell, f"{folder}/{places.SCRIPTS}/setup.sh"] if spec.setup else []
    checkpoint = spec.checkpoint
    return {
        "run": order.run,
        "folder": folder,
        "notify": f"{root}/engine.sock",
        "setup": [] if cached else setup,
        "command": command,
        "sandbox_args": args,
        "seccomp": box.seccomp.hex(),
        "scripts": {f"{sandbox.SCRIPTS}/{name}": text for name, text in texts.items()} if box else {},
        "env": env,
        "mountpoints": _mountpoints(laid) if box else [],
        "user": [uid, gid] if os.geteuid() == 0 else [],
        "sandboxed": bool(box),
        "cgroup": ground.cgroup,
        "limits": limits,
        "max_duration_ms": spec.max_duration_ms or 0,
        "fuse_ms": order.fuse_ms or 0,
        "stop_grace_ms": spec.stop_grace_ms,
        "checkpoint_signal": _signal(checkpoint.signal) if checkpoint else 0,
        "checkpoint_grace_ms": checkpoint.grace_ms if checkpoint else 0,
        "gpus": sum(len(slot.gpus) for slot in order.slots),
        "gpu_model": _gpu_model(order, ground),
        "gpu_ids": [] if order.gpus_declared else list(real_gpus(order, ground)),
        "gpus_declared": order.gpus_declared,
        "bytes_in": laid.bytes_in,
        "meter_interval_ms": settings.meter_interval_ms,
        "disk_interval_ms": settings.disk_interval_ms,
        "samples_max": settings.samples_max,
        "sample_ms": settings.sample_ms,
        "log_bytes_max": settings.log_bytes_max,
        "log_bytes_per_s": settings.log_bytes_per_s,
        "cache": setup_cache(order, ground, root=root),
        "keep_files": bool(spec.outputs or spec.checkpoint or spec.workspace),
    }


def real_gpus(order: RunOrder, ground: Ground) -> tuple[str, ...]:
    """The UUIDs of the GPUs of all ranks."""
    everyone = (name for rank in range(len(order.slots)) for name in gpu_names(order, ground.nodes, rank))
    return tuple(name for name in everyone if name.startswith(("GPU-", "MIG-")))


def _limits(order: RunOrder, settings: LocalSettings) -> Limits:
    count = max(1, len(order.slots))
    return {
        "memory_bytes": order.shape.memory_mib * count * MIB,
        "cpus_milli": order.shape.cpus_milli * count,
        "processes": settings.processes_max,
        "open_files": settings.open_files_max,
        "disk_bytes": (order.shape.disk_mib or settings.disk_limit_mib) * MIB,
    }


def _devices(names: list[str], ground: Ground) -> tuple[str, ...]:
    own = tuple(device for name in names for device in ground.gpu_devices.get(name, ()))
    return (*_GPU_DEVICES, *own) if own else ()


def _gpu_model(order: RunOrder, ground: Ground) -> str:
    for slot in order.slots:
        if slot.gpus and slot.node in ground.nodes:
            return ground.nodes[slot.node].gpu_model
    return order.shape.gpu_model if order.shape.gpus else ""


def _mountpoints(laid: Laid) -> list[list[str]]:
    points = [["home", "work", "folder"]]
    tops = ((SANDBOX_WORK, "work"), (SANDBOX_HOME, "home"), (sandbox.TMP, "tmp"))
    for _, target, is_file in laid.mounts:
        for top, name in tops:
            if target.startswith(f"{top}/"):
                points.append([name, target.removeprefix(f"{top}/"), "file" if is_file else "folder"])
                break
    return points


def _signal(name: str) -> int:
    try:
        return int(signal.Signals[name if name.startswith("SIG") else f"SIG{name}"])
    except KeyError:
        raise PlanError(f"`{name}` is no signal; write `checkpoint.signal` as `SIGUSR1`") from None


def setup_cache(order: RunOrder, ground: Ground, *, root: str) -> SetupCache | None:
    """Where this order's set-up is kept; None where there is none to keep, or in a home, which stays by itself."""
    spec = order.spec
    if not spec.setup or spec.workspace is not None or not ground.settings.setup_cache_mib:
        return None
    return {"folder": f"{root}/caches/{_tenant_folder(order)}", "key": setup_key(order, ground)}


def _tenant_folder(order: RunOrder) -> str:
    return hashlib.sha256(order.tenant.encode()).hexdigest()[:32]


def setup_key(order: RunOrder, ground: Ground) -> str:
    """What must be equal for two runs of one tenant to share a set-up, hashed.

    The script, the variables and secrets of the spec, the working folder and mounts, the network, what is exposed, the
    GPU model, and the user. Not: variables that differ between runs of one spec (TAWTIN_RUN, SLURM_ARRAY_TASK_ID...);
    a `setup` must not depend on them.
    """
    spec = order.spec
    secrets = sorted(
        (name, hashlib.sha256(ground.salt + value.encode()).hexdigest())
        for name, value in order.secrets.items()
    )
    content = (
        order.tenant,
        order.tenant_number,
        spec.setup,
        sorted(spec.envs.items()),
        secrets,
        spec.workdir,
        sorted((mount.path, mount.artifact) for mount in spec.mounts),
        spec.network,
        ground.settings.expose,
        _gpu_model(order, ground),
        user_of(ground, order),
        bool(ground.box),
    )
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()
