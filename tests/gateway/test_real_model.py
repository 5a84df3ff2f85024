"""OpenAI's own client, curl and the command, against a real model server: llama.cpp with a tiny model."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from demo.work import llama
from tawtin.model.gateway import TokensUsed
from tests.cli.conftest import Home, made
from tests.gateway.harness import Running
from tests.gateway.llama import serving
from tools import tiny_model

pytestmark = pytest.mark.llama
MODELS = """
[gateway]
port = 0
snapshot_ms = 100

[models.tiny]
licence = "Apache-2.0"
languages = ["ar"]
context_tokens_max = 512
input_minor_per_million = 1000000
output_minor_per_million = 2000000
[[models.tiny.replicas]]
url = "{chat}"

[models.tiny-embed]
context_tokens_max = 512
[[models.tiny-embed.replicas]]
url = "{embed}"

[models.abroad]
[[models.abroad.replicas]]
url = "{chat}"
country = "US"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("models")
    tiny_model.write(folder / "tiny.gguf")
    with ExitStack() as stack:
        chat = stack.enter_context(serving(folder / "tiny.gguf")).url
        embed = stack.enter_context(serving(folder / "tiny.gguf", "--embeddings")).url
        home = made(folder / "home")
        stack.callback(home.end)
        settings = home.folder / "factory.toml"
        settings.write_text(settings.read_text() + MODELS.format(chat=chat, embed=embed))
        home.up()
        yield home


@pytest.fixture(scope="module")
def where(home: Home) -> tuple[str, str]:
    """The gateway's address and a key, once it answers."""
    url = home.tawtin("endpoints", "--json").json["url"]
    key = (home.folder / "data" / "owner.key").read_text().strip()

    def answers() -> bool:
        told = home.tawtin("chat", "tiny", "--max-tokens", "1", "-m", "salam")
        assert told.code in {0, 3, 8}, told.err
        return told.code == 0

    Running.until(answers, "an answer")
    return url, key


def test_openais_client_works(where: tuple[str, str]) -> None:
    from openai import AsyncOpenAI, NotFoundError, OpenAI, PermissionDeniedError

    url, key = where
    said: list[Any] = [{"role": "user", "content": "السلام عليكم"}]
    with OpenAI(base_url=url, api_key=key, max_retries=0) as client:
        assert {each.id for each in client.models.list()} == {"tiny", "tiny-embed", "abroad"}
        whole = client.chat.completions.create(model="tiny", messages=said, max_tokens=8)
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 8
        raw = client.chat.completions.with_raw_response.create(model="tiny", messages=said, max_tokens=2)
        assert (raw.headers["x-tawtin-factory"], raw.headers["x-tawtin-country"]) == ("Casablanca", "MA")
        assert client.completions.create(model="tiny", prompt="a", max_tokens=2).usage is not None
        assert client.responses.create(model="tiny", input="a", max_output_tokens=16).usage is not None
        tools: list[Any] = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
        assert client.chat.completions.create(model="tiny", messages=said, max_tokens=2, tools=tools).choices
        vector = client.embeddings.create(model="tiny-embed", input="a", encoding_format="float").data[0]
        assert len(vector.embedding) == llama.WIDTH
        with pytest.raises(NotFoundError, match="there is no model"):
            client.chat.completions.create(model="none", messages=said)
        with pytest.raises(PermissionDeniedError, match="no replica of `abroad` may have"):
            client.chat.completions.create(model="abroad", messages=said)
        chunks = list(client.chat.completions.create(model="tiny", messages=said, max_tokens=8, stream=True))
        assert all(each.choices and each.usage is None for each in chunks)
        assert chunks[-1].choices[0].finish_reason == "length"
        with client.responses.create(model="tiny", input="a", max_output_tokens=16, stream=True) as events:
            assert [each.type for each in events][-1] in {"response.completed", "response.incomplete"}

    async def at_once() -> list[str]:
        async with AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:

            async def one() -> str:
                stream = await client.chat.completions.create(
                    model="tiny",
                    messages=said,
                    max_tokens=8,
                    stream=True,
                    stream_options={"include_usage": True},
                )
                chunks = [each async for each in stream]
                return str(chunks[-1].usage and chunks[-1].usage.completion_tokens)

            return await asyncio.gather(*(one() for _ in range(8)))

    assert asyncio.run(at_once()) == ["8"] * 8


