"""The catalogue of models, what was asked of them, how to ask, and a place to try."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.core.meter import MICRO, month_of
from tawtin.model.base import Record
from tawtin.model.rules import DATA_CLASSES
from tawtin.model.tenant import Scope, Tokens
from tawtin.runtime.errors import NotFound, Unavailable
from tawtin.web.console.asking import Asking, Piece, Prompt, Told, ask
from tawtin.web.console.visit import GUARDS, ROOT
from tawtin.web.errors import HttpError
from tawtin.web.exchange import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tawtin.model.gateway import EndpointsView, ModelView, TokensUsed
    from tawtin.web.console.visit import Visit
    from tawtin.web.console.words import Words

SETTINGS: Final = """\
[models.atlas-7b]
context_tokens_max = 32768

[[models.atlas-7b.replicas]]
url = "http://10.0.0.7:8000"
"""
"""How an operator names a model."""
_CURL: Final = """\
curl {url}/chat/completions \\
  -H "Authorization: Bearer $TAWTIN_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "..."}}]}}'
"""
_PYTHON: Final = """\
import os
from openai import OpenAI

client = OpenAI(base_url="{url}", api_key=os.environ["TAWTIN_KEY"])
answer = client.chat.completions.create(
    model="{model}",
    messages=[{{"role": "user", "content": "..."}}],
)
print(answer.choices[0].message.content)
"""
_SSE: Final = b"text/event-stream"
_TOKENS: Final = 512
_TOKENS_MAX: Final = 1 << 20
_PROMPT_CHARS_MAX: Final = 200_000


class Row(Record, frozen=True, kw_only=True):
    """A model in words."""

    view: ModelView
    origin: str
    languages: tuple[str, ...]
    countries: tuple[str, ...]
    used: Tokens


class Said(Record, frozen=True, kw_only=True):
    """An answer that is whole."""

    text: str
    problem: str
    facts: tuple[tuple[str, str], ...]


async def show_models(visit: Visit) -> Answer:
    """The page."""
    return await _page(visit, None, None)


async def _page(visit: Visit, prompt: Prompt | None, said: Said | None) -> Answer:
    service, actor, words = visit.service, visit.actor, visit.words
    month = month_of(visit.console.now_ms())
    try:
        served: EndpointsView | None = await service.endpoints(actor)
    except NotFound:
        served = None
    used: tuple[TokensUsed, ...] | None = ()
    if served is not None:
        try:
            used = await service.tokens(actor, month=month)
        except Unavailable:
            used = None
    sums = _sums(used or ())
    gateway = service.gateway
    return visit.render(
        "models.html",
        current="models",
        served=served,
        rows=[_row(words, each, sums.get(each.name, Tokens())) for each in served.models] if served else [],
        gone=[(name, sums[name]) for name in sorted(sums) if served and name not in _names(served)],
        month=month,
        known=used is not None,
        micro=MICRO,
        may_ask=actor.may(Scope.SUBMIT),
        classes=tuple(DATA_CLASSES),
        prompt=prompt
        or Prompt(
            model=served.models[0].name if served and served.models else "",
            text="",
            data_class=gateway.settings.class_default if gateway is not None else "",
            tokens_max=_TOKENS,
        ),
        said=said,
        tokens_most=_TOKENS_MAX,
        chars_most=_PROMPT_CHARS_MAX,
        settings=SETTINGS,
        examples=_examples(served),
    )


def _examples(served: EndpointsView | None) -> list[tuple[str, str]]:
    """The first request from a program: what it is written for, and the text."""
    if served is None or not served.models:
        return []
    name = served.models[0].name
    return [
        (kind, text.format(url=served.url, model=name))
        for kind, text in (("curl", _CURL), ("Python", _PYTHON))
    ]


def _names(served: EndpointsView) -> set[str]:
    return {each.name for each in served.models}


def _sums(used: Iterable[TokensUsed]) -> dict[str, Tokens]:
    """By model, of all tenants that the caller may see."""
    found: dict[str, Tokens] = {}
    for each in used:
        had = found.get(each.model, Tokens())
        found[each.model] = Tokens(
            requests=had.requests + each.requests,
            tokens_in=had.tokens_in + each.tokens_in,
            tokens_out=had.tokens_out + each.tokens_out,
            estimated=had.estimated + each.estimated,
            cost_micro=had.cost_micro + each.cost_micro,
        )
    return found


def _row(words: Words, view: ModelView, used: Tokens) -> Row:
    names: dict[str, str] = dict(words.locale.languages)
    return Row(
        view=view,
        origin=words.country(view.origin) if view.origin else "",
        languages=tuple(names.get(each, each) for each in view.languages),
        countries=tuple(words.country(each) for each in view.countries),
        used=used,
    )


# --- the playground -----------------------------------------------------------------------------------------------


async def ask_model(visit: Visit) -> Answer:
    """Ask a model: as a stream for the page's script, else the whole answer on the page. Raises HttpError."""
    visit.actor.need(Scope.SUBMIT)
    prompt = _prompt_of(await visit.form())
    served = await visit.service.endpoints(visit.actor)
    model = next((each for each in served.models if each.name == prompt.model), None)
    if model is None:
        raise HttpError(
            404, f"no model `{prompt.model[:200]}` is served here: choose another one", "NotFound"
        )
    gateway = visit.service.gateway
    pause_s = gateway.settings.pause_seconds_max + gateway.settings.first_byte_seconds_max if gateway else 0
    asking = await ask(visit.service, visit.actor, prompt)
    if _SSE in visit.exchange.headers.get(b"accept", b""):
        stream = _stream(visit, asking, model, pause_s)
        return Answer(media=_SSE, stream=stream, headers=[*GUARDS], close=asking.close)
    try:
        text: list[str] = []
        last = Piece()
        async with aclosing(asking.pieces(pause_s)) as pieces:
            async for piece in pieces:
                text.append(piece.text)
                last = _after(last, piece)
        said = Said(
            text="".join(text), problem=last.problem, facts=_facts(visit.words, asking.told, model, last)
        )
        return await _page(visit, prompt, said)
    finally:
        asking.close()


