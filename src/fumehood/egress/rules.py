"""One rule of an allow-list: a host, its ports, and what is added to requests that go there."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import MappingProxyType
from typing import Literal

from fumehood._checks import mapping, whole
from fumehood.egress.hosts import HostError, Name, parse_name
from fumehood.errors import InvalidRequestError
from fumehood.text import brief

DEFAULT_PORTS = (443, 80)

Tls = Literal["end-to-end", "intercept"]

_MAX_PORTS = 1024
_MAX_HEADERS = 32
_MAX_VALUE = 8192
_MAX_CA = 1 << 20
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")
# What was meant as an address, or some. 1.2.3.4:80 is a host with a port, though it looks like one.
_ADDRESSES = re.compile(r"[0-9./]+|[0-9A-Fa-f.]*:[0-9A-Fa-f.:]*(?:[%/].*)?", re.DOTALL)
_WITH_PORT = re.compile(r"[0-9.]+\.[0-9.]+:[0-9]+")
_RULE = re.compile(r"(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9-]{1,63}")
# They say where a message ends and where it goes, which is the proxy's own business.
_RESERVED = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def check_ports(value: Iterable[int], what: str = "ports") -> tuple[int, ...]:
    """Return TCP ports as a tuple without repetitions; at least one."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InvalidRequestError(f"{what} must be a tuple of ports")
    ports = tuple(dict.fromkeys(whole(p, "port", minimum=1, maximum=65535) for p in value))
    if not 1 <= len(ports) <= _MAX_PORTS:
        raise InvalidRequestError(f"{what} must hold 1 to {_MAX_PORTS} ports, not {len(ports)}")
    return ports


@dataclass(frozen=True, slots=True)
class Allow:
    """One entry of ``Network.allow``: a host that may be reached, with what is special about it.

    Example::

        Network.allow("pypi.org", Allow("api.example.com", headers={"Authorization": "Bearer …"}))
    """

    host: str
    """A name (``"pypi.org"``: exactly this one), ``"*."`` and a name (everything below it at any
    depth, and not the name itself), an address or a network of addresses (``"10.1.2.3"``,
    ``"10.0.0.0/8"``, ``"fd00::/8"``). Addresses that are not public are reached through no name
    unless they are named in this way."""
    ports: tuple[int, ...] | None = field(default=None, kw_only=True)
    """TCP ports. ``None``: those of the ``Network``."""
    headers: Mapping[str, str] = field(
        default_factory=dict[str, str], kw_only=True, repr=False, hash=False
    )
    """Set in every plain HTTP request to this host, in place of what the workload sent: the values
    never enter the container. A request inside TLS is not touched without ``tls="intercept"``. For
    a name, or for one address that is asked for as such; not for networks of addresses."""
    tls: Tls = field(default="end-to-end", kw_only=True)
    """``"intercept"``: this client ends TLS to this host and begins it anew, so that ``headers``
    are set there, and there alone: in the clear they are not sent. What commands trust for it is a
    CA of the session's own, whose key is in this client's memory and nowhere else.
    ``"end-to-end"``: TLS is between the workload and the server, unseen."""
    ca: str | None = field(default=None, kw_only=True, repr=False)
    """Certificates (PEM) that this client trusts for an intercepted host, in place of this
    machine's roots: for a server with a CA of its own."""

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "host", _check_host(self.host))
        if self.ports is not None:
            set_(self, "ports", check_ports(self.ports))
        set_(self, "headers", MappingProxyType(_check_headers(self.headers)))
        network = self.network
        if self.headers and network is not None and network.num_addresses > 1:
            raise InvalidRequestError(f"headers are for a name or one address, not {self.host!r}")
        if self.tls not in ("end-to-end", "intercept"):
            raise InvalidRequestError(
                f"tls must be 'end-to-end' or 'intercept', not {brief(self.tls)}"
            )
        if self.intercepts and network is not None:
            raise InvalidRequestError(f"tls='intercept' is for a name, not for {self.host!r}")
        if self.intercepts and not self.headers:
            raise InvalidRequestError(
                f"tls='intercept' of {self.host!r} is for its headers, and it has none"
            )
        if self.ca is not None:
            _check_ca(self.ca, self.host, intercepts=self.intercepts)

    @property
    def intercepts(self) -> bool:
        """Whether this client ends TLS to this host."""
        return self.tls == "intercept"

    @property
    def network(self) -> IPv4Network | IPv6Network | None:
        """The addresses of a rule that names some."""
        return _network(self.host)

    def __reduce__(self) -> tuple[object, ...]:
        # Options cross process pools, and a read-only view of a dict cannot be pickled.
        return _allow, (self.host, self.ports, dict(self.headers), self.tls, self.ca)


