"""Files and batches by OpenAI's client, against a factory with its queue, its sandbox and its gateway."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Home, made
from tests.gateway.harness import CHAT, Running, error_of
from tests.gateway.stub import ANSWERS, COMPLETION, Asked, Stub, plain
from tests.web.raw import connect, read, request

pytestmark = [pytest.mark.llama, pytest.mark.sandbox]
SETTINGS = """
[gateway]
port = {port}
snapshot_ms = 100
class_default = "public"
file_bytes_max = 200000
batch_at_once = 2
stop_seconds_max = 1
[models.plain]
input_minor_per_million = 1000000
output_minor_per_million = 2000000
[[models.plain.replicas]]
url = "{url}"
[models.wrong]
[[models.wrong.replicas]]
url = "{url}"
[models.mute]
[[models.mute.replicas]]
url = "{url}"
[models.gate]
batch_percent = 10
input_minor_per_million = 1000000
[[models.gate.replicas]]
url = "{url}"
[models.abroad]
[[models.abroad.replicas]]
url = "{url}"
country = "US"
"""


OPEN = threading.Event()


async def gate(writer: asyncio.StreamWriter, asked: Asked) -> None:
    """Answers at once, but for what says `wait`, which it answers when the test says so."""
    while b"wait" in asked.body and not OPEN.is_set():
        await asyncio.sleep(0.02)
    await plain(writer, asked)


ANSWERS["gate"] = gate


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def home(stub: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = made(tmp_path_factory.mktemp("batches") / "home")
    settings = home.folder / "factory.toml"
    settings.write_text(settings.read_text() + SETTINGS.format(port=free_port(), url=stub.url))
    with ExitStack() as stack:
        stack.callback(home.end)
        home.up()
        yield home


@pytest.fixture(scope="module")
def url(home: Home) -> str:
    """The gateway, once it answers."""
    found = str(json.loads((home.folder / "data" / "address.json").read_text())["gateway"])
    Running.until(lambda: request(found, "GET", "/healthz").status == 200, "the gateway")
    return found


@pytest.fixture(scope="module")
def owner(home: Home) -> str:
    return (home.folder / "data" / "owner.key").read_text().strip()


@pytest.fixture(scope="module")
def other(home: Home, url: str) -> str:
    """A key of another tenant, which may not use the network by itself."""
    assert home.tawtin("tenant", "create", "lab").code == 0
    told = home.tawtin("key", "create", "--tenant", "lab", "--json")
    assert told.code == 0, told.err
    secret = str(told.json["secret"])
    # each connection is given to any of the workers, so that many have to be tried until all know it
    Running.until(
        lambda: all(request(url, "GET", "/v1/files", key=secret).status == 200 for _ in range(16)), "the key"
    )
    return secret


@pytest.fixture
def client(url: str, owner: str):
    from openai import OpenAI

    with OpenAI(base_url=url, api_key=owner, max_retries=0) as one:
        yield one


def asked(number: int, model: str = "plain", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - fields
    body = {"model": model, "max_tokens": 5, **CHAT}
    return {"custom_id": f"c{number}", "method": "POST", "url": "/v1/chat/completions", "body": body, **more}


def lines(*requests: object) -> bytes:
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in requests)


def begin(client: Any, data: bytes, **headers: str) -> Any:  # noqa: ANN401 - OpenAI's
    file = client.files.create(file=("in.jsonl", data), purpose="batch")
    return client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"what": "a test"},
        extra_headers=headers,
    )


def ended(client: Any, id: str, *statuses: str) -> Any:  # noqa: ANN401 - OpenAI's
    """The batch, once it has one of these statuses."""
    Running.until(lambda: client.batches.retrieve(id).status in statuses, f"one of {statuses}")
    return client.batches.retrieve(id)


def results(client: Any, id: str | None) -> dict[str, Any]:  # noqa: ANN401 - OpenAI's
    """What a file of results has, by `custom_id`."""
    assert id is not None
    found = [json.loads(line) for line in client.files.content(id).read().splitlines()]
    assert len({each["id"] for each in found}) == len(found)
    return {each["custom_id"]: each for each in found}


def test_a_file_is_kept_listed_read_and_deleted(client: Any) -> None:  # noqa: ANN401 - OpenAI's
    from openai import NotFoundError

    data = bytes(range(256)) * 700  # longer than any buffer on its way
    file = client.files.create(file=("../../etc/passwd", data), purpose="batch")
    assert (file.bytes, file.filename, file.purpose, file.object) == (len(data), "passwd", "batch", "file")
    assert file.expires_at is not None
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == data
    short = client.files.create(
        file=("b", b""), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert short.expires_at == short.created_at + 3600
    assert [each.id for each in client.files.list(limit=1)] == [short.id, file.id], "over two pages"
    assert [each.id for each in client.files.list(order="asc", purpose="batch")] == [file.id, short.id]
    for each in (file, short):
        assert client.files.delete(each.id).deleted
    with pytest.raises(NotFoundError):
        client.files.retrieve(file.id)
    with pytest.raises(NotFoundError):
        client.files.content(file.id)
    assert list(client.files.list()) == []


def test_a_file_that_is_none_leaves_nothing_behind(home: Home, url: str, owner: str) -> None:
    def send(body: bytes, media: str = "multipart/form-data; boundary=B", **headers: str) -> tuple[int, str]:
        return error_of(request(url, "POST", "/v1/files", key=owner, body=body, media=media, headers=headers))

    head = b'--B\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n'
    purpose = b'\r\n--B\r\ncontent-disposition: form-data; name="purpose"\r\n\r\n'
    assert send(b"{}", "application/json") == (415, "unsupported_media_type")
    assert send(head + b"x" + purpose + b"vision\r\n--B--\r\n") == (400, "invalid_value")
    assert send(head + b"x" + purpose + b"batch") == (400, "invalid_form"), "it has no end"
    assert send(head + b"x\r\n--B\r\nnothing\r\n\r\n--B--\r\n") == (400, "invalid_form")
    assert send(purpose[2:] + b"batch\r\n--B--\r\n") == (400, "invalid_value"), "no file"
    assert send(head + b"x" * 250_000 + purpose + b"batch\r\n--B--\r\n") == (413, "file_too_large")
    assert send(head + b"x" * 400_000) == (413, "body_too_large")
    assert error_of(request(url, "PUT", "/v1/files", key=owner, body=b"{}")) == (405, "method")
    assert error_of(request(url, "GET", "/v1/files?limit=x", key=owner)) == (400, "invalid_value")
    assert error_of(request(url, "GET", "/v1/files/..%2f..%2fsecret/content", key=owner))[0] == 404
    assert error_of(request(url, "GET", "/v1/files", key="twk_no_key")) == (401, "invalid_api_key")
    assert list((home.folder / "data/gateway/batches/files").iterdir()) == []


def test_a_file_may_come_in_chunks_and_in_bytes(url: str, owner: str) -> None:
    head = f"POST /v1/files HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {owner}\r\ntransfer-encoding: chunked\r\n"
    head += "content-type: multipart/form-data; boundary=B\r\n\r\n"
    data = b"\r\n--" * 5_000 + b"\r\n-"
    form = b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--B\r\n'
    form += b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + data + b"\r\n--B--\r\n"
    sent = b"".join(
        b"%x\r\n%s\r\n" % (len(form[at : at + 7]), form[at : at + 7]) for at in range(0, len(form), 7)
    )
    with connect(url) as one:
        one.sendall(head.encode() + sent + b"0\r\n\r\n")
        got = read(one, "POST").json
        one.sendall(
            f"GET /v1/files/{got['id']}/content HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {owner}\r\n\r\n".encode()
        )
        assert read(one).body == data, "over the same connection"
        one.sendall(
            f"DELETE /v1/files/{got['id']} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {owner}\r\n\r\n".encode()
        )
        assert read(one).json["deleted"]
        one.sendall(head.encode() + b"5\r\n--B\r\nno\r\n")
        assert error_of(read(one, "POST")) == (400, "bad_http")


def test_files_and_batches_of_another_tenant_are_not_there(
    client: Any,  # noqa: ANN401 - OpenAI's
    url: str,
    owner: str,
    other: str,
) -> None:
    file = client.files.create(file=("in.jsonl", lines(asked(1))), purpose="batch")
    paths = [
        ("GET", f"/v1/files/{file.id}"),
        ("GET", f"/v1/files/{file.id}/content"),
        ("DELETE", f"/v1/files/{file.id}"),
    ]
    for method, path in paths:
        assert error_of(request(url, method, path, key=other)) == (404, "NotFound")
    wanted = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    assert error_of(request(url, "POST", "/v1/batches", key=other, body=wanted)) == (404, "NotFound")
    assert request(url, "GET", "/v1/files", key=other).json["data"] == []
    batch = begin(client, lines({"not": "a request"}))
    for method, path in (("GET", ""), ("POST", "/cancel")):
        assert error_of(request(url, method, f"/v1/batches/{batch.id}{path}", key=other))[0] == 404
    for key in (other, owner):  # only the job's own key
        got = request(url, "GET", f"/v1/batches/{batch.id}/lines", key=key)
        assert error_of(got) == (401, "invalid_api_key")
    assert request(url, "GET", "/v1/batches", key=other).json["data"] == []
    client.files.delete(file.id)


def rows(home: Home, model: str) -> list[dict[str, Any]]:
    """The ledger's settled rows of a model."""
    path = home.folder / "data/gateway/ledger.db"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        found = db.execute("SELECT * FROM requests WHERE model = ? AND settled_ms IS NOT NULL", (model,))
        return [dict(each) for each in found]


