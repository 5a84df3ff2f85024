"""Figures of one history, reckoned from its ledger in the same way for every system.

Jobs whose home burned down are in none of them but the one that says so: who would take their results is gone.

* wasted: GPU time of all runs whose result is not that of the job. It is the sum of the two next ones.
* lost: that part of it during which no other run of the job was alive: work that nobody else did.
* doubled: the rest, done while another run of the job was alive.
* settlement difference: over all jobs that ran away from home, what sites have on record as owed to them for a job,
  less what its home has on record as owed, without its sign. A site that burned down asks for nothing.
* standing still: from the end of a run that does not count to the next beginning, and from the end of the one that
  counts until home takes its result.
* to recover: a job is wrong while it has two runs, a run that its home does not know of, or an end from which its home
  has taken no result, whoever's. After a cut is mended, the time until no job that ran across it is wrong.
"""

from __future__ import annotations

from bisect import bisect_right

from bench.partitions.ledger import DONE, WAITING, Ledger, Run, finished_twice, overlapping
from bench.partitions.schedule import HOUR, MINUTE, Fault, Schedule

OPEN_MS = 1 << 50


def count(schedule: Schedule, ledger: Ledger) -> dict[str, float]:
    """All figures; times in minutes, GPU time in hours."""
    home = {job.name: job.home for job in schedule.jobs}
    mine = {name for name, site in home.items() if site != schedule.destroyed}
    runs = [run for run in ledger.runs if run.job in mine]
    burned_ms = max((each.at_ms for each in schedule.faults if each.kind == "destroyed"), default=0)
    by_job = {name: each for name, each in ledger.by_job().items() if name in mine}
    wasted = sum(run.gpu_ms() for run in runs if not run.counted)
    lost = sum(alone_ms(run, by_job[run.job]) * run.gpus for run in runs if not run.counted)
    recovered = [back for cut in schedule.cuts for back in recovery_ms(cut, schedule, ledger, by_job, home)]
    wrong = [back for back in recovered if back > 0]
    away = {run.job for run in runs if run.site != home[run.job]}
    still = {name: still_ms(each, ledger.accepted.get(name)) for name, each in by_job.items()}
    differences = [
        abs(ledger.claimed.get(name, 0) - ledger.owed.get(name, 0))
        for name in mine & {*ledger.claimed, *ledger.owed}
    ]
    return {
        "jobs": len(mine),
        "away": len(away),
        "done": 100 * len(mine & ledger.accepted.keys()) / max(1, len(mine)),
        "overlapping": len(overlapping(runs)),
        "finished twice": len(finished_twice(runs)),
        "wasted": wasted / HOUR,
        "lost": lost / HOUR,
        "doubled": (wasted - lost) / HOUR,
        "difference": sum(differences) / HOUR,
        "disputed": sum(ms for name, ms in ledger.disputed.items() if name in mine) / HOUR,
        "still": sum(still.values()) / HOUR,
        "recover": max(recovered, default=0) / MINUTE,
        "wrong": 100 * len(wrong) / max(1, len(recovered)),
        "orphans": len(
            {
                run.job
                for run in ledger.runs
                if run.job not in mine and run.finished and (run.ended_ms or 0) > burned_ms
            }
        ),
    }


def alone_ms(run: Run, runs: list[Run]) -> int:
    """How long a run was the only one of its job."""
    end = run.ended_ms if run.ended_ms is not None else run.began_ms
    covered, last = 0, run.began_ms
    others = [(each.began_ms, each.ended_ms or OPEN_MS) for each in runs if each is not run]
    for began, ended in sorted(others):
        until = min(ended, end)
        if until > max(began, last):
            covered += until - max(began, last)
            last = until
    return end - run.began_ms - covered


def still_ms(runs: list[Run], accepted_ms: int | None) -> int:
    """How long a job that had begun once stood still."""
    total, last = 0, runs[0].began_ms
    for run in runs:
        total += max(0, run.began_ms - last)
        last = max(last, run.ended_ms or run.began_ms)
        if run.counted and accepted_ms is not None and run.ended_ms is not None:
            return total + accepted_ms - run.ended_ms
    return total


def recovery_ms(
    cut: Fault, schedule: Schedule, ledger: Ledger, by_job: dict[str, list[Run]], home: dict[str, str]
) -> list[int]:
    """How long until all is right after this cut is mended; empty if no job ran across it.

    A job that another cut still keeps from one of its sites, or that one reaches before it is right, is that one's.
    """
    took: list[int] = []
    for name, runs in by_job.items():
        accepted_ms = ledger.accepted.get(name)
        before = [run for run in runs if run.began_ms < cut.until_ms and run.site != home[name]]
        ways = {(home[name], run.site) for run in before}
        across = any(
            {(home[name], run.site), (run.site, home[name])} & set(cut.ways)
            and max(run.ended_ms or OPEN_MS, accepted_ms or OPEN_MS) > cut.at_ms
            for run in before
        )
        if not across:
            continue
        right_ms = _first_right(cut.until_ms, runs, ledger.views.get(name, []), accepted_ms)
        if not any(_is_broken(way, cut.until_ms, cut.until_ms + right_ms, schedule) for way in ways):
            took.append(right_ms)
    return [max(took)] if took else []


def _is_broken(way: tuple[str, str], from_ms: int, to_ms: int, schedule: Schedule) -> bool:
    """Whether something keeps two sites apart, in any direction, at any moment between the two."""
    return any(
        each.kind != "loss"
        and each.at_ms <= to_ms
        and from_ms < each.until_ms
        and (way in each.ways or way[::-1] in each.ways or each.site in way)
        for each in schedule.faults
    )


def _first_right(
    after_ms: int, runs: list[Run], views: list[tuple[int, str]], accepted_ms: int | None
) -> int:
    moments = {after_ms, *(at_ms for at_ms, _ in views)}
    for run in runs:
        moments |= {run.began_ms, run.ended_ms or run.began_ms}
    for now_ms in sorted(each for each in moments if each >= after_ms):
        if is_right(now_ms, runs, views, accepted_ms):
            return now_ms - after_ms
    return OPEN_MS


def is_right(now_ms: int, runs: list[Run], views: list[tuple[int, str]], accepted_ms: int | None) -> bool:
    """Whether what runs is what home believes, and home has heard of every end."""
    at = bisect_right(views, (now_ms, "\uffff")) - 1
    since_ms, where = views[at] if at >= 0 else (0, WAITING)
    alive = [
        run for run in runs if run.began_ms <= now_ms and (run.ended_ms is None or now_ms < run.ended_ms)
    ]
    if where == DONE:
        return not alive
    unheard = [
        run
        for run in runs
        if run.ended_ms is not None
        and run.ended_ms <= now_ms
        and (run.finished or run.began_ms >= since_ms > 0)
        and (accepted_ms is None or now_ms < accepted_ms)
        and (run.site == where or run.finished)
    ]
    return not unheard and len(alive) <= 1 and all(run.site == where for run in alive)
