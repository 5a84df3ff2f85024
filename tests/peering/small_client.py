"""A home in one file, from docs/protocol.md alone: it takes up an invitation, has a job run, and pays for it.

`small_client.py INVITATION SCRIPT` prints its digits, reads the host's, prints the receipt; it remembers no nonces.
"""

import hashlib
import hmac
import json
import queue
import secrets
import sys
import threading
import time
from base64 import b64decode, b64encode, urlsafe_b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Json = dict[str, Any]
Headers = dict[str, str]
NAME, PATH, TAG, REQ = "Elsewhere", "/peer/v1/messages", '"tawtin-peer-1"', '"signature";req'
ENDS = '"content-digest" "content-type" "tawtin-sender" "tawtin-recipient"'
REQUEST = f'"@method" "@path" {ENDS} "tawtin-version"'
ANSWER = f'"@status" {ENDS} "@path";req {REQ}'
ASKED, ANSWERED = {'"@method"': "POST", '"@path"': PATH}, {'"@status"': "200", '"@path";req': PATH}
DEMAND = {"options": [{"gpu_model": "H100", "gpus": 1, "memory_mib": 256}]}
WHAT: Json = {"demand": DEMAND, "data": {"origin": "MA"}}
ABOUT: Json = {"mode": "wait", "lease_ms": 0, "owner": {"kind": "private", "country": "MA"}}
private = Ed25519PrivateKey.generate()
mine = b64encode(private.public_key().public_bytes_raw()).decode()
host: Json = {}
heard: queue.Queue[Json] = queue.Queue()


def plain(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def digest(body: bytes) -> str:
    return f"sha-256=:{b64encode(hashlib.sha256(body).digest()).decode()}:"


def check(signature: str, body: bytes) -> None:
    Ed25519PublicKey.from_public_bytes(b64decode(host["key"])).verify(b64decode(signature), body)


def base_of(headers: Headers, own: Headers, covers: str, parameters: str) -> bytes:
    values = {f'"{name}"': value for name, value in headers.items()} | own
    lines = [f"{name}: {values[name]}" for name in covers.split(" ")]
    return "\n".join([*lines, f'"@signature-params": {parameters}']).encode()


def signed(body: bytes, covers: str, own: Headers, more: str = "") -> Headers:
    headers = {"content-type": "application/json", "content-digest": digest(body)}
    headers |= {"tawtin-sender": NAME, "tawtin-recipient": host["name"], "tawtin-version": "1"}
    parameters = f'({covers});created={int(time.time())}{more};keyid="{mine}";alg="ed25519";tag={TAG}'
    signature = b64encode(private.sign(base_of(headers, own, covers, parameters))).decode()
    return {**headers, "signature-input": f"tawtin={parameters}", "signature": f"tawtin=:{signature}:"}


def opened(headers: Headers, own: Headers, wanted: str, body: bytes) -> Headers:
    """The parameters of a signature of the host. Raises what comes for one that does not hold."""
    input_ = headers["signature-input"].removeprefix("tawtin=")
    covers, _, rest = input_[1:].partition(")")
    check(headers["signature"][8:].rstrip(":"), base_of(headers, own, covers, input_))
    about = dict(each.split("=", 1) for each in rest.split(";")[1:])
    ends = [headers[name] for name in ("tawtin-sender", "tawtin-recipient", "content-digest")]
    assert set(wanted.split(" ")) <= set(covers.split(" "))
    assert [*ends, about["tag"]] == [host["name"], NAME, digest(body), TAG]
    return about


def send(url: str, body: bytes, headers: Headers) -> tuple[bytes, Headers]:
    with build_opener(ProxyHandler({})).open(Request(url, body, headers), timeout=10) as got:  # noqa: S310
        return got.read(), {name.lower(): value for name, value in got.headers.items()}


def say(kind: str, **more: object) -> None:
    """Post a message about the only epoch that there is."""
    body = plain({"version": 1, "messages": [{"message": kind, "workload": "wl-1", "epoch": 1, **more}]})
    asked = signed(body, REQUEST, ASKED, f';nonce="{secrets.token_hex(16)}"')
    answer, headers = send(host["address"] + PATH, body, asked)
    opened(headers, {**ANSWERED, REQ: asked["signature"]}, ANSWER, answer)


class Door(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers["content-length"]))
        about = opened(headers, ASKED, REQUEST, body)
        assert -30 <= time.time() - int(about["created"]) <= 150
        messages = json.loads(body).get("messages", [])
        answer = plain({"taken": len(messages)})
        self.send_response(200)
        for header in signed(answer, ANSWER, {**ANSWERED, REQ: headers["signature"]}).items():
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(answer)
        for each in messages:
            heard.put(each)


def join(text: str, address: str) -> None:
    """Take up an invitation, and compare digits with the operator of the host."""
    invitation = json.loads(urlsafe_b64decode(text.removeprefix("tawtin-invitation-") + "=="))
    secret, nonce, crossed = bytes.fromhex(invitation["secret"]), secrets.token_bytes(16), list[bytes]()
    party = {"name": NAME, "country": "MA", "currency": "MAD", "key": mine, "address": address}
    joining: Json = {"step": "join", "party": party, "commitment": sha(b"tawtin-nonce-1\n" + nonce)}
    for step in (joining, {"step": "reveal", "nonce": nonce.hex()}):
        body = plain({**step, "invitation": sha(secret)})
        proof = hmac.digest(secret, b"request\n" + body, "sha256").hex()
        answer, headers = send(f"{invitation['address']}/peer/v1/introduction", body, {"tawtin-proof": proof})
        assert headers["tawtin-proof"] == hmac.digest(secret, f"{proof}\n".encode() + answer, "sha256").hex()
        crossed += [body, answer]
    host.update(json.loads(crossed[1])["party"])
    lines = ("tawtin-introduction-1", sha(crossed[0]), sha(crossed[1]), nonce.hex(), "")
    number = int(sha("\n".join(lines).encode())[:16], 16)
    print(f"{number // 10**6 % 10**6:06d}", flush=True)
    assert sys.stdin.readline().strip() == f"{number % 10**6:06d}", "somebody may stand in between"


def run(spec: Json) -> Json:
    """Have it run, and return the receipt once the host knows that it is paid for."""
    receipt: Json = {}
    say("reserve", spec_digest=sha(plain(spec)), **WHAT, **ABOUT)
    while (said := heard.get(timeout=60))["message"] != "settled":
        if said["message"] == "reserved":
            say("commit", spec=spec, **ABOUT, **{name: said[name] for name in ("resv", "shape", "rate")})
        elif said["message"] == "renew":
            say("renew_ok", req=said["req"])
        elif said["message"] in {"complete", "receipt"}:
            receipt, body = said["receipt"]["receipt"], plain(said["receipt"]["receipt"])
            check(said["receipt"]["signature"], body)
            say("complete_ack", accepted=True)
            say("countersign", receipt_digest=sha(body), signature=b64encode(private.sign(body)).decode())
        else:
            assert said["message"] == "committed", said
    return receipt


server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
threading.Thread(target=server.serve_forever, daemon=True).start()
join(sys.argv[1], f"http://127.0.0.1:{server.server_port}")
print(json.dumps(run({"name": "from-elsewhere", "run": sys.argv[2], **WHAT})))
