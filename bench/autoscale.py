"""Autoscaling: requests within the latency goal and the GPU hours for it, beside a fixed number and an HPA.

Two loads: the hour of Azure's conversations as it was, and the 12th day of ServeGen's m-small, with rates of 0 to 2.7
times the mean: a 200th of the rate of all clients together, drawn as a Poisson process, with the lengths of Azure's
requests. The scaler is `tawtin.core.scale.advise`, the function that a factory asks, every five seconds.

A replica is modelled as a server with continuous batching: prompts are computed one after the other, while nobody gets
tokens; then each step gives one token to every request of the batch. It holds its GPUs from the moment that it is
started; one that is let go first ends what it has. A request goes to the replica with the fewest. These figures are
assumed, not measured, and stand for a model of some 70 billion parameters.
"""

from __future__ import annotations

import csv
import heapq
import random
import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from bench import common
from tawtin.core import scale
from tawtin.model.workload import Scaling

PROMPT_TOKENS_PER_S: Final = 4_000
STEP_S: Final = 0.035
STEP_S_PER_REQUEST: Final = 0.0005
BATCH_MAX: Final = 24
START_S: Final = 120.0
GPUS: Final = 4
FIRST_TOKEN_S_MAX: Final = 3.0
TOKEN_S_MAX: Final = 0.1
"""The goal of a request: its first token after so long at most, and so long for each further one on average."""
LOOK_S: Final = 5.0
REPLICAS_MAX: Final = 64
WITHIN: Final = 0.99
"""Fixed numbers are the smallest that serve so many within the goal."""
AZURE: Final = "azure_llm/AzureLLMInferenceTrace_conv.csv"
SERVEGEN: Final = "servegen/m-small"
SERVEGEN_DAY: Final = 11
THINNED: Final = 200
BY_RATE: Final = Scaling(replicas_min=1, replicas_max=REPLICAS_MAX, requests_milli=1_100)
BY_OPEN: Final = Scaling(replicas_min=1, replicas_max=REPLICAS_MAX, in_flight_milli=12_000)
BUSY: Final = 0.5
"""The part of BATCH_MAX that the HPA wants in flight at each replica: 12 requests, as BY_OPEN."""
FORESEEN_PER_S: Final = 1.1
"""Requests a second for each replica of who knows the future, as BY_RATE."""


class Request(NamedTuple):
    """What arrives."""

    at_s: float
    prompt: int
    answer: int


@dataclass(eq=False)
class Replica:
    """One server, and the requests that it has."""

    ready_s: float
    born_s: float
    ended_s: float = 0.0
    leaving: bool = False
    waiting: deque[int] = field(default_factory=deque[int])
    batch: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    """(tokens of the server's count at which it is done, request), a heap."""
    tokens: float = 0.0
    """Steps that were made."""
    seen_s: float = 0.0
    prompt: int = -1
    """The request whose prompt is being computed."""
    turn: int = 0
    """Rises whenever what comes next is another thing."""

    @property
    def open(self) -> int:
        return len(self.waiting) + len(self.batch) + (self.prompt >= 0)


class Seen(NamedTuple):
    """What a scaler is shown."""

    now_s: float
    in_flight: int
    arrived: int
    ready: int
    have: int


Scaler = Callable[[Seen], int]


class Result(NamedTuple):
    """What came out."""

    within: float
    gpu_hours: float
    peak: int


