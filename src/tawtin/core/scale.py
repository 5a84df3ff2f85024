"""How many replicas a service should have, from what was seen of its load. The live loop and the benchmark ask it.

1. The load is a mean over `WINDOW_MS`: requests in flight (a queue too), requests or tokens a second.
2. A start takes time, so that what counts is the load when one begun now would be ready. The rate of arrivals is
   taken to go on rising as it did between the last two windows, if that is more than chance: by Little's law (1961)
   requests in flight are the rate times what one takes, and rise with it. What falls is not foretold.
3. Each target asks for the load by what one replica should have; the largest counts.
4. More replicas are asked for once that was so for `up_delay_ms`, and as many as the least asked for meanwhile; fewer
   once that was so for `down_delay_ms`, and as many as the most. Where there is none, one is asked for at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tawtin.model.base import Record
from tawtin.model.workload import Scaling

WINDOW_MS: Final = 60_000
KEPT_MS: Final = 2 * WINDOW_MS
"""How far back observations are needed."""
START_MS: Final = 120_000
"""How long a start is taken to last before one was seen."""
AHEAD_MS_MAX: Final = 600_000
"""No trend is followed further than that."""
_GROWTH_MAX: Final = 2
"""No trend is followed to more than so many times the present load."""


class Observation(Record, frozen=True, kw_only=True):
    """What was seen of a service at one moment. Sums are since some earlier moment, the same for all of a history."""

    at_ms: int
    in_flight: int = 0
    """Requests that are with replicas, and those that are held until there is one."""
    arrived: int = 0
    """Sum of requests."""
    tokens: int = 0
    """Sum of tokens of requests and answers."""
    waited_ms: int = 0
    """Sum of how long answers took to begin."""
    began: int = 0
    """Sum of answers that are in `waited_ms`."""
    ready: int = 0
    """Replicas that answer."""
    start_ms: int = 0
    """How long the last start took until the replica was ready; 0 where none was seen."""


class Pending(Record, frozen=True, kw_only=True):
    """Since when more, or fewer, replicas are asked for than there are. Nothing of it needs to outlive a restart."""

    up_since_ms: int | None = None
    up_least: int = 0
    down_since_ms: int | None = None
    down_most: int = 0


class Advice(Record, frozen=True, kw_only=True):
    """How many replicas there should be now."""

    replicas: int
    why: str
    """What they are for; of one that changes nothing as well."""
    pending: Pending = Pending()


def advise(policy: Scaling, history: Sequence[Observation], have: int, pending: Pending) -> Advice:
    """Say how many replicas there should be instead of `have`, those that start counted in.

    `history` is in order of time and not empty; what is older than `KEPT_MS` is of no use. `pending` is what the last
    advice came with.
    """
    now_ms = history[-1].at_ms
    asked, why = _asked(policy, history, have)
    if have < policy.replicas_min or have > policy.replicas_max:
        bound = min(max(have, policy.replicas_min), policy.replicas_max)
        return Advice(replicas=bound, why=f"the spec allows {policy.replicas_min} to {policy.replicas_max}")
    if asked > have:
        since = pending.up_since_ms if pending.up_since_ms is not None else now_ms
        least = min(asked, pending.up_least) if pending.up_since_ms is not None else asked
        if not have or now_ms - since >= policy.up_delay_ms:
            return Advice(replicas=least, why=why)
        return Advice(replicas=have, why=why, pending=Pending(up_since_ms=since, up_least=least))
    if asked < have:
        since = pending.down_since_ms if pending.down_since_ms is not None else now_ms
        most = max(asked, pending.down_most) if pending.down_since_ms is not None else asked
        if now_ms - since >= policy.down_delay_ms:
            return Advice(replicas=most, why=why)
        return Advice(replicas=have, why=why, pending=Pending(down_since_ms=since, down_most=most))
    return Advice(replicas=have, why=why)


def _asked(policy: Scaling, history: Sequence[Observation], have: int) -> tuple[int, str]:
    """How many the load asks for, within the bounds, and the words for it."""
    now, recent, before = history[-1], _at(history, WINDOW_MS), _at(history, KEPT_MS)
    span_ms = max(1, now.at_ms - recent.at_ms)
    arrived = now.arrived - recent.arrived
    idle = now.arrived - _at(history, min(WINDOW_MS, policy.down_delay_ms)).arrived == 0
    if not now.in_flight and idle:
        return policy.replicas_min, "nobody asks"
    growth = _growth_permille(now, recent, before)
    rising = f", and rising by {(growth - 1000) // 10} % until a start is over" if growth > 1000 else ""
    window = [each for each in history if each.at_ms > recent.at_ms] or [now]
    in_flight = sum(each.in_flight for each in window) * 1000 // len(window)
    found = [(1, "there are requests")]
    for load, target, words in (
        (in_flight, policy.in_flight_milli, "requests in flight"),
        (arrived * 1_000_000 // span_ms, policy.requests_milli, "requests a second"),
        ((now.tokens - recent.tokens) * 1_000_000 // span_ms, policy.tokens_milli, "tokens a second"),
    ):
        if target:
            wanted = -(-load * growth // (1000 * target))
            found.append((wanted, f"{_number(load)} {words}{rising}, {_number(target)} for each replica"))
    if policy.wait_ms and now.began > recent.began:
        found.append(_for_wait(policy.wait_ms, now, recent, have))
    asked, why = max(found, key=lambda each: each[0])
    return min(max(asked, policy.replicas_min), policy.replicas_max), why


def _for_wait(target_ms: int, now: Observation, recent: Observation, have: int) -> tuple[int, str]:
    """One more where answers begin too late and none is starting; one fewer where twice as late would do."""
    wait_ms = (now.waited_ms - recent.waited_ms) // (now.began - recent.began)
    why = f"answers begin after {wait_ms} ms, and should after {target_ms} ms"
    if wait_ms > target_ms:
        return (have + 1 if now.ready >= have else have), why
    return (have - 1 if 2 * wait_ms <= target_ms else have), why


def _growth_permille(now: Observation, recent: Observation, before: Observation) -> int:
    """The load by the time that a start is over, in thousandths of the present one."""
    span_ms, earlier_ms = now.at_ms - recent.at_ms, recent.at_ms - before.at_ms
    if span_ms < WINDOW_MS // 2 or earlier_ms < WINDOW_MS // 2:
        return 1000
    late, early = now.arrived - recent.arrived, (recent.arrived - before.arrived) * span_ms // earlier_ms
    more = late - early
    if more <= 0 or more * more <= 4 * (
        late + early
    ):  # within two standard deviations of equal Poisson counts
        return 1000
    ahead_ms = min(now.start_ms or START_MS, AHEAD_MS_MAX) + span_ms // 2
    return min(1000 + 1000 * more * ahead_ms // (span_ms * late), 1000 * _GROWTH_MAX)


def _at(history: Sequence[Observation], back_ms: int) -> Observation:
    """The last observation that is at least so old, or the first one."""
    then_ms = history[-1].at_ms - back_ms
    found = history[0]
    for each in history:
        if each.at_ms > then_ms:
            break
        found = each
    return found


def _number(milli: int) -> str:
    return f"{milli // 1000}.{milli % 1000 // 100}" if milli % 1000 >= 100 else f"{milli // 1000}"
