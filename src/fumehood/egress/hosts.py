"""The host that a request names, in the one spelling that is understood.

A request comes from inside and may be written to be read differently by whoever checks it and by
whoever resolves it: ``0251.0376.43518``, ``2852039166``, ``0xa9fea9fe``, ``%31``, ``①``. So nothing
is interpreted here: an address is four plain decimal numbers or an IPv6 address in brackets, a name
is letters, digits, hyphens and underscores, and everything else is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from fumehood.egress.addresses import Address

MAX_NAME = 253

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# What resolvers take for a number, and so for a part of an address, if it stands at a name's end.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PLAIN = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


class HostError(ValueError):
    """A host that is not written in the one spelling that is understood."""


@dataclass(frozen=True, slots=True)
class Name:
    """A domain name: lower case, without a dot at its end."""

    text: str

    def __str__(self) -> str:
        return self.text


Host = Name | IPv4Address | IPv6Address


def parse_host(text: str) -> Host:
    """Return the host that is written in a request's target.

    Raises:
        HostError: it is written in any other way.
    """
    if text.startswith("[") and text.endswith("]"):
        return _six(text[1:-1])
    return parse_name(text)


def parse_name(text: str) -> Name | IPv4Address:
    """Return a name or a plain IPv4 address.

    Raises:
        HostError: it is neither.
    """
    # Before lower(): it maps some characters that are not ASCII to ones that are.
    if not text.isascii():
        raise HostError("characters other than ASCII")
    lowered = text.lower()
    if _PLAIN.fullmatch(lowered):
        try:
            return IPv4Address(lowered)
        except AddressValueError:
            raise HostError("numbers that are no address") from None
    name = lowered.removesuffix(".")
    if not name or len(name) > MAX_NAME:
        raise HostError("no name of 1 to 253 characters")
    labels = name.split(".")
    if not all(map(_LABEL.fullmatch, labels)):
        raise HostError("characters or labels that no name has")
    if _NUMBER.fullmatch(labels[-1]):
        raise HostError("a number at its end: an address has four plain decimal numbers")
    return Name(name)


def _six(text: str) -> IPv6Address:
    # A zone names an interface of this machine.
    if "%" in text or not text.isascii():
        raise HostError("an IPv6 address with a zone")
    try:
        return IPv6Address(text)
    except AddressValueError:
        raise HostError("no IPv6 address in its brackets") from None


def parse_authority(text: str, default_port: int | None) -> tuple[Host, int]:
    """Return the host and the port of ``host:port``.

    Args:
        text: what stands in a request.
        default_port: where there is none; ``None``: there must be one.

    Raises:
        HostError: anything else, a user name among it.
    """
    if "@" in text:
        raise HostError("a user name")
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
        if colon and not text.startswith("["):
            raise HostError("an IPv6 address without brackets")
    elif not _PORT.fullmatch(port) or int(port) > 0xFFFF:
        raise HostError("a port that is not from 1 to 65535")
    if not port and default_port is None:
        raise HostError("no port")
    return parse_host(host), int(port) if port else default_port or 0


def show(host: Host) -> str:
    """Return a host as it stands in a URL."""
    return f"[{host}]" if isinstance(host, IPv6Address) else str(host)


def to_address(text: str) -> Address:
    """Return the address that a resolver gave, its zone included.

    Raises:
        ValueError: it is none.
    """
    return IPv6Address(text) if ":" in text else IPv4Address(text)