def _allow(
    host: str,
    ports: tuple[int, ...] | None,
    headers: dict[str, str],
    tls: Tls,
    ca: str | None,
) -> Allow:
    return Allow(host, ports=ports, headers=headers, tls=tls, ca=ca)


def _check_ca(text: str, host: str, *, intercepts: bool) -> None:
    """Refuse what cannot be trusted, or would be by nobody."""
    if not intercepts:
        raise InvalidRequestError(
            f"ca of {host!r} needs tls='intercept': without it the workload itself decides whom "
            "it trusts"
        )
    if not isinstance(text, str) or not text.isascii() or len(text) > _MAX_CA:
        raise InvalidRequestError(
            f"ca of {host!r} must be certificates as PEM text, at most {_MAX_CA} characters"
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as exc:
        # What it says quotes nothing of the text.
        raise InvalidRequestError(f"ca of {host!r} holds no certificates: {exc}") from exc


def _network(text: str) -> IPv4Network | IPv6Network | None:
    if not _ADDRESSES.fullmatch(text) or _WITH_PORT.fullmatch(text):
        return None
    if "%" in text:
        raise InvalidRequestError(f"{brief(text)} has a zone, which is of one machine alone")
    try:
        return ip_network(text)
    except ValueError as exc:
        raise InvalidRequestError(
            f"{brief(text)} is not an address or a network of addresses: {exc}"
        ) from exc


def _check_host(text: str) -> str:
    if not isinstance(text, str) or len(text) > 2048:
        raise InvalidRequestError(f"{brief(text)} is not a domain name (or '*.' and one)")
    if (network := _network(text)) is not None:
        alone = network.prefixlen == network.max_prefixlen
        return str(network.network_address) if alone else str(network)
    if re.search(r"[/:\[\]]", text):
        raise InvalidRequestError(
            f"{brief(text)} is not a domain name, '*.' and one, or an address: no scheme, no port "
            "(see ports=), no path and no brackets belong to it"
        )
    wildcard = "*." if text.startswith("*.") else ""
    name = _ascii(text.removeprefix("*."))
    if not _RULE.fullmatch(name):
        raise InvalidRequestError(
            f"{brief(text)} is not a domain name, '*.' and one, or an address"
        )
    return wildcard + name


def _ascii(text: str) -> str:
    """Return a caller's name as requests have it: lower case, IDNA, no dot at the end."""
    if not text.isascii():
        # Here, because few need it and its tables are large.
        try:
            import idna
        except ImportError:
            raise InvalidRequestError(
                f"{brief(text)} is not ASCII: that needs pip install 'fumehood[egress]'"
            ) from None
        try:
            text = idna.encode(text, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as exc:
            raise InvalidRequestError(f"{brief(text)} is not a domain name: {exc}") from exc
    try:
        name = parse_name(text)
    except HostError as exc:
        raise InvalidRequestError(
            f"{brief(text)} is not a domain name (or '*.' and one): {exc}"
        ) from None
    if not isinstance(name, Name):
        raise InvalidRequestError(f"there is nothing below the address {brief(text)}")
    return name.text


def _check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers that can stand in a request; a message never holds a value."""
    result: dict[str, str] = {}
    for name, value in mapping(headers, "headers").items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise InvalidRequestError(f"{brief(name)} is not the name of a header")
        lowered = name.lower()
        if lowered in _RESERVED or lowered.startswith("proxy-"):
            raise InvalidRequestError(f"header {name!r} is the proxy's own")
        if lowered in {known.lower() for known in result}:
            raise InvalidRequestError(f"header {name!r} is there twice")
        if not isinstance(value, str) or len(value) > _MAX_VALUE or not _VALUE.fullmatch(value):
            raise InvalidRequestError(
                f"the value of header {name!r} must be 1 to {_MAX_VALUE} printable ASCII "
                "characters, without spaces around it"
            )
        result[name] = value
    if len(result) > _MAX_HEADERS:
        raise InvalidRequestError(f"headers has {len(result)} entries; at most {_MAX_HEADERS}")
    return result
