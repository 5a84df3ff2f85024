"""Which factory, and which key: arguments, else the environment, else `client.toml`.

`TAWTIN_FACTORY` is an address; `TAWTIN_KEY` a key, or `TAWTIN_KEY_FILE` a file that holds it. `client.toml` lies in the
folder `TAWTIN_HOME`, or else `~/.tawtin`; it has `factory` (an address) or `address_file` (where a factory on this
machine says where it listens), and `key_file`. Paths are relative to that folder.
"""

from __future__ import annotations

import json
import os
from typing import Final

from tawtin.client.errors import ConfigError

FILE: Final = "client.toml"
_FIELDS: Final = frozenset({"factory", "address_file", "key_file"})


class Target:
    """Where a factory is, and the key for it. The address is read again when a connection fails."""

    def __init__(self, url: str, key: str, address_file: str = "") -> None:
        """Check the address. Raises ConfigError."""
        self.key = key
        self.address_file = address_file
        self.tls = False
        self.host = self.path = ""
        self.port = 0
        self._point_at(url)

    def _point_at(self, url: str) -> None:
        from urllib.parse import urlsplit  # noqa: PLC0415 - so that importing the client stays cheap

        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            msg = f"`{url}` is not the address of a factory: write it as http://host:port"
            raise ConfigError(msg)
        try:
            port = parts.port
        except ValueError:
            msg = f"`{url}` has no usable port: write it as http://host:port"
            raise ConfigError(msg) from None
        self.url = url.rstrip("/")
        self.tls = parts.scheme == "https"
        self.host, self.port = parts.hostname, port or (443 if self.tls else 80)
        self.path = parts.path.rstrip("/")

    @property
    def authority(self) -> str:
        """What the header `Host` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def look_again(self) -> None:
        """Read the address file again: a factory that was restarted may listen elsewhere."""
        if self.address_file and os.path.exists(self.address_file):  # noqa: PTH110 - pathlib costs as much as the rest
            self._point_at(read_address(self.address_file))


def find(url: str | None = None, key: str | None = None) -> Target:
    """Return the factory to speak to. Raises ConfigError that says how to name one."""
    url = url or os.environ.get("TAWTIN_FACTORY") or ""
    key = key or os.environ.get("TAWTIN_KEY") or ""
    key_file = "" if key else os.environ.get("TAWTIN_KEY_FILE") or ""
    address_file = ""
    if not url or not (key or key_file):
        table = _file()
        key_file = key_file or ("" if key else table.get("key_file", ""))
        if not url:
            url, address_file = table.get("factory", ""), table.get("address_file", "")
            address_file = "" if url else address_file
    if not url and address_file:
        url = read_address(address_file)
    if not url:
        msg = f"no factory is named: give an address, set TAWTIN_FACTORY, or write `{_path()}`"
        raise ConfigError(msg)
    return Target(url, key or _read_key(key_file), address_file)


def home() -> str:
    """The folder that holds `client.toml`."""
    return os.environ.get("TAWTIN_HOME") or os.path.expanduser("~/.tawtin")  # noqa: PTH111 - as above


def read_address(file: str) -> str:
    """Return the address that a running factory wrote. Raises ConfigError."""
    try:
        with open(file, encoding="utf-8") as source:  # noqa: PTH123 - as above
            return str(json.load(source)["url"])
    except FileNotFoundError:
        msg = f"the factory that writes `{file}` is not up: start it"
        raise ConfigError(msg) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"cannot read the address in `{file}`: {error}"
        raise ConfigError(msg) from None


def _path() -> str:
    return os.path.join(home(), FILE)  # noqa: PTH118 - as above


def _file() -> dict[str, str]:
    try:
        with open(_path(), "rb") as source:  # noqa: PTH123 - as above
            import tomllib  # noqa: PLC0415 - only where there is such a file

            table = tomllib.load(source)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        msg = f"cannot read `{_path()}`: {error}"
        raise ConfigError(msg) from None
    for name in sorted(set(table) - _FIELDS):
        msg = f"`{_path()}`: unknown field `{name}`; fields are {', '.join(sorted(_FIELDS))}"
        raise ConfigError(msg)
    found = {name: str(value) for name, value in table.items()}
    for name in ("address_file", "key_file"):
        if name in found:
            found[name] = os.path.join(home(), os.path.expanduser(found[name]))  # noqa: PTH111, PTH118 - as above
    return found


def _read_key(file: str) -> str:
    if not file:
        msg = "no key is named: give one, or set TAWTIN_KEY or TAWTIN_KEY_FILE"
        raise ConfigError(msg)
    try:
        with open(file, encoding="ascii") as source:  # noqa: PTH123 - as above
            return source.read().strip()
    except (OSError, ValueError) as error:
        msg = f"cannot read the key in `{file}`: {error}"
        raise ConfigError(msg) from None
