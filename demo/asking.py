"""A model of Casablanca's own: a job makes it, a service serves it, OpenAI's client asks, and a replica is killed."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from demo.claims import Claims, say
from demo.factory import DemoError, Factory
from demo.story import PYTHON, WORK

MODEL: Final = "capitals"
PRICES: Final = (4_000, 16_000)
"""Centimes for a million tokens of questions, and of answers: 40 and 160 dirhams."""
SETTINGS: Final = f"""
[gateway]
port = 0

[models.{MODEL}]
licence = "Apache-2.0"
origin = "MA"
languages = ["ar", "fr"]
context_tokens_max = 16384
input_minor_per_million = {PRICES[0]}
output_minor_per_million = {PRICES[1]}

[[models.{MODEL}.replicas]]
service = "owner/{MODEL}"
"""
ASKED: Final = {
    "ما عاصمة المغرب؟": "الرباط",
    "ما عاصمة كينيا؟": "نيروبي",
    "Quelle est la capitale de l'Égypte ?": "Le Caire",
    "ما عاصمة جنوب أفريقيا؟": "بريتوريا",
    "Quelle est la capitale du Nigeria ?": "Abuja",
}
LONG: Final = 16_000
"""Tokens: takes far longer than it takes to kill a replica."""
KILLED_AFTER: Final = 20
READY_S: Final = 60


def ask_a_model(factory: Factory, claims: Claims) -> None:
    """All of it."""
    say("a language model of its own: a job teaches it the capitals of Africa, in Arabic and French")
    factory.run("run", str(WORK / "capitals.yaml"), "-y", *PYTHON)
    shown = factory.ask("show", MODEL)["view"]["workload"]
    kept = {output["name"]: output["artifact"] for output in shown.get("outputs", ())}
    if not claims.check("what it made", want=["model"], got=sorted(kept), see=f"tawtin show {MODEL}"):
        return
    factory.run("data", "put", MODEL, kept["model"])
    say("two replicas serve it; OpenAI's client asks")
    factory.run("serve", "up", str(WORK / "serving.yaml"), *PYTHON)
    replicas = _ready(factory, 2)
    claims.check("replicas that are ready", want=2, got=len(replicas), see=f"tawtin serve status {MODEL}")
    factory.run("models")
    with _client(factory) as client:
        _answers(client, claims)
        factory.run("chat", MODEL, "--max-tokens", "32", "-m", next(iter(ASKED)))
        say("a replica is killed while it answers")
        _broken_stream(client, claims, replicas)
        _asked_again(client, claims)
    back = _ready(factory, 2)
    claims.check("the killed replica is back", want=2, got=len(back), see=f"tawtin serve status {MODEL}")
    factory.run("serve", "status", MODEL)
    say("what it cost, in dirhams")
    _price(factory, claims)
    factory.run("serve", "down", MODEL)


def _client(factory: Factory) -> Any:  # noqa: ANN401 - of a library that is a dependency of the demonstration alone
    key = (factory.folder / "data" / "owner.key").read_text().strip()
    return import_module("openai").OpenAI(base_url=factory.address()["gateway"], api_key=key, max_retries=0)


def _ready(factory: Factory, count: int) -> list[str]:
    """Addresses of the replicas that are ready, once there are so many."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        replicas = factory.ask("serve", "status", MODEL)["replicas"]
        ready = [each["address"] for each in replicas if each["readiness"] == "ready"]
        if len(ready) >= count:
            return ready
        time.sleep(0.2)
    raise DemoError(f"{count} replicas of `{MODEL}` were not ready within {READY_S} s")


def _ask(client: Any, question: str) -> tuple[str, Any]:  # noqa: ANN401 - see _client
    """The answer, and the headers."""
    said = [{"role": "user", "content": question}]
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=said, max_tokens=32, temperature=0
    )
    return str(raw.parse().choices[0].message.content), raw.headers


