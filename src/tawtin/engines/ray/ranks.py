"""Reserves what a gang needs, then has its ranks run, all or none. Runs on the cluster, by the cluster's own Python.

Nothing of tawtin is imported here, as nothing of it is installed there: the file is copied into the run's folder and
started as `python ranks.py FOLDER`. It reserves the chosen nodes with a placement group, and then starts the batch
script, which says when the ranks are to start. Their output comes back over Ray, so that one process alone writes it.
"""

# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOST = 113
"""How this ends if a rank was lost with its node."""
KILLED = 114
"""How this ends if its batch script was killed."""
DOUBTFUL = 255
"""What the batch script is told in place of the exit code of a rank that was lost."""
CHUNK = 65_536
END_S = 20
"""So long have ranks to end when another one has failed; then their workers are killed."""


def reserve(plan: dict[str, Any]) -> Any:  # noqa: ANN401 - a type of Ray
    """Wait until Ray has given us a part of every chosen node; all or none."""
    from ray.util.placement_group import placement_group  # noqa: PLC0415 - there on the cluster alone

    bundles = [
        {name: amount for name, amount in plan["holds"].items() if amount} | {f"node:{address}": 0.001}
        for address in plan["addresses"]
    ]
    group = placement_group(bundles, strategy="STRICT_SPREAD")
    while not group.wait(3600):
        pass
    return group


def run_rank(folder: str, environment: dict[str, str]) -> Iterator[bytes | int]:
    """One rank, in a worker of its own: pieces of its output, then its exit code."""
    Path(
        folder, f"live.{environment['NODE_RANK']}"
    ).touch()  # until its guard has seen that nothing of it is left
    process = subprocess.Popen(
        ["/bin/bash", f"{folder}/scripts/rank.sh"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101 - for the type checker
    words = [f"{folder}/scripts/guard.sh", str(process.pid), str(os.getpid()), environment["NODE_RANK"]]
    nothing = subprocess.DEVNULL
    command = ["setsid", "--fork", "/bin/bash", *words]
    subprocess.run(command, stdin=nothing, stdout=nothing, stderr=nothing, check=False)
    while piece := os.read(process.stdout.fileno(), CHUNK):
        yield piece
    yield process.wait()


class Gang:
    """The ranks of one run, and the first of them that fails."""

    def __init__(self, folder: Path, plan: dict[str, Any], output: int) -> None:
        """`output` is where everything goes that ranks say."""
        self._folder = folder
        self._plan = plan
        self._output = output
        self._lock = threading.Lock()
        self._tasks: list[Any] = []
        self.first = 0
        """The code of the first that failed; LOST if it was lost instead."""

    def run(self, group: Any) -> None:  # noqa: ANN401 - a type of Ray
        """Start all, and wait until all have ended."""
        import ray  # noqa: PLC0415 - there on the cluster alone
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy  # noqa: PLC0415

        remote, holds = ray.remote(run_rank), self._plan["holds"]
        address = ray.get_runtime_context().gcs_address
        for number in range(len(self._plan["addresses"])):
            strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number)
            task = remote.options(
                num_cpus=holds["CPU"],
                num_gpus=holds["GPU"],
                memory=holds["memory"],
                max_retries=0,
                num_returns="streaming",
                _generator_backpressure_num_objects=32,
                scheduling_strategy=strategy,
            )
            mine = {"NODE_RANK": str(number), "RAY_ADDRESS": address}
            self._tasks.append(task.remote(str(self._folder), mine))
        threads = [threading.Thread(target=self._follow, args=[task], daemon=True) for task in self._tasks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _follow(self, task: Any) -> None:  # noqa: ANN401 - a type of Ray
        """Write down what one rank says, and end the others if it fails."""
        import ray  # noqa: PLC0415 - there on the cluster alone

        code = LOST
        try:
            for reference in task:
                said = ray.get(reference)
                if isinstance(said, int):
                    code = 128 - said if said < 0 else said
                else:
                    self._say(said)
        except ray.exceptions.RayError as error:
            print(f"a rank was lost: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)  # noqa: T201
        if code:
            self.end(code)

    def _say(self, data: bytes) -> None:
        with (
            self._lock,
            contextlib.suppress(BrokenPipeError),
        ):  # its script is gone, or does not listen any more
            while data:
                data = data[os.write(self._output, data) :]

    def end(self, code: int) -> None:
        """One has failed with this code: have all others ended, by what stands guard beside each."""
        with self._lock:
            if self.first:
                return
            self.first = code
            if code in (LOST, KILLED):
                (self._folder / "first").mkdir(
                    exist_ok=True
                )  # the code of none that is ended now is the run's
            (self._folder / "over").touch()
        timer = threading.Timer(END_S, self._kill)
        timer.daemon = True
        timer.start()

    def _kill(self) -> None:
        import ray  # noqa: PLC0415 - there on the cluster alone

        for task in self._tasks:
            ray.cancel(task, force=True)


def watch(script: subprocess.Popen[bytes], gang: Gang) -> None:
    """End the gang if its script does not live to see the end of it."""
    if script.wait() < 0:
        gang.end(KILLED)


def main(folder: Path) -> int:
    """Reserve, run the batch script, and its ranks when it asks for them."""
    import ray  # noqa: PLC0415 - there on the cluster alone

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # the batch script decides what a signal means
    plan = json.loads((folder / "scripts" / "plan.json").read_text("utf-8"))
    ray.init(address="auto", log_to_driver=False, logging_level="warning")
    group = reserve(plan)
    (go, asked), (heard, said), (told, tell) = os.pipe(), os.pipe(), os.pipe()
    words = {"RANKS_GO": str(asked), "RANKS_SAY": str(heard), "RANKS_CODE": str(told)}
    script = subprocess.Popen(
        ["/bin/bash", str(folder / "scripts" / "job.sh")],
        env={**os.environ, **words},
        pass_fds=(asked, heard, told),
    )
    for fd in (asked, heard, told):
        os.close(fd)
    gang = Gang(folder, plan, said)
    if os.read(go, 1):  # else it has ended: its set-up failed, or it may not start
        threading.Thread(target=watch, args=[script, gang], daemon=True).start()
        gang.run(group)
    os.close(said)
    code = DOUBTFUL if gang.first in (LOST, KILLED) else gang.first
    with contextlib.suppress(BrokenPipeError):
        os.write(tell, f"{code}\n".encode())
    os.close(tell)
    ended = script.wait()
    if gang.first == LOST:
        return LOST
    return KILLED if ended < 0 else ended


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
