"""Which factory a command speaks to, and with which key.

In this order: `--factory` and `--key-file`; `TAWTIN_FACTORY` with `TAWTIN_KEY` or `TAWTIN_KEY_FILE`; `client.toml` of
the home folder, `TAWTIN_HOME` or else `~/.tawtin`. `client.toml` has `factory` (an address) or `address_file` (what a
factory on this machine writes while it runs), and `key_file`; paths are relative to it. Starts fast: no msgspec.
"""

from __future__ import annotations

import json
import os

from tawtin.cli import exits

CLIENT = "client.toml"
FACTORY = "factory.toml"


class Target:
    """Where a factory is, and the key for it."""

    def __init__(self, *, url: str, key: str, refresh: str = "") -> None:
        """Keep the address without a slash at its end; `refresh` is the file to read the address from again."""
        self.url = url.rstrip("/")
        self.key = key
        self.refresh = refresh

    def moved(self) -> bool:
        """Read the address file again, as a restarted factory may listen elsewhere; whether the address changed."""
        if not self.refresh:
            return False
        try:
            url = read_address(self.refresh)["url"].rstrip("/")
        except (exits.Fault, KeyError):
            return False
        changed = url != self.url
        self.url = url
        return changed


def home() -> str:
    """The folder with `factory.toml` and `client.toml` where none is named."""
    return os.environ.get("TAWTIN_HOME") or os.path.expanduser("~/.tawtin")


def find(*, factory: str | None = None, key_file: str | None = None) -> Target:
    """Return the factory to speak to. Raises Fault, saying how to name one."""
    url = factory or os.environ.get("TAWTIN_FACTORY") or ""
    file = key_file or os.environ.get("TAWTIN_KEY_FILE") or ""
    key = "" if key_file else os.environ.get("TAWTIN_KEY", "")
    refresh = ""
    if not url or not (key or file):
        client = _client()
        file = file or client.get("key_file", "")
        if not url:
            url = client.get("factory", "")
            refresh = "" if url else client.get("address_file", "")
    if not url and refresh:
        url = read_address(refresh).get("url", "")
    if not url:
        hint = (
            "make one with `tawtin init` and `tawtin up`, or name one: --factory URL, or TAWTIN_FACTORY=URL"
        )
        raise exits.Fault(f"no factory is named in `{home()}`", exits.UNREACHABLE, hint=hint)
    if not url.startswith(("http://", "https://")):
        raise exits.Fault(f"`{url}` is not an address", hint="write it as http://host:port")
    return Target(url=url, key=key or _read_key(file), refresh=refresh)


def read_address(file: str) -> dict[str, str]:
    """What a running factory wrote about itself: `url` and `pid`. Raises Fault if none runs."""
    try:
        with open(file, encoding="utf-8") as source:
            return {name: str(value) for name, value in json.load(source).items()}
    except FileNotFoundError:
        raise exits.Fault(
            f"the factory of `{home()}` is not up", exits.UNREACHABLE, hint="start it: tawtin up"
        ) from None
    except (OSError, ValueError) as error:
        raise exits.Fault(f"cannot read `{file}`: {error}", exits.UNREACHABLE) from None


def _client() -> dict[str, str]:
    path = os.path.join(home(), CLIENT)
    try:
        with open(path, "rb") as source:
            import tomllib

            table = tomllib.load(source)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise exits.Fault(f"{path}: {error}") from None
    known = {"factory", "address_file", "key_file"}
    for name in sorted(set(table) - known):
        raise exits.Fault(f"{path}: unknown field `{name}`", hint=f"fields are {', '.join(sorted(known))}")
    found = {name: str(value) for name, value in table.items()}
    for name in ("address_file", "key_file"):
        if name in found:
            found[name] = os.path.join(home(), os.path.expanduser(found[name]))
    return found


def _read_key(file: str) -> str:
    if not file:
        hint = "name it: --key-file FILE, TAWTIN_KEY_FILE=FILE or TAWTIN_KEY=..."
        raise exits.Fault("no key is named", exits.DENIED, hint=hint)
    try:
        with open(file, encoding="ascii") as source:
            return source.read().strip()
    except FileNotFoundError:
        hint = "a factory writes it at its first start (`tawtin up`); for another factory, ask its operator for a key"
        raise exits.Fault(f"there is no key at `{file}`", exits.DENIED, hint=hint) from None
    except (OSError, ValueError) as error:
        raise exits.Fault(f"cannot read the key at `{file}`: {error}", exits.DENIED) from None
