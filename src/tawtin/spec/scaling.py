"""`service.replica_policy`: how many replicas a service has, by its load. SkyPilot's names, and some of our own."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from tawtin.model.workload import Scaling
from tawtin.spec.errors import Problems, shown
from tawtin.spec.job import ReplicaPolicy
from tawtin.spec.kinds import Field, Fields, Integer, Quantity
from tawtin.spec.units import duration_ms

REPLICAS_MAX: Final = 1000
DELAY_MS_MAX: Final = 86_400_000
_NUMBER: Final = re.compile(r"(\d{1,9})(?:\.(\d{1,3}))?", re.ASCII)
_NO_SPOT: Final = "a factory has no spot and on-demand machines; say `priority`, and remove it"
_TARGETS: Final = {
    "target_qps_per_replica": "requests_milli",
    "target_in_flight_per_replica": "in_flight_milli",
    "target_tokens_per_second_per_replica": "tokens_milli",
}
_TIMES: Final = {
    "target_wait_seconds": "wait_ms",
    "upscale_delay_seconds": "up_delay_ms",
    "downscale_delay_seconds": "down_delay_ms",
}
_WHERE: Final = "service.replica_policy"

POLICY: Final = Fields(
    {
        "min_replicas": Field(
            Integer(0, REPLICAS_MAX),
            "How many there are at least; 0 lets the last one rest while nobody asks.",
        ),
        "max_replicas": Field(Integer(1, REPLICAS_MAX), "How many there are at most."),
        "target_qps_per_replica": Field(
            Quantity("a number"), "Requests a second that one replica should have."
        ),
        "target_in_flight_per_replica": Field(
            Quantity("a number"), "Requests that one replica should have at a time."
        ),
        "target_tokens_per_second_per_replica": Field(
            Quantity("a number"), "Tokens a second, of requests and answers, for one replica."
        ),
        "target_wait_seconds": Field(
            Quantity("seconds"), "How long answers may take to begin, on average of the last minute."
        ),
        "upscale_delay_seconds": Field(
            Quantity("seconds"), "For so long more have to be needed before there are more; 10 without it."
        ),
        "downscale_delay_seconds": Field(
            Quantity("seconds"), "For so long fewer have to be needed before there are fewer; 300 without it."
        ),
    },
    refused={
        "queue_length_threshold": "requests that wait at a replica are in flight: `target_in_flight_per_replica`",
        "base_ondemand_fallback_replicas": _NO_SPOT,
        "dynamic_ondemand_fallback": _NO_SPOT,
        "spot_placer": _NO_SPOT,
        "num_overprovision": "set the target lower, so that each replica has less to do; remove it",
    },
    required=("min_replicas",),
)


def policy(asked: ReplicaPolicy, problems: Problems) -> tuple[int, Scaling | None]:
    """How many replicas a service begins with, and how that follows its load: not at all if it is one number."""
    least, most = asked.min_replicas, asked.max_replicas
    said = [name for name in (*_TARGETS, *_TIMES) if getattr(asked, name) is not None]
    targets = [name for name in said if name.startswith("target_")]
    if not 0 <= least <= REPLICAS_MAX:
        problems.add(f"{_WHERE}.min_replicas", f"`{least}` is outside of 0 to {REPLICAS_MAX}")
        return 1, None
    if most is None and (targets or not least):
        problems.add(_WHERE, "`max_replicas` is missing: a service that follows its load needs a bound")
        return 1, None
    if most is not None and not max(1, least) <= most <= REPLICAS_MAX:
        problems.add(f"{_WHERE}.max_replicas", f"`{most}` is outside of {max(1, least)} to {REPLICAS_MAX}")
        return 1, None
    if most is None or (most == least and not targets):
        for name in said:
            problems.add(f"{_WHERE}.{name}", "it has no meaning for a number that stays as it is; remove it")
        return least, None
    if not targets and most > max(1, least):
        problems.add(
            _WHERE,
            f"it says no load that {least} to {most} follow: add one of {', '.join(map(shown, _TARGETS))}",
        )
        return 1, None
    found = Scaling(replicas_min=least, replicas_max=most)
    for name in said:
        into = _TARGETS.get(name) or _TIMES[name]
        value = _milli(asked, name, problems) if name in _TARGETS else _ms(asked, name, problems)
        found = msgspec.structs.replace(found, **{into: value})
    return max(1, least), found


def _milli(asked: ReplicaPolicy, name: str, problems: Problems) -> int:
    text = str(getattr(asked, name))
    match = _NUMBER.fullmatch(text)
    milli = int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0")) if match is not None else 0
    if not milli:
        problems.add(f"{_WHERE}.{name}", f"{shown(text)} is no number above 0 with at most three decimals")
    return milli


def _ms(asked: ReplicaPolicy, name: str, problems: Problems) -> int:
    text = str(getattr(asked, name))
    match = _NUMBER.fullmatch(text)
    try:
        ms = (
            int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0"))
            if match is not None
            else duration_ms(text)
        )
    except ValueError as error:
        problems.add(f"{_WHERE}.{name}", str(error))
        return 1
    least = 1 if name == "target_wait_seconds" else 0
    if not least <= ms <= DELAY_MS_MAX:
        problems.add(
            f"{_WHERE}.{name}", f"{shown(text)} is outside of {least} ms to {DELAY_MS_MAX // 1000} s"
        )
    return ms
