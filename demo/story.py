"""The steps of the demonstration, in their order. Figures come from what runs print and the factory answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from demo.claims import Claims, say
from demo.factory import Command, Factory

HERE = Path(__file__).parent
WORK = HERE / "work"
PYTHON = ("--env", f"PYTHON={sys.executable}")
KILL_AFTER_EPOCH = 5
FOLD = re.compile(r"fold \d+: accuracy (0\.\d+|1\.0+) \((\d+) of (\d+) images\)")
EPOCH = re.compile(r"^epoch (\d+) at=([\d.]+) (pid=\d+ started=\d+) ")
HELD_OUT = re.compile(r"held-out accuracy ([\d.]+) \((\d+) of (\d+) images\)")


def _workloads(factory: Factory) -> list[dict[str, Any]]:
    return factory.ask("ps", "--all")["items"]


def start(factory: Factory, claims: Claims) -> None:
    """What the factory in Casablanca finds."""
    say("the factory in Casablanca, with embedded defaults")
    report = factory.ask("doctor", str(factory.folder), want=(0, 1))
    for check in report["checks"]:
        if check["state"] != "ok":
            print(f"   doctor: {check['name']}: {check['found']}; mend: {check['mend']}")
    claims.check("doctor finds no fault here", want=0, got=report["faults"], see="tawtin doctor")
    factory.run("capacity")
    node = factory.ask("capacity")["nodes"][0]["node"]
    shown = f"{node['gpus']} {node['gpu_model']}, declared: {bool(node.get('gpus_declared'))}"
    claims.check(
        "GPUs are shown as declared", want="4 H100, declared: True", got=shown, see="tawtin capacity"
    )


def cross_validate(factory: Factory, claims: Claims) -> None:
    """An array of four."""
    say("cross-validation on 1,797 handwritten digits, an array of four jobs")
    output = factory.run("run", str(WORK / "folds.yaml"), "-y", *PYTHON)
    folds = [(int(right), int(tested)) for _, right, tested in FOLD.findall(output)]
    right, tested = sum(each[0] for each in folds), sum(each[1] for each in folds)
    listed = [view for view in _workloads(factory) if view["workload"]["spec"]["name"] == "digits-folds"]
    done = sum(view["status"] == "succeeded" for view in listed)
    claims.check("folds that succeeded", want=4, got=done, see="tawtin ps --all")
    claims.check("every image was tested once", want=_images(), got=tested, see="tawtin logs digits-folds")
    accuracy = right / max(tested, 1)
    claims.check(
        "accuracy over all folds, from the runs' logs",
        want="above 0.90 (guessing gives 0.10)",
        got=f"{accuracy:.4f} ({right} of {tested})",
        ok=accuracy > 0.9,
        see="tawtin logs digits-folds",
    )


def _images() -> int:
    module: Any = import_module("sklearn.datasets")
    return len(module.load_digits().target)


def refuse(factory: Factory, claims: Claims) -> None:
    """A job that cannot run says why."""
    say("a job that asks for more GPUs than exist")
    factory.run("run", str(WORK / "too-large.yaml"), "--detach")
    factory.run("explain", "too-large")
    answer = factory.ask("explain", "too-large")
    waiting: dict[str, Any] = answer.get("waiting") or {}
    claims.check(
        "why it waits", want="ExceedsCapacity", got=waiting.get("reason"), see="tawtin explain too-large"
    )
    claims.check(
        "its estimated start", want=None, got=waiting.get("start_ms"), see="tawtin explain too-large --json"
    )
    factory.run("cancel", "too-large")


def survive(factory: Factory, claims: Claims) -> None:
    """The control plane is killed while the final fit runs."""
    say("the final fit; in mid-run the control plane is killed")
    secret = f"FORBIDDEN={factory.folder / 'data' / 'owner.key'}"
    following = factory.begin("run", str(WORK / "final.yaml"), "-y", *PYTHON, "--env", secret)
    following.wait_for(f"epoch {KILL_AFTER_EPOCH} ", 60)
    killed_pid = factory.kill()
    killed = time.time()
    time.sleep(1.5)
    up = factory.up()
    back = time.time()
    print(f"   up again at {up['url']}, process {up['pid']}, {back - killed:.1f} s later")
    code = following.wait(120)
    claims.check("exit code of `tawtin run`, which followed across", want=0, got=code, see="python -m demo")
    claims.check(
        "another process is the control plane now",
        want=f"not {killed_pid}",
        got=up["pid"],
        ok=up["pid"] != killed_pid,
        see="cat data/address.json",
    )
    _the_run_went_on(factory, claims, following, killed, back)


def _the_run_went_on(
    factory: Factory, claims: Claims, following: Command, killed: float, back: float
) -> None:
    log = factory.run("logs", "digits-final", quiet=True)
    epochs = [found.groups() for found in map(EPOCH.match, log.splitlines()) if found]
    numbers = [int(number) for number, _, _ in epochs]
    meanwhile = sum(killed < float(at) < back for _, at, _ in epochs)
    see = "tawtin logs digits-final"
    claims.check(
        "epochs, counted without gap or repeat",
        want=f"1 to {len(numbers)}",
        got=f"{numbers[0]} to {numbers[-1]}" if numbers else "none",
        ok=bool(numbers) and numbers == list(range(1, len(numbers) + 1)),
        see=see,
    )
    who = sorted({process for _, _, process in epochs})
    claims.check(
        "one process from start to end",
        want=1,
        got=f"{len(who)}: {'; '.join(who)}",
        ok=len(who) == 1,
        see=see,
    )
    claims.check(
        "epochs computed while no control plane was there",
        want="1 or more",
        got=meanwhile,
        ok=meanwhile > 0,
        see=see,
    )
    shown = factory.ask("show", "digits-final")
    runs = [(run["id"].rpartition(".")[2], run.get("outcome")) for run in shown["runs"]]
    claims.check("its runs, by epoch", want=[("1", "finished")], got=runs, see="tawtin show digits-final")
    seen = [line for _, line in following.lines if EPOCH.match(line)]
    kept = [line for line in log.splitlines() if EPOCH.match(line)]
    claims.check(
        "lines that were followed are the lines that were kept",
        want=f"{len(kept)} equal lines",
        got=f"{len(seen)} {'equal' if seen == kept else 'other'} lines",
        see=see,
    )
    _rights(factory, claims, log)


def _rights(factory: Factory, claims: Claims, log: str) -> None:
    rights = next((line for line in log.splitlines() if line.startswith("user id")), "")
    see = "head -1 of: tawtin logs digits-final"
    if not factory.ask("capacity")["isolated"]:
        print(
            "   NO SANDBOX here (bubblewrap is missing): runs are not kept apart, and only the owner's work is taken"
        )
        return
    claims.check(
        "the run could not read the factory's key", want=True, got="key readable: False" in rights, see=see
    )
    user = rights.partition("user id ")[2].partition(",")[0]
    if os.geteuid() == 0:
        claims.check("its user is not root", want="not 0", got=user, ok=user not in {"", "0"}, see=see)


def use_model(factory: Factory, claims: Claims) -> None:
    """The model is an artifact: fetch it, and let it read."""
    say("the model is kept as an artifact; fetched and used once")
    factory.run("artifacts", "list")
    shown = factory.ask("show", "digits-final")["view"]["workload"]
    kept = {output["name"]: output["artifact"] for output in shown.get("outputs", ())}
    if not claims.check("outputs kept", want=["model"], got=sorted(kept), see="tawtin show digits-final"):
        return
    folder = factory.folder / "fetched"
    factory.run("artifacts", "get", kept["model"], str(folder))
    used = subprocess.run(
        [sys.executable, str(WORK / "use.py"), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    answer: dict[str, Any] = (
        json.loads(used.stdout) if used.returncode == 0 else {"error": used.stderr[-200:]}
    )
    log = factory.run("logs", "digits-final", quiet=True)
    found = HELD_OUT.search(log)
    printed = f"{found[2]} of {found[3]}" if found else "nothing"
    got = f"{answer.get('right')} of {answer.get('tested')}"
    print(f"   it reads the first eight held-out images as {answer.get('first')}")
    claims.check(
        "the fetched model reads as many as the run printed",
        want=printed,
        got=got,
        see="tawtin artifacts list",
    )


def account(factory: Factory, claims: Claims) -> None:
    """Usage is the sum of what the runs used."""
    say("usage, and the log of everything")
    factory.run("usage")
    accounts = factory.ask("usage")["items"]
    views = [view for view in _workloads(factory) if view.get("run")]
    for field in ("wall_ms", "cpu_ms"):
        want = sum(view["run"]["usage"].get(field, 0) for view in views)
        got = sum(each.get(field, 0) for each in accounts)
        claims.check(f"usage, {field.replace('_', ' ')}: the account is the sum of the runs", want=want, got=got,
                     see="tawtin usage --json")  # fmt: skip
    held = sum(sum(each.get("gpu_ms", {}).values()) for each in accounts)
    claims.check("GPU time of the final fit (declared GPU)", want="above 0 ms", got=f"{held} ms", ok=held > 0,
                 see="tawtin usage --json")  # fmt: skip
    report = factory.ask("doctor", str(factory.folder), "--deep", want=(0, 1))
    checks = {check["name"]: check for check in report["checks"]}
    for name in ("merkle root", "state from events"):
        check = checks.get(
            name, {"state": "absent", "found": checks.get("journal, deep", {}).get("found", "")}
        )
        print(f"   {name}: {check['found']}")
        claims.check(f"doctor --deep: {name}", want="ok", got=check["state"], see="tawtin doctor --deep")


STEPS = (start, cross_validate, refuse, survive, use_model, account)
