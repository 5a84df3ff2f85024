"""Taking GPUs out of service and bringing them back, over the API."""

from __future__ import annotations

import re

import msgspec
import pytest

from tawtin.client.errors import ApiError
from tawtin.web.metrics import Requests, render
from tests.web.harness import NODE, Factory


def test_an_operator_takes_a_gpu_out_and_brings_it_back(factory: Factory) -> None:
    with factory.client() as client:
        (made,) = client.quarantine("node-1", gpus=[3], why="its fan is loud")
        assert (made.gpu, made.kind, made.why, made.out) == ("#3", "operator", "its fan is loud", True)
        assert client.quarantine("node-1", gpus=[3], why="again") == (made,)
        (view,) = client.capacity().nodes
        assert (view.gpus_free, view.node.gpus_sick, view.quarantines) == (7, (3,), (made,))
        assert (
            'tawtin_quarantines{kind="operator",node="node-1"} 1.0'
            in render(factory.service, Requests()).decode()
        )
        with pytest.raises(ApiError, match=re.escape("there is no burn-in job")):
            client.bring_back("node-1", gpus=[3])
        with pytest.raises(ApiError, match=re.escape("GPU 2 of `node-1` is not in quarantine")):
            client.bring_back("node-1", gpus=[2], untested=True)
        (back,) = client.bring_back("node-1", untested=True)
        assert not back.out
        (view,) = client.capacity().nodes
        assert (view.gpus_free, view.quarantines) == (8, ())
        assert client.quarantines() == (back,)


def test_what_is_not_there_is_said(factory: Factory) -> None:
    with factory.client() as client:
        with pytest.raises(ApiError, match="no node `nowhere`"):
            client.quarantine("nowhere", why="x")
        with pytest.raises(ApiError, match="has 8 GPUs, counted from 0, and no GPU 8"):
            client.quarantine("node-1", gpus=[8], why="x")
        with pytest.raises(ApiError, match="no node `nowhere`"):
            client.bring_back("nowhere", untested=True)


def test_a_node_whose_name_has_a_slash_is_found(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    with factory.client() as client:
        second = msgspec.structs.replace(NODE, name="node-1/T4")
        monkeypatch.setattr(factory.engine, "nodes", lambda: (NODE, second))
        factory.until(lambda: len(client.capacity().nodes) == 2)
        assert client.set_node_health("node-1/T4", "draining").health == "draining"
        (made,) = client.quarantine("node-1/T4", why="the whole of it")
        assert (made.node, made.gpu) == ("node-1/T4", "")