def _answers(client: Any, claims: Claims) -> None:  # noqa: ANN401 - see _client
    question, capital = next(iter(ASKED.items()))
    answer, headers = _ask(client, question)
    print(f"   {question}  {answer}")
    for name in ("x-tawtin-factory", "x-tawtin-country", "x-tawtin-receipt"):
        print(f"   {name}: {headers[name]}")
    claims.check(f"its answer to {question}", want=capital, got=answer, see=f"tawtin chat {MODEL}")
    where = f"{headers['x-tawtin-factory']}, {headers['x-tawtin-country']}"
    claims.check(
        "where it was answered, by the headers", want="Casablanca, MA", got=where, see="the answer's headers"
    )


def _broken_stream(client: Any, claims: Claims, replicas: list[str]) -> None:  # noqa: ANN401 - see _client
    """A long answer whose replica is killed: it ends with an error, not as if it were whole."""
    said = [{"role": "user", "content": next(iter(ASKED))}]
    stream = client.chat.completions.create(
        model=MODEL, messages=said, max_tokens=LONG, stream=True, extra_body={"ignore_eos": True}
    )
    pieces, ended = 0, "as if it were whole"
    try:
        for _ in stream:
            pieces += 1
            if pieces == KILLED_AFTER:
                _kill(_busy(replicas))
    except import_module("openai").APIError as error:
        ended = f"with an error: {error}"
    print(f"   {pieces} pieces of the answer came; it ended {ended}")
    claims.check(
        "a stream whose replica is killed ends",
        want="with an error",
        got=ended[:60],
        ok=ended.startswith("with an error") and KILLED_AFTER <= pieces < LONG,
        see="python -m demo",
    )


def _busy(addresses: list[str]) -> str:
    """The replica that answers somebody, as llama.cpp says. Raises DemoError if none does."""
    for address in addresses:
        with urllib.request.urlopen(f"http://{address}/slots", timeout=10) as answer:
            if any(each["is_processing"] for each in json.load(answer)):
                return address
    raise DemoError("the long answer was over before its replica could be killed")


def _kill(address: str) -> None:
    """Kill the program that listens there."""
    host, _, port = address.partition(":")
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if [host.encode(), port.encode()] == words[-3:-1]:
            print(f"   $ kill -9 {path.parent.name}", flush=True)
            os.kill(int(path.parent.name), signal.SIGKILL)


def _asked_again(client: Any, claims: Claims) -> None:  # noqa: ANN401 - see _client
    """At once, before anybody has noticed: what did not begin is asked of the other replica."""
    right = 0
    for question, capital in ASKED.items():
        answer, _ = _ask(client, question)
        print(f"   {question}  {answer}")
        right += answer == capital
    claims.check(
        "questions right after it, answered by the other replica",
        want=f"{len(ASKED)} of {len(ASKED)}, no error",
        got=f"{right} of {len(ASKED)}, no error",
        see=f"tawtin chat {MODEL}",
    )


def _price(factory: Factory, claims: Claims) -> None:
    factory.run("endpoints")
    factory.run("endpoints", "usage")
    rows = factory.ask("endpoints", "usage")["items"]
    (row,) = [each for each in rows if each["model"] == MODEL and each["country"] == "MA"]
    price = row["tokens_in"] * PRICES[0] + row["tokens_out"] * PRICES[1]
    dirhams = row["cost_micro"] / 100 / 1_000_000
    claims.check(
        "the price of all tokens, in millionths of a centime",
        want=price,
        got=row["cost_micro"],
        see="tawtin endpoints usage --json",
    )
    answered = len(ASKED) + 3
    claims.check(
        "requests, tokens, dirhams; one that broke off is an estimate",
        want=f"{answered} requests, 1 estimated",
        got=f"{row['requests']} requests, {row['estimated']} estimated",
        see="tawtin endpoints usage",
    )
    print(f"   {row['tokens_in']} tokens asked, {row['tokens_out']} answered: {dirhams:.6f} MAD")
