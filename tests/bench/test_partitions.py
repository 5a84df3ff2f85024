"""The partition benchmark: its auditor sees what it must, and the models do what the peers' documentation says."""

from __future__ import annotations

import pytest

from bench.partitions import ours
from bench.partitions.count import alone_ms, count, is_right
from bench.partitions.ledger import DONE, Ledger, Run, finished_twice, overlapping
from bench.partitions.multikueue import MultiKueue
from bench.partitions.schedule import HOUR, MINUTE, SITES, Fault, Job, Schedule, around, draw
from bench.partitions.slurm_federation import Federation


def made(*jobs: Job, faults: tuple[Fault, ...] = ()) -> Schedule:
    return Schedule(jobs=jobs, faults=faults, end_ms=12 * HOUR)


def job(name: str, *, home: str = "Lagos", at_ms: int = 0, work_ms: int = HOUR, gpus: int = 8) -> Job:
    return Job(name=name, home=home, gpus=gpus, work_ms=work_ms, at_ms=at_ms)


def cut_off(site: str, from_ms: int, to_ms: int) -> Fault:
    return Fault(kind="cut", at_ms=from_ms, until_ms=to_ms, ways=around(site))


def run(
    site: str, began_ms: int, ended_ms: int | None, *, finished: bool = True, counted: bool = False
) -> Run:
    return Run(
        job="one",
        site=site,
        gpus=2,
        began_ms=began_ms,
        ended_ms=ended_ms,
        finished=finished,
        counted=counted,
    )


def sites_of(ledger: Ledger, name: str) -> list[str]:
    return [each.site for each in ledger.runs if each.job == name]


# --- what is counted ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "want"),
    [
        (run("Cairo", 100, 200), set[str]()),
        (run("Cairo", 99, 200), {"one"}),
        (run("Lagos", 10, 20), {"one"}),
        (run("Cairo", 99, None), {"one"}),
    ],
    ids=["one after the other", "a moment too early", "inside, at the same site", "without an end"],
)
def test_the_auditor_sees_every_overlap_and_no_other(second: Run, want: set[str]) -> None:
    assert overlapping([second, run("Lagos", 0, 100)]) == want


def test_an_end_that_came_twice_is_seen_without_an_overlap() -> None:
    assert finished_twice([run("Lagos", 0, 100), run("Cairo", 100, 200)]) == {"one"}
    assert finished_twice([run("Lagos", 0, 100), run("Cairo", 100, 200, finished=False)]) == set()


