"""What may be reached: rules in, decisions out. Pure, and the only place that decides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from fumehood.egress.addresses import Address, is_public
from fumehood.egress.hosts import Host, Name
from fumehood.egress.rules import DEFAULT_PORTS, Allow
from fumehood.results import EgressReason

_SHOWN = 20
"""Rules that a refusal lists."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request may go on, and by which rule."""

    reason: EgressReason
    rule: Allow | None = None

    @property
    def allowed(self) -> bool:
        """Whether it may."""
        return self.reason is EgressReason.ALLOWED


class Policy:
    """An allow-list, ready to be asked.

    A name is allowed by a rule for exactly it, or else by the longest ``*.`` rule above it. Of the
    addresses that it resolves to, only public ones may be connected to, and those that rules name.
    An address in a request is allowed by the narrowest rule that names it, and by nothing else.
    """

    def __init__(self, rules: Iterable[Allow], ports: tuple[int, ...] = DEFAULT_PORTS) -> None:
        self._ports = ports
        self._rules = tuple(rules)
        self._names: dict[str, list[Allow]] = {}
        self._networks: list[tuple[IPv4Network | IPv6Network, Allow]] = []
        for rule in self._rules:
            network = rule.network
            if network is None:
                self._names.setdefault(rule.host, []).append(rule)
            else:
                self._networks.append((network, rule))
        # The narrowest first: it may have headers that are for one address alone.
        self._networks.sort(key=lambda item: item[0].prefixlen, reverse=True)

    def __repr__(self) -> str:
        return f"<Policy {self.describe()}>"

    @property
    def intercepted(self) -> tuple[str, ...]:
        """The hosts of the rules that end TLS in this client."""
        return tuple(rule.host for rule in self._rules if rule.intercepts)

    def decide(self, host: Host, port: int) -> Decision:
        """Say whether a host may be asked for at all; its addresses are another question."""
        if not isinstance(host, Name):
            return self._decide_address(host, port)
        listed = False
        for pattern in _patterns(host.text):
            for rule in self._names.get(pattern, ()):
                listed = True
                if port in self._ports_of(rule):
                    return Decision(EgressReason.ALLOWED, rule)
        return Decision(EgressReason.PORT if listed else EgressReason.NOT_LISTED)

    def _decide_address(self, address: Address, port: int) -> Decision:
        listed = False
        for network, rule in self._networks:
            if address in network and _zone(address) is None:
                listed = True
                if port in self._ports_of(rule):
                    return Decision(EgressReason.ALLOWED, rule)
        if listed:
            return Decision(EgressReason.PORT)
        public = is_public(address)
        return Decision(EgressReason.NOT_LISTED if public else EgressReason.PRIVATE_ADDRESS)

    def permits(self, address: Address, port: int) -> bool:
        """Whether an address that an allowed name has resolved to may be connected to."""
        return is_public(address) or self._decide_address(address, port).allowed

    def describe(self) -> str:
        """Return the list for a person, cut; no header is in it."""
        if not self._rules:
            return "nothing"
        parts: list[str] = []
        for rule in self._rules[:_SHOWN]:
            ports = ", ".join(map(str, self._ports_of(rule)[:_SHOWN]))
            parts.append(f"{rule.host} (port {ports})")
        more = len(self._rules) - _SHOWN
        return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")

    def _ports_of(self, rule: Allow) -> tuple[int, ...]:
        return self._ports if rule.ports is None else rule.ports


def _zone(address: Address) -> str | None:
    return getattr(address, "scope_id", None)


def _patterns(name: str) -> Iterable[str]:
    """Yield what a rule for a name may be written as, the most specific first."""
    yield name
    at = name.find(".")
    while at >= 0:
        yield "*" + name[at:]
        at = name.find(".", at + 1)