def test_a_batch_is_a_job_whose_requests_cost_half(home: Home, client: Any) -> None:  # noqa: ANN401 - OpenAI's
    whole = client.chat.completions.create(model="plain", messages=CHAT["messages"], max_tokens=5)
    assert whole.choices[0].message.content == "marhaba"
    Running.until(lambda: len(rows(home, "plain")) == 1, "the settlement")
    (whole_row,) = rows(home, "plain")
    assert whole_row["micro"] == 7_000_000 + 2 * 3_000_000
    batch = begin(client, lines(*(asked(number) for number in range(20))), **{"x-tawtin-class": "personal"})
    assert (batch.object, batch.endpoint, batch.completion_window) == ("batch", "/v1/chat/completions", "24h")
    assert batch.metadata == {"what": "a test"}
    done = ended(client, batch.id, "completed", "failed")
    assert (done.status, done.errors, done.error_file_id) == ("completed", None, None)
    counts = done.request_counts
    assert (counts.total, counts.completed, counts.failed) == (20, 20, 0)
    assert done.in_progress_at <= done.finalizing_at <= done.completed_at <= done.expires_at
    found = results(client, done.output_file_id)
    assert found.keys() == {f"c{number}" for number in range(20)}
    assert all(each["response"]["body"] == COMPLETION and each["error"] is None for each in found.values())
    Running.until(lambda: len(rows(home, "plain")) == 21, "the settlements")
    mine = {each["receipt"]: each for each in rows(home, "plain")}
    for each in found.values():
        row = mine[each["response"]["request_id"]]
        assert (row["micro"], row["tenant"]) == ((7_000_000 + 2 * 3_000_000) // 2, "owner")
        assert row["key"] == whole_row["key"], "its limits hold for the batch"
    shown = home.tawtin("show", done.workload, "--json").json["view"]["workload"]
    assert (shown["phase"], shown["spec"]["priority"], shown["spec"]["data"]["class"]) == (
        "succeeded",
        -100,
        "personal",
    )
    assert client.batches.list(limit=1).data[0].id == batch.id
    assert batch.id in home.tawtin("batches", "ls", "--limit", "3").out
    assert home.tawtin("batches", "show", "batch_none").code == 5


def test_what_fails_stands_in_the_file_of_errors(client: Any) -> None:  # noqa: ANN401 - OpenAI's
    done = ended(client, begin(client, lines(asked(1, "wrong"), asked(2, "wrong"))).id, "completed", "failed")
    assert (done.status, done.output_file_id, done.request_counts.failed) == ("completed", None, 2)
    found = results(client, done.error_file_id)
    assert {each["response"]["status_code"] for each in found.values()} == {400}
    assert found["c1"]["response"]["body"] == {"error": {"message": "no such tool"}}


def test_a_batch_keeps_to_the_rules_of_its_class(client: Any, stub: Stub) -> None:  # noqa: ANN401 - OpenAI's
    before = len(stub.asked)
    batch = begin(client, lines(asked(1, "abroad")), **{"x-tawtin-class": "government_sensitive"})
    done = ended(client, batch.id, "completed", "failed")
    body = results(client, done.error_file_id)["c1"]["response"]["body"]
    assert (body["error"]["code"], len(stub.asked)) == ("no_lawful_replica", before)


def test_a_tenant_without_the_network_has_batches_too(home: Home, url: str, other: str) -> None:
    from openai import OpenAI

    with OpenAI(base_url=url, api_key=other, max_retries=0) as client:
        done = ended(client, begin(client, lines(asked(1))).id, "completed", "failed")
        assert done.status == "completed", done.errors
    usage = home.tawtin("endpoints", "usage", "--json").json["items"]
    assert [each["requests"] for each in usage if each["tenant"] == "lab"] == [1]


@pytest.mark.parametrize(
    ("data", "line", "code"),
    [
        (b"", None, "empty_file"),
        (lines(asked(1)) + b"nonsense\n", 2, "invalid_json_line"),
        (b'{"custom_id": "a", "custom_id": "b"}\n', 1, "invalid_json_line"),
        (lines(asked(1), asked(2), asked(1)), 3, "duplicate_custom_id"),
        (lines(asked(1, method="GET")), 1, "invalid_method"),
        (lines(asked(1, url="/v1/embeddings")), 1, "invalid_url"),
        (lines(asked(1, custom_id=1)), 1, "invalid_custom_id"),
        (lines(asked(1, body="text")), 1, "invalid_body"),
        (lines(asked(1, body={"model": "plain", "stream": True})), 1, "invalid_value"),
        (lines(asked(1, body={"model": "plain", "n": -1})), 1, "invalid_value"),
        (lines(asked(1, "none")), 1, "model_not_found"),
        (lines(asked(1), asked(2, "wrong")), 2, "mismatched_model"),
        (lines(asked(1, priority=3)), 1, "unknown_parameter"),
    ],
)
def test_a_file_that_is_no_batch_fails_with_its_lines(
    client: Any,  # noqa: ANN401 - OpenAI's
    data: bytes,
    line: int | None,
    code: str,
) -> None:
    done = ended(client, begin(client, data).id, "completed", "failed")
    assert (done.status, done.failed_at is not None) == ("failed", True)
    assert [(each.line, each.code) for each in done.errors.data] == [(line, code)]
    assert (done.output_file_id, done.error_file_id) == (None, None)


def test_a_batch_that_is_asked_for_wrongly_is_refused(client: Any, url: str, owner: str) -> None:  # noqa: ANN401 - OpenAI's
    file = client.files.create(file=("in.jsonl", lines(asked(1))), purpose="batch")
    right = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    for wrong, want in (
        ({"endpoint": "/v1/audio"}, (400, "invalid_value")),
        ({"completion_window": "1h"}, (400, "invalid_value")),
        ({"metadata": {"a": 1}}, (400, "invalid_value")),
        ({"input_file_id": "file-none"}, (404, "NotFound")),
        ({"unknown": 1}, (400, "invalid_value")),
    ):
        got = request(url, "POST", "/v1/batches", key=owner, body={**right, **wrong})
        assert error_of(got) == want
    got = request(url, "POST", "/v1/batches", key=owner, body=right, headers={"x-tawtin-class": "secret"})
    assert error_of(got) == (400, "invalid_class")


def test_a_batch_is_cancelled_by_the_api_or_as_a_job(home: Home, client: Any, stub: Stub) -> None:  # noqa: ANN401 - OpenAI's
    from openai import BadRequestError

    three = [begin(client, lines(asked(1, "mute"))) for _ in range(3)]
    Running.until(lambda: sum(b'"mute"' in each.body for each in stub.asked) == 3, "their requests")
    told = home.tawtin("batches", "cancel", three[0].id, "--json")
    assert told.json["status"] == "cancelling", told.err
    assert client.batches.cancel(three[2].id).status == "cancelling"
    job = client.batches.retrieve(three[1].id).workload
    assert home.tawtin("cancel", job).code == 0
    for each in three:
        done = ended(client, each.id, "cancelled", "completed", "failed")
        assert f"{each.id}: cancelled" in home.tawtin("batches", "show", each.id[:-3]).out
        assert (done.status, done.output_file_id) == ("cancelled", None)
        assert results(client, done.error_file_id)["c1"]["error"]["code"] == "batch_cancelled"
        with pytest.raises(BadRequestError):
            client.batches.cancel(each.id)


def runner_of(batch: str) -> int:
    """The process that asks a batch's requests."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if b"python3" not in path.joinpath("cmdline").read_bytes():
                continue
            if f"TAWTIN_BATCH={batch}".encode() in path.joinpath("environ").read_bytes().split(b"\0"):
                return int(path.name)
        except OSError:
            continue
    raise AssertionError(batch)


def test_a_batch_goes_on_when_its_job_and_then_the_factory_are_killed(
    home: Home,
    client: Any,  # noqa: ANN401 - OpenAI's
    stub: Stub,
    url: str,
) -> None:
    said = {"messages": [{"role": "user", "content": "wait"}], "model": "gate", "max_tokens": 5}
    data = lines(*(asked(number, "gate") for number in range(4)), asked(4, body=said))
    lasting, late = begin(client, data), begin(client, data)

    def waiting(number: int) -> bool:
        return sum(b"wait" in each.body and b"gate" in each.body for each in stub.asked) == number

    def quick_ones() -> bool:
        counts = [client.batches.retrieve(each.id).request_counts.completed for each in (lasting, late)]
        return counts == [4, 4]

    Running.until(lambda: waiting(2) and quick_ones(), "all but the last answers")
    job = client.batches.retrieve(lasting.id).workload
    os.kill(runner_of(lasting.id), signal.SIGKILL)
    Running.until(lambda: waiting(3), "the next job")
    assert client.batches.retrieve(lasting.id).workload != job
    os.kill(home.pid(), signal.SIGKILL)
    path = home.folder / "data/gateway/batches/batches.db"
    Running.until(lambda: all(b"tawtin.gateway" not in _words(pid) for pid in home.processes()), "its end")
    with closing(sqlite3.connect(path)) as db, db:
        (body,) = db.execute("SELECT body FROM batches WHERE id = ?", (late.id,)).fetchone()
        old = json.loads(body)
        old["created_ms"] -= 86_400_000
        db.execute("UPDATE batches SET body = ? WHERE id = ?", (json.dumps(old).encode(), late.id))
    home.up()
    Running.until(lambda: request(url, "GET", "/v1/files", key=client.api_key).status == 200, "the gateway")
    over = ended(client, late.id, "expired", "completed", "failed")
    assert (over.status, over.request_counts.completed, over.request_counts.failed) == ("expired", 4, 1)
    assert results(client, over.error_file_id)["c4"]["error"]["code"] == "batch_expired"
    OPEN.set()
    done = ended(client, lasting.id, "completed", "failed")
    assert (done.status, done.request_counts.completed) == ("completed", 5)
    assert results(client, done.output_file_id).keys() == {f"c{number}" for number in range(5)}
    quick = [each for each in stub.asked if b"gate" in each.body and b"wait" not in each.body]
    assert len(quick) == 8, "no request is asked again once its answer is recorded"
    Running.until(lambda: sum(not each["estimated"] for each in rows(home, "gate")) >= 9, "settlements")
    exact = [each["micro"] for each in rows(home, "gate") if not each["estimated"]]
    assert exact == [700_000] * 9


def _words(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