def test_wasted_time_is_what_was_lost_and_what_was_doubled() -> None:
    ledger = Ledger(runs=[run("Lagos", 0, HOUR), run("Cairo", HOUR // 2, 2 * HOUR, counted=True)])
    ledger.accepted["one"] = 2 * HOUR
    counted = count(made(job("one")), ledger)
    assert counted["wasted"] == 2
    assert counted["lost"] == counted["doubled"] == 1
    assert alone_ms(ledger.runs[1], ledger.runs) == HOUR


def test_a_job_is_right_only_where_home_believes_it_and_when_its_end_was_heard() -> None:
    views = [(0, "Lagos"), (150, DONE)]
    runs = [run("Lagos", 0, 100)]
    assert [is_right(at, runs, views, 150) for at in (50, 120, 150)] == [True, False, True]
    assert not is_right(50, [*runs, run("Cairo", 20, 60)], views, 150)
    assert not is_right(50, [run("Cairo", 0, 100)], views, 150)


# --- the models ---------------------------------------------------------------------------------------------


def away(ledger: Ledger, name: str) -> str:
    """Where a job ran first, which must not be its home."""
    where = sites_of(ledger, name)[0]
    assert where != "Lagos"
    return where


def test_multikueue_runs_a_job_twice_if_its_worker_is_lost_for_longer_than_the_time_out() -> None:
    jobs = [job(f"job-{number}", work_ms=3 * HOUR) for number in range(4)]
    whole = MultiKueue(made(*jobs)).run()
    far = next(each.name for each in jobs if sites_of(whole, each.name) != ["Lagos"])
    site = away(whole, far)

    short = MultiKueue(made(*jobs, faults=(cut_off(site, HOUR, HOUR + 10 * MINUTE),))).run()
    assert overlapping(short.runs) == set()

    long = MultiKueue(made(*jobs, faults=(cut_off(site, HOUR, HOUR + 30 * MINUTE),))).run()
    assert far in overlapping(long.runs)
    first, second = (each for each in long.runs if each.job == far)
    assert second.began_ms - HOUR >= 15 * MINUTE
    assert first.counted, "the first one that was admitted stays"
    assert not second.finished, "the later one is removed when the connection is back"


def test_multikueue_lets_both_finish_if_the_cut_outlives_both() -> None:
    jobs = [job(f"job-{number}") for number in range(4)]
    whole = MultiKueue(made(*jobs)).run()
    far = next(each.name for each in jobs if sites_of(whole, each.name) != ["Lagos"])
    cut = cut_off(away(whole, far), 30 * MINUTE, 6 * HOUR)
    assert far in finished_twice(MultiKueue(made(*jobs, faults=(cut,))).run().runs)


def test_slurm_starts_a_waiting_job_on_both_sides_of_a_cut_that_isolates_its_origin() -> None:
    full = [job(f"full-{number}") for number in range(2 * len(SITES))]
    waits = job("waits", at_ms=10 * MINUTE)
    whole = Federation(made(*full, waits)).run()
    assert overlapping(whole.runs) == set()

    ledger = Federation(made(*full, waits, faults=(cut_off("Lagos", 30 * MINUTE, 90 * MINUTE),))).run()
    assert overlapping(ledger.runs) == {"waits"}
    assert "Lagos" in sites_of(ledger, "waits")
    assert len(sites_of(ledger, "waits")) == 2, "siblings agree among themselves"
    counted = [each.site for each in ledger.runs if each.job == "waits" and each.finished]
    assert counted == ["Lagos"], "the origin has the lock, and revokes the other after the sync"


def test_slurm_lets_a_running_job_go_on_through_a_cut_and_hears_of_its_end_afterwards() -> None:
    jobs = [job(f"job-{number}") for number in range(4)]
    whole = Federation(made(*jobs)).run()
    far = next(each.name for each in jobs if sites_of(whole, each.name) != ["Lagos"])
    ledger = Federation(made(*jobs, faults=(cut_off("Lagos", 30 * MINUTE, 3 * HOUR),))).run()
    assert len(sites_of(ledger, far)) == 1
    assert 3 * HOUR <= ledger.accepted[far] < 3 * HOUR + MINUTE


# --- ours ---------------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_schedule_again() -> None:
    assert draw(3, hours=24) == draw(3, hours=24)
    assert draw(3, hours=24) != draw(4, hours=24)


@pytest.mark.parametrize("mode", ["wait", "rerun"])
def test_ours_runs_nothing_twice_under_a_short_schedule_and_a_planted_run_is_found(mode: str) -> None:
    schedule = draw(1, hours=4)
    ledger = ours.run(schedule, mode, 1)
    counted = count(schedule, ledger)
    assert counted["away"] > 0, "nothing went away, so nothing was checked"
    assert counted["done"] == 100
    assert counted["overlapping"] == counted["difference"] == 0

    real = max((each for each in ledger.runs if each.counted), key=lambda each: each.gpu_ms())
    ledger.begin(real.job, "Cairo", real.gpus, real.began_ms + 1).ended_ms = real.began_ms + 1_000
    assert overlapping(ledger.runs) == {real.job}


@pytest.mark.parametrize(("mode", "runs"), [("wait", 1), ("rerun", 2)])
def test_ours_waits_for_a_run_that_is_cut_off_or_starts_it_again_when_its_lease_is_over(
    mode: str, runs: int
) -> None:
    jobs = [job(f"job-{number}") for number in range(4)]
    whole = ours.run(made(*jobs), mode, 1)
    far = next(each.name for each in jobs if sites_of(whole, each.name) != ["Lagos"])
    cut = cut_off(away(whole, far), 30 * MINUTE, 3 * HOUR)
    ledger = ours.run(made(*jobs, faults=(cut,)), mode, 1)
    assert len(sites_of(ledger, far)) == runs
    assert overlapping(ledger.runs) == set()
    assert ledger.accepted.keys() == {each.name for each in jobs}
