"""What every engine has to do, as cases that any engine can be put through.

A case drives an engine as a factory does, by `ports.Engine` alone. What an engine need not be able to do is asked for
by the capability that its manifest names; such a case is left out otherwise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tawtin.engines.conformance.bench import Bench, NotMetError
from tawtin.engines.conformance.cases import CASES, Case
from tawtin.engines.manifest import Capabilities
from tawtin.model.reasons import Cause
from tawtin.ports import EngineError


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one case."""

    case: Case
    left_out: bool = False
    failure: str = ""


def put_through(
    make: Callable[[int], Bench], capabilities: Capabilities, only: str = "", *, at_once: int = 1
) -> Iterator[Result]:
    """Try all cases whose name contains `only`, `at_once` at a time; results come in the order of cases.

    `make` makes a bench for the case of this number; no two may share a folder.
    """
    with ThreadPoolExecutor(at_once, "tawtin-conformance") as pool:
        tried: list[Future[Result]] = []
        for number, case in enumerate(CASES):
            if only in case.name:
                tried.append(pool.submit(_put_through, make, number, capabilities))
        try:
            for each in tried:
                yield each.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _put_through(make: Callable[[int], Bench], number: int, capabilities: Capabilities) -> Result:
    case = CASES[number]
    if case.needs and not getattr(capabilities, case.needs):
        return Result(case=case, left_out=True)
    return Result(case=case, failure=try_case(make(number), case))


def try_case(bench: Bench, case: Case) -> str:
    """Try one case with a control plane of its own; return what was not met, empty if everything was."""
    bench.name, bench.said = case.name.replace("_", "-")[:24], {}
    bench.open()
    try:
        case.try_it(bench)
    except (NotMetError, EngineError, OSError) as error:
        return f"{error}"
    finally:
        for run in [run for run, reports in bench.said.items() if not reports[-1].outcome]:
            bench.engine.stop(run, Cause.CANCELLED, 0)
            with contextlib.suppress(NotMetError):
                bench.end(run)
        bench.engine.close()
    return ""
