"""A service as it is written: SkyPilot's names, one port, and what has no meaning for what has no end."""

from __future__ import annotations

import pytest

from tawtin.model.workload import Probe, Serving, WorkloadType
from tawtin.spec import SpecError, parse_json, parse_yaml

RUN = "run: serve\n"
PROBED = "service: {readiness_probe: /health}\n"


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text, file="s.yaml")
    return str(caught.value)


def test_a_spec_with_a_service_is_one_and_has_the_network() -> None:
    spec = parse_yaml(RUN + PROBED).spec
    assert (spec.type, spec.network, spec.max_duration_ms) == (WorkloadType.SERVICE, True, None)
    assert spec.service == Serving(replicas=1, port=0, probe=Probe(path="/health"))
    assert parse_yaml("type: service\nnetwork: true\n" + RUN + PROBED).spec == spec


@pytest.mark.parametrize(
    "port",
    ["port: 8080", "resources: {ports: 8080}", "resources: {ports: ['8080']}"],
)
def test_its_port_is_said_in_one_of_several_ways(port: str) -> None:
    service = parse_yaml(RUN + PROBED + port).spec.service
    assert service is not None
    assert service.port == 8080


def test_a_probe_is_read_with_its_times_and_body() -> None:
    probe = "{path: /p, initial_delay_seconds: 30, timeout_seconds: 2, post_data: {a: [1, x]}}"
    service = parse_yaml(RUN + f"service: {{readiness_probe: {probe}}}").spec.service
    assert service is not None
    assert service.probe == Probe(
        path="/p", initial_delay_ms=30_000, timeout_ms=2_000, post_data='{"a":[1,"x"]}'
    )


def test_what_goes_over_the_wire_is_the_same_service() -> None:
    parsed = parse_yaml(RUN + "port: 8000\nservice: {readiness_probe: /health, replicas: 3}")
    assert parse_json(parsed.body()).spec == parsed.spec
    assert parse_json(b'{"run": "serve", "service": {"readiness_probe": "/health"}}').spec.service


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("type: service\n" + RUN, "s.yaml:1:1: service: a service needs `service.readiness_probe`"),
        ("type: job\n" + RUN + PROBED, "s.yaml:3:1: service: it has `type: job` as well"),
        (RUN + "port: 80", "s.yaml:2:1: port: a job opens no ports"),
        (RUN + PROBED + "port: 80\nresources: {ports: 80}", "s.yaml:4:13: resources.ports: it says the same"),
        (RUN + PROBED + "resources: {ports: 80-90}", "`80-90` is not one port"),
        (RUN + "service: {readiness_probe: /, replicas: 0}", "`0` is outside of 1 to 1000"),
        (RUN + "service: {readiness_probe: {path: /, post_data: '{'}}", "`{` is no JSON"),
        (PROBED, "`run` is missing"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, want: str) -> None:
    assert want in refusal(text)
