"""A home factory from docs/protocol.md alone: nothing of ours. What this one only remembers, a real one writes down."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import ProxyHandler, Request, build_opener

from tests.peering.independent import Headers, Json, Party, canonical, cost_minor, full, holds

MESSAGES, LOG = "/peer/v1/messages", "/peer/v1/log"
PAID, OPEN = ("finished", "cancelled"), ("asking", "placed", "heard")


def to(about: Json, kind: str, **more: object) -> Json:
    """A message about the same epoch."""
    return {"message": kind, "workload": about["workload"], "epoch": about["epoch"], **more}


class Home(Party):
    """A factory that owns work and has no machine."""

    def __init__(self, name: str, seed: bytes) -> None:
        super().__init__(name, seed, int(time.time()))
        self.addresses: Headers = {}
        self.jobs: dict[tuple[str, int], Json] = {}
        self.heard: list[Json] = []

    def ask(self, peer: str, reserve: Json, offer: Json) -> Json:
        """Look for room for an epoch at a peer. `offer` is the commit, without what the peer has yet to say."""
        job: Json = {"peer": peer, "state": "asking", "reserve": reserve, "commit": offer, "stop": ""}
        self.jobs[reserve["workload"], reserve["epoch"]] = job
        return job

    def repeat(self) -> None:
        """Say what has to arrive and was not heard yet."""
        for job in list(self.jobs.values()):
            said = {"asking": job["reserve"], "placed": job["commit"]}.get(job["state"])
            if job["stop"] and job["state"] in OPEN:
                said = to(job["commit"], "stop", resv=job["commit"]["resv"], reason=job["stop"])
            self.say(job["peer"], [said] if said else [])

    def hear(self, sender: str, said: Json) -> list[Json]:
        """Take in one message; what is answered."""
        self.heard.append(said)
        kind, job = said["message"], self.jobs.get((said["workload"], said["epoch"]))
        if job is None or job["peer"] != sender:
            return [to(said, "stop", resv=said["req"], reason="fenced")] if kind == "renew" else []
        is_open = job["state"] in OPEN
        if kind == "reserved" and job["state"] == "asking":
            agreed = {name: said[name] for name in ("resv", "shape", "rate")}
            job |= {"state": "placed", "at": time.time(), "commit": {**job["commit"], **agreed}}
            return [job["commit"]]
        if kind == "renew":
            if is_open and not job["stop"]:
                job["state"] = "heard"
                return [to(said, "renew_ok", req=said["req"])]
            reason = job["stop"] if is_open else "fenced"
            return [to(said, "stop", resv=job["commit"]["resv"], reason=reason)]
        if kind == "complete":
            if "receipt" not in job:
                why = self.quarrel(job, said) if is_open else "it was closed before"
                paid = is_open and said["outcome"] in PAID
                job |= {"state": "closed", "receipt": said["receipt"], "why": why, "accepted": paid}
            return [to(said, "complete_ack", accepted=job["accepted"]), self.money(job, said)]
        if kind == "receipt" and "receipt" in job:
            return [self.money(job, said)]
        if is_open and kind == "not_held" and said["resv"] == job["commit"].get("resv"):
            job["state"] = "released"
        elif kind == "settled" or (kind == "committed" and job["state"] == "placed"):
            job["state"] = "settled" if kind == "settled" else "heard"
        return []

    def quarrel(self, job: Json, said: Json) -> str:
        """Why a receipt is not paid for; empty if it is."""
        receipt, commit = said["receipt"]["receipt"], job["commit"]
        agreed = {name: commit[name] for name in ("workload", "epoch", "shape", "rate")}
        agreed |= {"home": self.name, "visited": job["peer"], "outcome": said["outcome"]}
        agreed["nodes"] = commit["spec"]["demand"].get("nodes", 1)
        wall_ms, gpu_ms = (receipt["usage"].get(name, 0) for name in ("wall_ms", "gpu_ms"))
        gpus = receipt["shape"].get("gpus", 0) * receipt["nodes"]
        wrong = {
            "signature": not holds(self.keys[job["peer"]], said["receipt"]["signature"], canonical(receipt)),
            "subject": full(receipt) != full({**receipt, **agreed}),
            "cost": receipt["cost_minor"] != cost_minor(receipt),
            "time": wall_ms > 2000 * (time.time() - job["at"]) + 60_000,
            "GPU time": gpu_ms > gpus * (wall_ms + 60_000),
            "outcome": said["outcome"] not in PAID,
        }
        return next((f"not as agreed: its {name}" for name, is_so in wrong.items() if is_so), "")

    def money(self, job: Json, said: Json) -> Json:
        """The same word about the same receipt, however often it is asked for."""
        body = canonical(said["receipt"]["receipt"])
        why = job["why"] if said["receipt"] == job["receipt"] else "another receipt was given before"
        word = (
            to(said, "countersign", signature=self.sign(body)) if not why else to(said, "dispute", reason=why)
        )
        return {**word, "receipt_digest": hashlib.sha256(body).hexdigest()}

    def say(self, peer: str, messages: list[Json]) -> None:
        with suppress(OSError):  # what is lost is said again: by us, or because we are asked again
            if messages:
                self.post(peer, MESSAGES, {"version": 1, "messages": messages})

    def post(self, peer: str, path: str, value: Json) -> Json:
        """Ask a peer something. Raises OSError if it does not answer or refuses."""
        body, about = canonical(value), f'created={int(time.time())};nonce="{secrets.token_hex(16)}"'
        asked = self.signed(peer, path, body, about)
        posted = Request(self.addresses[peer] + path, body, asked)  # noqa: S310 - an address of the test
        with build_opener(ProxyHandler({})).open(posted, timeout=10) as got:
            answer, headers = got.read(), {name.lower(): value for name, value in got.headers.items()}
        assert self.is_answer(asked, path, 200, headers, answer), answer
        return json.loads(answer)

    def listen(self) -> ThreadingHTTPServer:
        """Take in what is posted to a port of loopback, until the server that is returned is shut down."""
        home = self

        class Door(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                headers, now = {name.lower(): value for name, value in self.headers.items()}, int(time.time())
                body, sender = (
                    self.rfile.read(int(headers["content-length"])),
                    headers.get("tawtin-sender", ""),
                )
                token = home.refusal("POST", self.path, headers, body, now)
                if token:
                    self.send_error(401, token)
                    return
                messages = json.loads(body).get("messages", [])
                answer = canonical({"taken": len(messages)})
                self.send_response(200)
                for header in home.signed(sender, self.path, answer, f"created={now}", headers).items():
                    self.send_header(*header)
                self.end_headers()
                self.wfile.write(answer)
                home.say(sender, [reply for each in messages for reply in home.hear(sender, each)])

            def log_message(self, *_: object, **__: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        threading.Thread(target=server.serve_forever, args=(0.1,)).start()
        return server
