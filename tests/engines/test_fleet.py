"""Several engines as one: orders go where their nodes are, and nothing that one knows is started by another."""

from __future__ import annotations

import pytest

from tawtin.engines.fleet import Fleet
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, Node, Shape, Slot
from tawtin.model.workload import WorkloadSpec
from tawtin.ports import EngineError, RunOrder
from tests.runtime.shell import FakeEngine


class Named(FakeEngine):
    """An engine of this name, with nodes of these names."""

    def __init__(self, name: str, *nodes: str, fuse_ms: int | None = None) -> None:
        super().__init__()
        self.name = name
        self.fuse_ms = fuse_ms
        self.nodes_now = tuple(
            Node(name=each, engine=name, cpus_milli=1000, memory_mib=1024) for each in nodes
        )

    def fuse_stop_ms(self) -> int | None:
        return self.fuse_ms

    def stop(self, run: str, cause: Cause, grace_ms: int) -> None:
        super().stop(run, cause, grace_ms)
        self.ensured.append(order(run, *[node.name for node in self.nodes_now]))  # it is known from now on


def order(run: str, *nodes: str) -> RunOrder:
    shape = Shape()
    return RunOrder(
        run=run, workload=run.partition(".")[0], tenant="t", tenant_number=1, epoch=1,
        spec=WorkloadSpec(name="x", run="true", demand=Demand(nodes=len(nodes), options=(shape,))),
        shape=shape, slots=tuple(Slot(node=each) for each in nodes),
    )  # fmt: skip


def test_an_order_goes_to_the_engine_that_has_its_nodes() -> None:
    one, two = Named("local", "a"), Named("hpc", "b", "c")
    fleet = Fleet([one, two])
    assert [node.name for node in fleet.nodes()] == ["a", "b", "c"]
    fleet.ensure(order("w.1", "a"))
    fleet.ensure(order("w.2", "b", "c"))
    assert [[each.run for each in engine.ensured] for engine in (one, two)] == [["w.1"], ["w.2"]]
    fleet.stop("w.2", Cause.CANCELLED, 0)
    assert (one.stopped, two.stopped) == ([], [("w.2", Cause.CANCELLED)])


def test_an_order_over_nodes_of_two_engines_is_refused() -> None:
    fleet = Fleet([Named("local", "a"), Named("hpc", "b")])
    fleet.nodes()
    with pytest.raises(EngineError, match="not all, those of one engine"):
        fleet.ensure(order("w.1", "a", "b"))


def test_a_run_that_was_stopped_before_anybody_knew_it_never_starts_at_another_engine() -> None:
    one, two = Named("local", "a"), Named("hpc", "b")
    fleet = Fleet([one, two])
    fleet.nodes()
    fleet.stop("w.1", Cause.CANCELLED, 0)
    fleet.ensure(order("w.1", "b"))
    assert [each.run for each in two.ensured] == []


def test_leases_are_taken_only_if_every_engine_has_a_fuse() -> None:
    assert Fleet([Named("a", fuse_ms=10), Named("b", fuse_ms=30)]).fuse_stop_ms() == 30
    assert Fleet([Named("a", fuse_ms=10), Named("b")]).fuse_stop_ms() is None


def test_a_second_node_of_one_name_is_left_out_and_named() -> None:
    fleet = Fleet([Named("local", "a"), Named("hpc", "a")])
    assert [node.engine for node in fleet.nodes()] == ["local"]
    assert any("`a` of `hpc` is left out" in note for note in fleet.notes())


def test_two_engines_of_one_name_are_refused() -> None:
    with pytest.raises(EngineError, match="same name"):
        Fleet([Named("hpc"), Named("hpc")])
