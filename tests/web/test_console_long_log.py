"""A log of any length: its page and whoever follows read its end, and a download goes by in pieces."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Final

from tawtin.model.tenant import Scope
from tawtin.model.views import LogChunk
from tests.web.browsing import signed_in
from tests.web.harness import JOB, FakeEngine, running

LINE: Final = b"%07d a line of a log that is long\n"
LINES: Final = 400_000
TAIL: Final = 5_000


class Counting(FakeEngine):
    """Keeps how much of logs is read, and the most at one time."""

    read = 0
    most = 0

    def log(self, run: str, offset: int, limit: int) -> LogChunk:
        chunk = super().log(run, offset, limit)
        self.read += len(chunk.data)
        self.most = max(self.most, len(chunk.data))
        return chunk


def test_the_end_of_a_long_log_is_read_and_its_download_goes_by_in_pieces(tmp_path: Path) -> None:
    engine = Counting()
    whole = b"".join(LINE % number for number in range(LINES))
    with running(tmp_path, engine=engine) as factory:
        with factory.client("lab", Scope.SUBMIT) as client:
            work = client.submit(JOB).workloads[0].id
        run = factory.started(work)
        engine.write(run, whole)
        engine.end(run)
        factory.until(lambda: work not in factory.service.state.workloads, "its end")
        with signed_in(factory, factory.key("lab", Scope.READ)) as browser:
            page = browser.get(f"/console/workloads/{work}").text
            assert f"{LINES - 1:07d} a line" in page
            assert engine.read <= 64 << 10
            engine.read = 0
            said = browser.get(f"/console/workloads/{work}/log", headers={"accept": "text/event-stream"}).text
            pieces = [
                b64decode(json.loads(each)["data"]) for each in re.findall(r"data: (\{.*\"data\".*\})", said)
            ]
            assert b"".join(pieces) == whole[-TAIL * len(LINE % 0) :]
            assert engine.read <= 2 << 20
            assert engine.most <= 1 << 20
            engine.most = 0
            got = browser.get(f"/console/workloads/{work}/log?download=1")
            assert got.content == whole
            assert "attachment" in got.headers["content-disposition"]
            assert engine.most <= 64 << 10
