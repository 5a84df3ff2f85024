"""The variables that a run sees: its own, and what schedulers' users expect to find."""

from __future__ import annotations

from typing import Final

from tawtin.model.resources import Node
from tawtin.model.workload import SANDBOX_DATASETS, SANDBOX_HOME
from tawtin.ports import RunOrder

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run_env(order: RunOrder, *, home: str, work: str, temporary: str, gpu_names: list[str]) -> dict[str, str]:
    """All variables of rank 0, secrets included. What the engine says of a run wins over what the spec says.

    `gpu_names` are what CUDA_VISIBLE_DEVICES lists.
    """
    spec = order.spec
    gpus = len(order.slots[0].gpus) if order.slots else 0
    cpus = max(1, order.shape.cpus_milli // 1000)
    count = len(order.slots)
    names = [slot.node for slot in order.slots]
    addresses = "\n".join("127.0.0.1" for _ in order.slots)
    env = {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "SHELL": "/bin/bash",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(cpus),
        **spec.envs,
        **order.secrets,
        "HOME": home,
        "TMPDIR": temporary,
        "USER": "tawtin",
        "LOGNAME": "tawtin",
        "CUDA_VISIBLE_DEVICES": ",".join(gpu_names),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "NODE_RANK": "0",
        "NUM_NODES": str(count),
        "NODE_IPS": addresses,
        "NUM_GPUS_PER_NODE": str(gpus),
        "SKYPILOT_NODE_RANK": "0",
        "SKYPILOT_NUM_NODES": str(count),
        "SKYPILOT_NODE_IPS": addresses,
        "SKYPILOT_NUM_GPUS_PER_NODE": str(gpus),
        "SKYPILOT_TASK_ID": order.run,
        "SLURM_JOB_ID": order.workload,
        "SLURM_JOBID": order.workload,
        "SLURM_JOB_NAME": spec.name,
        "SLURM_JOB_NUM_NODES": str(count),
        "SLURM_NNODES": str(count),
        "SLURM_JOB_NODELIST": ",".join(names),
        "SLURM_NODELIST": ",".join(names),
        "SLURMD_NODENAME": names[0] if names else "",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NTASKS": str(count),
        "SLURM_CPUS_ON_NODE": str(cpus),
        "SLURM_CPUS_PER_TASK": str(cpus),
        "SLURM_MEM_PER_NODE": str(order.shape.memory_mib),
        "SLURM_GPUS_ON_NODE": str(gpus),
        "SLURM_SUBMIT_DIR": work,
        "SLURM_RESTART_COUNT": str(max(0, order.epoch - 1)),
        "TAWTIN_RUN": order.run,
        "TAWTIN_WORKLOAD": order.workload,
        "TAWTIN_TENANT": order.tenant,
        "TAWTIN_EPOCH": str(order.epoch),
        "TAWTIN_NAME": spec.name,
        "TAWTIN_WORKDIR": work,
        "TAWTIN_OUTPUTS": "\n".join(f"{output.name}={work}/{output.path}" for output in spec.outputs),
        "TAWTIN_GPUS_DECLARED": "1" if order.gpus_declared else "0",
    }
    if spec.data.datasets:
        env["TAWTIN_DATASETS"] = home + SANDBOX_DATASETS.removeprefix(SANDBOX_HOME)
    if order.array_index is not None:
        size = order.array_size or 1
        env |= {
            "SLURM_ARRAY_JOB_ID": order.array_id,
            "SLURM_ARRAY_TASK_ID": str(order.array_index),
            "SLURM_ARRAY_TASK_COUNT": str(size),
            "SLURM_ARRAY_TASK_MIN": "0",
            "SLURM_ARRAY_TASK_MAX": str(size - 1),
            "TAWTIN_ARRAY_INDEX": str(order.array_index),
            "TAWTIN_ARRAY_SIZE": str(size),
            "TAWTIN_ARRAY_ID": order.array_id,
        }
    return env


def service_env(order: RunOrder, host: str) -> dict[str, str]:
    """What a replica of a service sees beyond that: where it has to listen, and which replica it is."""
    if order.spec.service is None:
        return {}
    return {
        "PORT": str(order.port),
        "TAWTIN_HOST": host,
        "TAWTIN_PORT": str(order.port),
        "TAWTIN_SERVICE": order.spec.name,
        "TAWTIN_REPLICA": str(order.replica or 1),
        "SKYPILOT_SERVE_REPLICA_ID": str(order.replica or 1),
    }


def rank_env(rank: int, slot_gpus: list[str]) -> dict[str, str]:
    """What rank `rank` sees differently from rank 0."""
    return {
        "NODE_RANK": str(rank),
        "SKYPILOT_NODE_RANK": str(rank),
        "SLURM_NODEID": str(rank),
        "SLURM_PROCID": str(rank),
        "CUDA_VISIBLE_DEVICES": ",".join(slot_gpus),
    }


def gpu_names(order: RunOrder, nodes: dict[str, Node], rank: int = 0) -> list[str]:
    """The GPUs of one rank, as the driver calls them; plain indices where they are declared."""
    if rank >= len(order.slots):
        return []
    slot = order.slots[rank]
    node = nodes.get(slot.node)
    if node is None or not node.gpu_ids:
        return [str(index) for index in slot.gpus]
    return [node.gpu_ids[index] for index in slot.gpus]