class Simulation:
    """One load, one scaler."""

    def __init__(self, load: list[Request], scaler: Scaler, begin: int) -> None:
        self.load = load
        self.scaler = scaler
        self.replicas = [Replica(ready_s=0.0, born_s=0.0) for _ in range(begin)]
        self.gone: list[Replica] = []
        self.events: list[tuple[float, int, int, Replica]] = []
        self.serial = 0
        self.first_s = [0.0] * len(load)
        self.good = 0
        self.in_flight = 0
        self.held: deque[int] = deque()
        self.peak = begin

    def run(self) -> Result:
        load, events = self.load, self.events
        look_s, place, end_s = LOOK_S, 0, load[-1].at_s
        while place < len(load) or self.in_flight:
            arrival_s = load[place].at_s if place < len(load) else float("inf")
            event_s = events[0][0] if events else float("inf")
            if look_s <= arrival_s and look_s <= event_s:
                self.look(look_s, place)
                look_s += LOOK_S
            elif arrival_s <= event_s:
                self.arrive(place, arrival_s)
                place += 1
            else:
                _, _, turn, replica = heapq.heappop(events)
                if replica.turn == turn:
                    self.step(replica, event_s)
        for replica in self.replicas:
            replica.ended_s = end_s
        seconds = sum(min(each.ended_s, end_s) - each.born_s for each in (*self.gone, *self.replicas))
        return Result(self.good / len(load), GPUS * seconds / 3600, self.peak)

    def arrive(self, request: int, now_s: float) -> None:
        self.in_flight += 1
        able = [each for each in self.replicas if each.ready_s <= now_s and not each.leaving]
        if not able:
            self.held.append(request)
            return
        replica = min(able, key=lambda each: len(each.waiting) + len(each.batch))
        replica.waiting.append(request)
        if replica.prompt < 0 and len(replica.batch) < BATCH_MAX:
            self.next(replica, now_s)

    def step(self, replica: Replica, now_s: float) -> None:
        """What was due at a replica is over."""
        if replica.prompt >= 0:
            request = replica.prompt
            self.first_s[request] = now_s
            replica.prompt, replica.seen_s = -1, now_s
            heapq.heappush(replica.batch, (replica.tokens + max(0, self.load[request].answer - 1), request))
            self.next(replica, now_s)
            return
        self.advance(replica, now_s)
        while replica.batch and replica.batch[0][0] <= replica.tokens + 1e-6:
            self.over(heapq.heappop(replica.batch)[1], now_s)
        self.next(replica, now_s)

    def over(self, request: int, now_s: float) -> None:
        self.in_flight -= 1
        at_s, _, answer = self.load[request]
        first_s = self.first_s[request]
        self.good += first_s - at_s <= FIRST_TOKEN_S_MAX and now_s - first_s <= TOKEN_S_MAX * max(
            1, answer - 1
        )

    def advance(self, replica: Replica, now_s: float) -> None:
        if replica.batch:
            replica.tokens += (now_s - replica.seen_s) / (STEP_S + STEP_S_PER_REQUEST * len(replica.batch))
        replica.seen_s = now_s

    def next(self, replica: Replica, now_s: float) -> None:
        """Say what comes next at a replica."""
        if replica.prompt < 0:
            self.advance(replica, now_s)
            if replica.waiting and len(replica.batch) < BATCH_MAX:
                replica.prompt = replica.waiting.popleft()
                due_s = now_s + self.load[replica.prompt].prompt / PROMPT_TOKENS_PER_S
            elif replica.batch:
                step_s = STEP_S + STEP_S_PER_REQUEST * len(replica.batch)
                due_s = now_s + max(0.0, replica.batch[0][0] - replica.tokens) * step_s
            else:
                if replica.leaving:
                    self.end(replica, now_s)
                return
            replica.turn += 1
            self.serial += 1
            heapq.heappush(self.events, (due_s, self.serial, replica.turn, replica))

    def end(self, replica: Replica, now_s: float) -> None:
        replica.ended_s = now_s
        self.replicas.remove(replica)
        self.gone.append(replica)

    def look(self, now_s: float, arrived: int) -> None:
        """Ask the scaler; start what is missing, let go what is too many."""
        staying = [each for each in self.replicas if not each.leaving]
        ready = sum(each.ready_s <= now_s for each in staying)
        while self.held and ready:
            self.in_flight -= 1
            self.arrive(self.held.popleft(), now_s)
        wanted = self.scaler(Seen(now_s, self.in_flight, arrived, ready, len(staying)))
        for _ in range(wanted - len(staying)):
            self.replicas.append(Replica(ready_s=now_s + START_S, born_s=now_s))
        staying.sort(key=lambda each: (each.ready_s <= now_s, each.open))
        for replica in staying[: max(0, len(staying) - wanted)]:
            replica.leaving = True
            if not replica.open:
                self.end(replica, now_s)
        self.peak = max(self.peak, wanted)


# --- scalers --------------------------------------------------------------------------------------------------


def fixed(seen: Seen) -> int:
    return seen.have


def ours(policy: Scaling) -> Scaler:
    history: deque[scale.Observation] = deque()
    pending = scale.Pending()

    def decide(seen: Seen) -> int:
        nonlocal pending
        at_ms = int(seen.now_s * 1000)
        history.append(
            scale.Observation(
                at_ms=at_ms,
                in_flight=seen.in_flight,
                arrived=seen.arrived,
                ready=seen.ready,
                start_ms=int(START_S * 1000),
            )
        )
        while history[0].at_ms < at_ms - scale.KEPT_MS - 1000 * int(LOOK_S):
            history.popleft()
        said = scale.advise(policy, list(history), seen.have, pending)
        pending = said.pending
        return said.replicas

    return decide


