"""An agent framework with a real model server: a model that has learnt to call a tool calls it, and reads the answer.

The model is the demonstration's network. It learns four turns of two conversations by their bytes; llama.cpp serves it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from demo.work import llama
from tawtin.gateway.settings import ReplicaSettings
from tests.gateway.harness import Running, running, served
from tests.gateway.llama import serving

pytestmark = pytest.mark.llama
CAPITALS: Final = {"Kenya": "Nairobi", "Morocco": "Rabat"}
TEMPLATE: Final = (
    "{% for tool in tools or [] %}{{ tool.function.name }} {% endfor %}{{ '\n' }}"
    "{% for m in messages %}{{ m.role }}: {{ m.content or '' }}"
    "{% for call in m.tool_calls or [] %}{{ '<tool_call>\n' }}"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "{{ '\n</tool_call>' }}{% endfor %}{{ '\n' }}{% endfor %}"
)
GOOD: Final = 0.02


def turns() -> list[tuple[str, str]]:
    """What the model is asked, and what it should say: first a call, and with its answer, that."""
    found: list[tuple[str, str]] = []
    for country, capital in CAPITALS.items():
        asked = f"capital \nsystem: Answer.\nuser: {country}?\n"
        said = {"name": "capital", "arguments": {"country": country}}
        call = f"<tool_call>\n{json.dumps(said)}\n</tool_call>"
        found += [(asked, call), (f"{asked}assistant: {call}\ntool: {capital}\n", capital)]
    return found


def learnt(path: Path) -> None:
    """Write a model that has learnt them."""
    texts = [(question.encode(), answer.encode()) for question, answer in turns()]
    longest = max(len(question) + len(answer) for question, answer in texts) + 2
    tokens = np.zeros((len(texts), longest), dtype=np.int64)
    counts = np.zeros((len(texts), longest - 1), dtype=np.float32)
    first = len(llama.SPECIAL)
    for row, (question, answer) in enumerate(texts):
        text = [llama.BEGIN, *(first + byte for byte in question + answer), llama.END]
        tokens[row, : len(text)] = text
        counts[row, len(question) : len(text) - 1] = 1
    weights = llama.fresh(first + 256, seed=11)
    adam = llama.Adam(weights)
    loss = 1.0
    while loss > GOOD:
        assert adam.steps < 1_000, "it does not learn"
        loss, gradient = llama.loss(weights, tokens, counts)
        adam.step(gradient)
    listed = [b" " if byte == ord(" ") else b"<0x%02X>" % byte for byte in range(256)]
    llama.write(str(path), "agent", weights, listed, 512, TEMPLATE)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("agent")
    learnt(folder / "agent.gguf")
    with serving(folder / "agent.gguf") as server:
        models = {"agent": served(ReplicaSettings(url=server.url))}
        with running(folder, models) as one:
            yield one


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_an_agent_calls_its_tool_and_reads_the_answer(gateway: Running, key: str, *, streamed: bool) -> None:
    import agents
    from openai import AsyncOpenAI

    called: list[str] = []

    def capital(country: str) -> str:
        """The capital of a country."""
        called.append(country)
        return CAPITALS[country]

    agents.set_tracing_disabled(True)

    async def ask() -> str:
        async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) as client:
            agent: Any = agents.Agent(
                name="geographer",
                instructions="Answer.",
                tools=[agents.function_tool(capital)],
                model=agents.OpenAIChatCompletionsModel(model="agent", openai_client=client),
                model_settings=agents.ModelSettings(temperature=0, max_tokens=128),
            )
            if not streamed:
                return str((await agents.Runner.run(agent, "Kenya?", max_turns=3)).final_output)
            streaming = agents.Runner.run_streamed(agent, "Morocco?", max_turns=3)
            kinds = [event.type async for event in streaming.stream_events()]
            assert kinds.count("raw_response_event") > 20
            return str(streaming.final_output)

    country = "Morocco" if streamed else "Kenya"
    assert asyncio.run(ask()) == CAPITALS[country]
    assert called == [country]
    rows = gateway.settled()[-2:]
    assert [(row["model"], row["estimated"], row["cause"]) for row in rows] == [("agent", 0, "done")] * 2
