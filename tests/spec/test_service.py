"""A service as it is written: SkyPilot's names, one port, and what has no meaning for what has no end."""

from __future__ import annotations

import pytest

from tawtin.model.workload import Probe, Scaling, Serving, WorkloadType
from tawtin.spec import SpecError, parse_json, parse_yaml

RUN = "run: serve\n"
PROBED = "service: {readiness_probe: /health}\n"
POLICY = RUN + "service: {{readiness_probe: /, replica_policy: {{{}}}}}"


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


def test_a_policy_says_what_its_replicas_follow() -> None:
    policy = (
        "{min_replicas: 0, max_replicas: 4, target_in_flight_per_replica: 8, target_wait_seconds: 1.5, "
        "target_tokens_per_second_per_replica: 900.25, upscale_delay_seconds: 0, downscale_delay_seconds: 10m}"
    )
    parsed = parse_yaml(RUN + f"service: {{readiness_probe: /, replica_policy: {policy}}}")
    want = Scaling(
        replicas_min=0,
        replicas_max=4,
        in_flight_milli=8_000,
        tokens_milli=900_250,
        wait_ms=1_500,
        up_delay_ms=0,
        down_delay_ms=600_000,
    )
    assert parsed.spec.service == Serving(replicas=1, scaling=want)
    assert parse_json(parsed.body()).spec == parsed.spec


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (
            POLICY.format("min_replicas: 1, max_replicas: 3"),
            "s.yaml:2:31: service.replica_policy: it says no load",
        ),
        (POLICY.format("min_replicas: 0"), "`max_replicas` is missing"),
        (POLICY.format("min_replicas: 4, max_replicas: 3"), "`3` is outside of 4 to 1000"),
        (
            POLICY.format("min_replicas: 2, upscale_delay_seconds: 3"),
            "has no meaning for a number that stays",
        ),
        (
            POLICY.format("min_replicas: 1, max_replicas: 3, target_qps_per_replica: 0"),
            "`0` is no number above 0",
        ),
        (
            POLICY.format("min_replicas: 2}, replicas: 2, port: 80").replace("80}}", "80}"),
            "it says the same as `replicas`",
        ),
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