def hpa(busy: float) -> Scaler:
    """Kubernetes' autoscaler by its defaults: every 15 s, 10 % tolerance, the most of 300 s, up to twice as many.

    What is not ready counts as idle where that damps a rise, as it does there.
    """
    asked: deque[tuple[float, int]] = deque()
    due_s = 0.0

    def decide(seen: Seen) -> int:
        nonlocal due_s
        if seen.now_s < due_s:
            return seen.have
        due_s = seen.now_s + 15
        if not asked:
            asked.append((seen.now_s, seen.have))
        used = seen.in_flight / BATCH_MAX
        ratio = used / max(1, seen.ready) / busy
        if ratio > 1 and seen.have > seen.ready:
            ratio = max(1.0, used / seen.have / busy)
        wanted = seen.have
        if abs(ratio - 1) > 0.1:
            wanted = max(1, -int(-ratio * (seen.ready if ratio < 1 else seen.have) // 1))
        wanted = min(wanted, REPLICAS_MAX, max(2 * seen.have, seen.have + 4))
        asked.append((seen.now_s, wanted))
        while asked[0][0] < seen.now_s - 300:
            asked.popleft()
        return wanted if wanted > seen.have else min(seen.have, max(most for _, most in asked))

    return decide


def foreseen(load: list[Request], per_s: float) -> Scaler:
    """Knows all arrivals: as many as the busiest minute within a start from now needs, at `per_s` requests each."""
    times = [each.at_s for each in load]
    last = int(times[-1] // 60) + 1
    counts = [
        bisect_left(times, 60.0 * (minute + 1)) - bisect_left(times, 60.0 * minute) for minute in range(last)
    ]

    def decide(seen: Seen) -> int:
        minute = int(seen.now_s // 60)
        busiest = max(counts[minute : minute + 4], default=0)
        return min(REPLICAS_MAX, max(1, -int(-busiest / 60 / per_s // 1)))

    return decide


# --- loads ----------------------------------------------------------------------------------------------------


def azure() -> list[Request]:
    with common.data(AZURE).open() as file:
        rows = list(csv.DictReader(file))
    times = [datetime.fromisoformat(row["TIMESTAMP"][:26]) for row in rows]
    return [
        Request((at - times[0]).total_seconds(), int(row["ContextTokens"]), int(row["GeneratedTokens"]))
        for at, row in zip(times, rows, strict=True)
    ]


def servegen(lengths: list[Request], *, hours: int, seed: int = 5) -> list[Request]:
    """Arrivals by the sum of all clients' rates; between the middles of two windows the rate goes straight."""
    total: dict[int, float] = {}
    for path in sorted(common.data(SERVEGEN).glob("*.csv")):
        with path.open() as file:
            for row in csv.reader(file):
                total[int(row[0])] = total.get(int(row[0]), 0.0) + float(row[1])
    first = SERVEGEN_DAY * 86_400
    starts = [first + 600 * window for window in range(6 * hours + 1)]
    rates = [total[start] / THINNED for start in starts]
    chance = random.Random(seed)
    top, now_s, load = max(rates), 0.0, list[Request]()
    while True:
        now_s += chance.expovariate(top)
        window, part = int(now_s // 600), now_s % 600 / 600
        if window + 1 >= len(rates):
            return load
        if chance.random() * top < rates[window] * (1 - part) + rates[window + 1] * part:
            _, prompt, answer = lengths[chance.randrange(len(lengths))]
            load.append(Request(now_s, prompt, answer))


# --- figures --------------------------------------------------------------------------------------------------


def fewest(load: list[Request], most: int) -> tuple[int, Result]:
    """The smallest fixed number, of those tried downwards from `most`, that serves `WITHIN` within the goal."""
    found = Simulation(load, fixed, most).run()
    while most > 1:
        tried = Simulation(load, fixed, most - 1).run()
        if tried.within < WITHIN:
            break
        most, found = most - 1, tried
    return most, found


def figures(name: str, load: list[Request], most: int, ratio_max: float | None = None) -> list[common.Figure]:
    """All scalers on one load; all begin with as many replicas as the fixed number."""
    number, still = fewest(load, most)
    common.say(f"{name}: {number} replicas are enough")
    scalers: list[tuple[str, Scaler]] = [
        ("HPA, half of the batch", hpa(BUSY)),
        ("tawtin, 12 in flight", ours(BY_OPEN)),
        ("tawtin, 1.1 requests/s", ours(BY_RATE)),
        ("who knows all arrivals", foreseen(load, FORESEEN_PER_S)),
    ]
    results = [(f"{number} replicas, fixed", still)]
    results += [(label, Simulation(load, scaler, number).run()) for label, scaler in scalers]
    found: list[common.Figure] = []
    for label, result in results:
        mine = label.startswith("tawtin")
        found.append(
            common.figure(
                f"{name}: {label}: within the goal", "%", [100 * result.within], at_least=99 if mine else None
            )
        )
        found.append(
            common.figure(
                f"{name}: {label}: GPU hours",
                "h",
                [result.gpu_hours],
                peer=f"{number} fixed",
                peer_value=still.gpu_hours,
                at_most=ratio_max if mine else None,
                judge="ratio",
                note=f"at most {result.peak} replicas",
            )
        )
    return found


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    if not common.data(AZURE).exists():
        return [common.skipped("autoscaling", "%", f"{AZURE} is not in the data folder (TAWTIN_DATA)")]
    lengths = azure()
    found = figures("Azure's hour", lengths, 9)
    if not common.data(SERVEGEN).exists():
        return [
            *found,
            common.skipped("ServeGen", "%", f"{SERVEGEN} is not in the data folder (TAWTIN_DATA)"),
        ]
    load = servegen(lengths, hours=4 if quick else 24)
    return [*found, *figures("ServeGen's day", load, 14, None if quick else 0.75)]


if __name__ == "__main__":
    sys.exit(common.main(measure))
