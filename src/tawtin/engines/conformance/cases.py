"""What every engine has to do, a sentence a case."""

# ruff: noqa: D103 - a case's name is what it says
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from tawtin.engines.conformance.bench import Bench, expect
from tawtin.model.reasons import Cause
from tawtin.model.workload import Checkpoint, Mount, Outcome, Output


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing that an engine has to do."""

    name: str
    try_it: Callable[[Bench], None]
    needs: str = ""
    """The capability without which it is left out."""

    @property
    def sentence(self) -> str:
        """What it says."""
        return self.name.replace("_", " ")


CASES: list[Case] = []


def _case(needs: str = "") -> Callable[[Callable[[Bench], None]], Callable[[Bench], None]]:
    def add(try_it: Callable[[Bench], None]) -> Callable[[Bench], None]:
        CASES.append(Case(name=try_it.__name__, try_it=try_it, needs=needs))
        return try_it

    return add


@_case()
def the_exit_code_and_all_output_come_through(bench: Bench) -> None:
    run, report = bench.finish("echo out; echo err >&2; exit 3")
    got = (report.outcome, report.cause, report.exit_code)
    expect(got == (Outcome.FINISHED, Cause.COMPLETED, 3), f"it ended as {report}")
    expect(sorted(bench.text(run).split()) == ["err", "out"], f"its output is {bench.text(run)!r}")
    expect(report.started_ms and report.ended_ms and report.started_ms <= report.ended_ms, f"times: {report}")


@_case()
def an_order_that_is_given_again_starts_nothing(bench: Bench) -> None:
    run = bench.run_id()
    order = bench.order(run, f"echo started; {bench.waiting(run)}")
    for _ in range(3):
        bench.engine.ensure(order)
    bench.says(run, "started")
    bench.engine.ensure(order)
    bench.restart()
    bench.engine.ensure(order)
    bench.go(run)
    bench.end(run)
    bench.engine.ensure(order)
    expect(bench.text(run) == "started\n", f"its output is {bench.text(run)!r}")


@_case("outlives_control_plane")
def a_run_goes_on_without_a_control_plane_and_is_found_again(bench: Bench) -> None:
    run = bench.run_id()
    bench.engine.ensure(bench.order(run, f"echo before; {bench.waiting(run)}; echo after; exit 5"))
    bench.says(run, "before")
    bench.restart()
    expect(bench.engine.knows(run), "the next control plane does not know it")
    bench.began(run)
    bench.go(run)
    report = bench.end(run)
    expect(report.exit_code == 5, f"it ended as {report}")
    expect(bench.text(run) == "before\nafter\n", f"its output is {bench.text(run)!r}")


@_case("outlives_control_plane")
def an_end_that_nobody_saw_is_reported_to_the_next_control_plane(bench: Bench) -> None:
    run = bench.run_id()
    bench.engine.ensure(bench.order(run, f"echo before; {bench.waiting(run)}; exit 4"))
    bench.says(run, "before")
    bench.engine.close()
    bench.go(run)
    time.sleep(3)
    bench.said.clear()
    bench.open()
    report = bench.end(run)
    expect((report.outcome, report.exit_code) == (Outcome.FINISHED, 4), f"it ended as {report}")


@_case()
def a_run_that_is_stopped_before_it_is_ordered_never_starts(bench: Bench) -> None:
    run = bench.run_id()
    bench.engine.stop(run, Cause.CANCELLED, 0)
    report = bench.end(run)
    expect((report.outcome, report.started_ms) == (Outcome.CANCELLED, None), f"it ended as {report}")
    bench.engine.ensure(bench.order(run, "echo started"))
    bench.restart()
    bench.engine.ensure(bench.order(run, "echo started"))
    bench.end(run)
    time.sleep(2)
    expect(bench.text(run) == "", f"it started: {bench.text(run)!r}")


@_case()
def a_run_that_is_stopped_is_told_first_and_ended_after_the_grace(bench: Bench) -> None:
    polite = bench.start("trap 'echo told; exit 1' TERM; echo ready; while :; do sleep 0.1; done")
    deaf = bench.start("trap '' TERM; echo ready; while :; do sleep 0.1; done")
    bench.says(polite, "ready")
    bench.says(deaf, "ready")
    bench.engine.stop(polite, Cause.CANCELLED, 20_000)
    bench.engine.stop(deaf, Cause.PREEMPTED, 1_000)
    report = bench.end(polite)
    expect((report.outcome, report.cause) == (Outcome.CANCELLED, Cause.CANCELLED), f"it ended as {report}")
    expect("told" in bench.text(polite), f"its output is {bench.text(polite)!r}")
    report = bench.end(deaf)
    expect((report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.PREEMPTED), f"it ended as {report}")


@_case()
def a_program_that_ended_before_it_was_stopped_has_finished(bench: Bench) -> None:
    run, report = bench.finish("exit 6")
    bench.engine.stop(run, Cause.CANCELLED, 0)
    time.sleep(1)
    bench.restart()
    again = bench.end(run)
    expect((again.outcome, again.exit_code) == (report.outcome, 6), f"it ended as {again}")


@_case()
def an_outcome_is_repeated_until_it_is_recorded(bench: Bench) -> None:
    run, report = bench.finish("exit 7")
    bench.restart()
    expect(bench.end(run).exit_code == report.exit_code, "the next control plane hears something else")
    bench.engine.forget(run)
    time.sleep(2)
    bench.said.clear()
    bench.restart()
    other, _ = bench.finish("true")
    expect(run not in bench.said, f"it is reported after that: {bench.said.get(run)}")
    expect(other in bench.said, "nothing else is reported")


@_case()
def the_log_stays_when_the_outcome_is_recorded(bench: Bench) -> None:
    run, _ = bench.finish("echo kept")
    bench.engine.forget(run)
    time.sleep(2)
    expect(bench.text(run) == "kept\n", f"its output is {bench.text(run)!r}")


@_case()
def the_log_is_read_from_any_place(bench: Bench) -> None:
    run, _ = bench.finish("printf 0123456789")
    for offset, limit, want in ((0, 4, b"0123"), (4, 4, b"4567"), (8, 100, b"89"), (-3, 2, b"78")):
        got = bench.engine.log(run, offset, limit)
        expect(got.data == want, f"log({offset}, {limit}) is {got}, not {want!r}")
    last = bench.engine.log(run, 10, 10)
    expect(last.end and not last.data, f"behind its end, the log is {last}")


@_case()
def a_run_past_its_maximum_duration_is_ended(bench: Bench) -> None:
    _, report = bench.finish("sleep 300", max_duration_ms=2_000, stop_grace_ms=1_000)
    expect((report.outcome, report.cause) == (Outcome.FINISHED, Cause.TIME_LIMIT), f"it ended as {report}")
    expect(2_000 <= report.usage.wall_ms < 30_000, f"it ran for {report.usage.wall_ms} ms")


@_case()
def a_failed_setup_is_told_from_a_failed_run(bench: Bench) -> None:
    run, report = bench.finish("echo ran", setup="echo setting up; exit 9")
    expect((report.cause, report.exit_code) == (Cause.SETUP_FAILED, 9), f"it ended as {report}")
    expect("ran" not in bench.text(run).split(), f"its output is {bench.text(run)!r}")


@_case()
def what_setup_leaves_is_there_for_the_run(bench: Bench) -> None:
    run, _ = bench.finish("cat made", setup="echo by setup >made")
    expect(bench.text(run) == "by setup\n", f"its output is {bench.text(run)!r}")


@_case()
def inputs_are_laid_out_and_outputs_are_kept(bench: Bench) -> None:
    workdir, mount = bench.keep({"a.txt": b"a\n", "deep/b.txt": b"b\n"}), bench.keep({"c.txt": b"c\n"})
    run, report = bench.finish(
        "cat a.txt deep/b.txt data/c.txt; mkdir out; echo made >out/d.txt",
        workdir=workdir,
        mounts=(Mount(path="/home/run/work/data", artifact=mount),),
        outputs=(Output(name="model", path="out"),),
    )
    expect(bench.text(run) == "a\nb\nc\n", f"its output is {bench.text(run)!r}")
    expect([each.name for each in report.outputs] == ["model"], f"it ended as {report}")
    expect(bench.fetch(report.outputs[0].artifact) == {"d.txt": b"made\n"}, "the output has other files")
    expect(report.usage.bytes_in == 6 and report.usage.bytes_out == 5, f"bytes are counted as {report.usage}")


@_case()
def an_input_that_is_missing_is_named(bench: Bench) -> None:
    _, report = bench.finish("echo ran", workdir=f"sha256:{0:064x}")
    expect(report.cause is Cause.START_FAILED, f"it ended as {report}")
    expect("0000" in report.message, f"the message is {report.message!r}")


@_case()
def a_run_sees_its_variables_and_secrets(bench: Bench) -> None:
    script = 'echo "$GREETING|$TOKEN_X|$TAWTIN_RUN|$NODE_RANK|$NUM_NODES|$NUM_GPUS_PER_NODE|$PWD"'
    run, _ = bench.finish(script, envs={"GREETING": "it's $HOME"}, secrets_given={"TOKEN_X": "s3'cret"})
    fields = bench.text(run).strip().split("|")
    want = ["it's $HOME", "s3'cret", run, "0", "1", "0"]
    expect(fields[:6] == want, f"it sees {fields}, not {want}")
    expect(fields[6].endswith("work"), f"it works in {fields[6]}")


@_case()
def usage_is_metered(bench: Bench) -> None:
    script = (
        "n=0; end=$((SECONDS + 3)); while [ $SECONDS -lt $end ] || [ $n -lt 400000 ]; do n=$((n + 1)); done"
    )
    _, report = bench.finish(script)
    expect(2_000 <= report.usage.wall_ms <= 60_000, f"usage: {report.usage}")
    expect(report.usage.cpu_ms >= 500, f"processor time: {report.usage}")


@_case("checkpoint_signal")
def a_run_that_makes_place_is_told_to_save_itself(bench: Bench) -> None:
    script = "trap 'echo saved; exit 0' USR1; echo ready; while :; do sleep 0.1; done"
    run = bench.start(script, checkpoint=Checkpoint(signal="SIGUSR1", grace_ms=20_000))
    bench.says(run, "ready")
    bench.engine.stop(run, Cause.PREEMPTED, 1_000)
    report = bench.end(run)
    expect((report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.PREEMPTED), f"it ended as {report}")
    expect("saved" in bench.text(run), f"its output is {bench.text(run)!r}")


@_case("gpus_declared")
def gpus_are_held_and_metered(bench: Bench) -> None:
    run, report = bench.finish('echo "$NUM_GPUS_PER_NODE"; sleep 1', gpus=2)
    expect(bench.text(run) == "2\n", f"its output is {bench.text(run)!r}")
    expect(report.usage.gpu_ms == 2 * report.usage.wall_ms > 0, f"usage: {report.usage}")
    expect(report.usage.gpu_model and report.usage.gpus_declared, f"usage: {report.usage}")


@_case("gangs")
def the_ranks_of_a_gang_know_each_other(bench: Bench) -> None:
    script = 'echo "rank $NODE_RANK of $NUM_NODES, $(echo "$NODE_IPS" | wc -l) addresses, $MASTER_ADDR:$MASTER_PORT"'
    run, report = bench.finish(script, nodes=2)
    lines = sorted(line for line in bench.text(run).splitlines() if line.startswith("rank"))
    expect(report.exit_code == 0 and len(lines) == 2, f"it ended as {report}: {bench.text(run)!r}")
    meeting = {line.rpartition(" ")[2] for line in lines}
    expect(len(meeting) == 1 and not meeting & {":", ""}, f"they meet at {meeting}")
    expect([line.split(",")[0] for line in lines] == ["rank 0 of 2", "rank 1 of 2"], f"ranks: {lines}")
    expect(all("2 addresses" in line for line in lines), f"addresses: {lines}")


@_case("gangs")
def a_rank_that_fails_ends_the_gang_with_its_code(bench: Bench) -> None:
    run, report = bench.finish('[ "$NODE_RANK" = 1 ] && exit 7; sleep 300', nodes=2)
    expect(
        (report.cause, report.exit_code) == (Cause.COMPLETED, 7), f"it ended as {report}: {bench.text(run)}"
    )


@_case("fuse")
def a_leased_run_ends_at_its_deadline_while_nobody_watches(bench: Bench) -> None:
    run = bench.run_id()
    order = bench.order(run, "echo ready; sleep 300")
    now_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    stop_ms = bench.engine.fuse_stop_ms()
    expect(stop_ms is not None, "there is no bound, as the manifest says that there is a fuse")
    bench.engine.ensure(msgspec.structs.replace(order, fuse_ms=now_ms + 5_000))
    bench.says(run, "ready")
    bench.engine.close()
    time.sleep(5 + (stop_ms or 0) / 1000)
    bench.said.clear()
    bench.open()
    report = bench.end(run)
    expect(
        (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.LEASE_EXPIRED), f"it ended as {report}"
    )
    expect(report.usage.wall_ms <= 5_000 + (stop_ms or 0), f"it ran for {report.usage.wall_ms} ms")