def test_curl_streams(where: tuple[str, str]) -> None:
    url, key = where
    body = {"model": "tiny", "max_tokens": 4, "stream": True, "messages": [{"role": "user", "content": "a"}]}
    done = subprocess.run(
        ["curl", "-sSN", "-m", "60", "--fail", f"{url}/chat/completions", "-H", f"Authorization: Bearer {key}",
         "-H", "Content-Type: application/json", "-d", json.dumps(body)],
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.endswith(b"data: [DONE]\n\n")


def test_the_command_lists_talks_and_counts(home: Home, where: tuple[str, str]) -> None:
    listed = home.tawtin("models")
    assert listed.code == 0, listed.err
    assert "tiny-embed" in listed.out
    assert where[0] in listed.out
    told = home.tawtin("chat", "tiny", "--max-tokens", "8", "--json", "-m", "salam")
    assert told.json["country"] == "MA"
    assert told.json["receipt"].startswith("rc-")
    refused = home.tawtin("chat", "abroad", "-m", "salam")
    assert (refused.code, "may have `personal` data" in refused.err) == (4, True)
    assert home.tawtin("chat", "none", "-m", "salam").code == 5
    assert home.tawtin("chat", "abroad", "--class", "public", "--max-tokens", "1", "-m", "salam").code == 0
    shown = home.tawtin("endpoints")
    assert "answers" in shown.out, shown.err

    def used() -> dict[tuple[str, str], TokensUsed]:
        rows = home.tawtin("endpoints", "usage", "--json").json["items"]
        return {(each["model"], each["country"]): TokensUsed(**each) for each in rows}

    tiny = used()["tiny", "MA"]
    assert tiny.cost_micro == tiny.tokens_in * 1_000_000 + tiny.tokens_out * 2_000_000 > 0
    assert tiny.estimated == 0
    assert used()["abroad", "US"].requests == 1
    assert "tiny" in home.tawtin("endpoints", "usage").out


def test_what_was_said_is_written_nowhere(home: Home, where: tuple[str, str]) -> None:
    del where
    word = "unmistakable-7f3a"
    assert home.tawtin("chat", "tiny", "--max-tokens", "2", "-m", word).code == 0
    assert home.tawtin("chat", "abroad", "-m", word).code == 4
    kept = [each for each in (home.folder / "data").rglob("*") if each.is_file()]
    assert [each.name for each in kept if word.encode() in each.read_bytes()] == []
    assert any(each.name.startswith("ledger.db") for each in kept)


def test_a_batch_is_answered(where: tuple[str, str]) -> None:
    from openai import OpenAI

    url, key = where
    body = {"model": "tiny", "max_tokens": 4, "messages": [{"role": "user", "content": "سلام"}]}
    asked = [
        {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body} for name in "abc"
    ]
    data = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in asked).encode()
    with OpenAI(base_url=url, api_key=key, max_retries=0) as client:
        file = client.files.create(file=("in.jsonl", data), purpose="batch")
        id = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        ).id
        Running.until(lambda: client.batches.retrieve(id).status in {"completed", "failed"}, "its end")
        batch = client.batches.retrieve(id)
        assert (batch.status, batch.errors) == ("completed", None)
        assert batch.output_file_id is not None
        lines = client.files.content(batch.output_file_id).read().splitlines()
        found = {each["custom_id"]: each["response"]["body"] for each in map(json.loads, lines)}
        assert {name: each["usage"]["completion_tokens"] for name, each in found.items()} == dict.fromkeys(
            "abc", 4
        )


def test_a_restart_of_the_factory_restarts_the_gateway_and_keeps_its_ledger(
    home: Home, where: tuple[str, str]
) -> None:
    del where
    before = home.tawtin("endpoints", "usage", "--json").json["items"]
    home.end()
    assert home.processes() == []
    home.up()
    Running.until(lambda: home.tawtin("endpoints", "usage", "--json").code == 0, "the ledger")
    assert home.tawtin("endpoints", "usage", "--json").json["items"] == before