async def asked(visit: Visit) -> Answer:
    """Whoever comes back to the address of an answer finds the page: an answer is not kept."""
    return visit.go(f"{ROOT}/models")


def _prompt_of(fields: dict[str, str]) -> Prompt:
    """What the form says. Raises HttpError with what is wrong in it."""
    text = fields.get("prompt", "")
    tokens = fields.get("tokens", str(_TOKENS))
    if not text.strip():
        raise HttpError(400, "the prompt is empty: write one", "Invalid")
    if len(text) > _PROMPT_CHARS_MAX:
        raise HttpError(400, f"the prompt is longer than {_PROMPT_CHARS_MAX} characters", "Invalid")
    if not (tokens.isascii() and tokens.isdigit() and len(tokens) <= 7 and 1 <= int(tokens) <= _TOKENS_MAX):
        raise HttpError(400, f"`tokens` has to be a whole number from 1 to {_TOKENS_MAX}", "Invalid")
    data_class = fields.get("class", "")
    if data_class not in DATA_CLASSES:
        raise HttpError(400, f"`class` has to be one of {', '.join(DATA_CLASSES)}", "Invalid")
    return Prompt(model=fields.get("model", ""), text=text, data_class=data_class, tokens_max=int(tokens))


def _after(last: Piece, piece: Piece) -> Piece:
    """What is known of the end of an answer after one more piece."""
    return Piece(
        tokens_in=piece.tokens_in if piece.tokens_in is not None else last.tokens_in,
        tokens_out=piece.tokens_out if piece.tokens_out is not None else last.tokens_out,
        problem=last.problem or piece.problem,
    )


async def _stream(visit: Visit, asking: Asking, model: ModelView, pause_s: float) -> AsyncIterator[bytes]:
    """Events `text`, `problem` and, once, `facts`; their data is JSON, and all of it text."""
    last = Piece()
    async with aclosing(asking.pieces(pause_s)) as pieces:
        async for piece in pieces:
            if piece.text:
                yield _event("text", piece.text)
            if piece.problem and not last.problem:
                yield _event("problem", piece.problem)
            last = _after(last, piece)
    yield _event("facts", _facts(visit.words, asking.told, model, last))


def _event(name: str, value: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(value))


def _facts(words: Words, told: Told, model: ModelView, last: Piece) -> tuple[tuple[str, str], ...]:
    """Where an answer was made and what it came to, as plain text."""
    pairs: list[tuple[str, str]] = []
    if told.country:
        pairs.append((words.plain("models-answered-in"), words.country(told.country)))
    if told.factory:
        pairs.append((words.plain("models-answered-by"), told.provider or told.factory))
    if last.tokens_in is not None and last.tokens_out is not None:
        micro = (
            last.tokens_in * model.input_minor_per_million + last.tokens_out * model.output_minor_per_million
        )
        price = words.fine_money(micro / MICRO, model.currency)
        pairs.append((words.plain("usage-tokens-in"), words.number(last.tokens_in).striptags()))
        pairs.append((words.plain("usage-tokens-out"), words.number(last.tokens_out).striptags()))
        pairs.append((words.plain("cost"), price.striptags()))
    if told.receipt:
        pairs.append((words.plain("receipt"), told.receipt))
    return tuple(pairs)
