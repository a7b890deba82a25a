"""What a session may reach by allow-list, changed while it runs."""

from __future__ import annotations

import importlib.util

from fumehood import _record
from fumehood._core import SessionCore, SessionPart
from fumehood.egress.policy import Policy
from fumehood.egress.variables import CA_FILE
from fumehood.errors import InvalidRequestError
from fumehood.options import Network
from fumehood.text import brief


class EgressPart(SessionPart):
    """The network of a session whose proxy is in its client."""

    async def set_network(self, network: Network) -> None:
        """Change what the session may reach, from now on.

        For a session that was made with ``Network.allow``: its commands find the proxy by their
        environment. Connections under way to what is not allowed any more are cut off before this
        returns; the others go on. In a session that was joined, this client begins to serve the
        network, if nobody else does, and stops when it leaves. When it is cancelled, the network is
        the old one or the new one.

        Rules with ``tls="intercept"`` are for a session that was made with one: its commands know
        by their environment where the certificate is that they have to trust. Where the new rules
        name other hosts, or another client begins to serve, it is a new certificate: programs that
        run have to read it anew.

        Args:
            network: ``Network.allow(…)``, or ``Network.none()`` for nothing at all.

        Raises:
            InvalidRequestError: another kind of network, or a session that was made with one; TLS
                to be intercepted in one whose commands do not know of it.
            PortError: another client serves the network, or a command has taken port 3128.
            SessionEndedError: the session is over.
            SandboxError: the certificate could not be put into the session.
        """
        if not isinstance(network, Network):
            raise InvalidRequestError(f"network must be a Network, not {brief(network)}")
        if network.mode not in ("allow", "none"):
            raise InvalidRequestError(
                f"a running session cannot change to Network.{network.mode}: only to "
                "Network.allow(…) and Network.none()"
            )
        made_with = self._core.network
        if made_with is not None and made_with.mode != "allow":
            raise InvalidRequestError(
                f"session {self._core.id} was made with Network.{made_with.mode}: its commands do "
                "not know of a proxy. Make it with Network.allow(…)"
            )
        check_available(network)
        if network.intercepted and not await self._trusts(made_with):
            raise InvalidRequestError(
                f"session {self._core.id} was made without a rule that intercepts TLS: its "
                "commands do not know of the certificate. Make it with such a rule"
            )
        await serve_network(self._core, network)

    async def _trusts(self, made_with: Network | None) -> bool:
        """Whether the session's commands know where the certificate is."""
        if made_with is not None:
            return bool(made_with.intercepted)
        env = _record.to_env(await self._environment())
        return env.get("FUMEHOOD_CA_FILE") == CA_FILE

    async def _environment(self) -> bytes:
        raise NotImplementedError

    def egress_statistics(self) -> dict[str, int]:
        """Return numbers: connections now, those served, and bytes of those that have ended.

        All are 0 where this client does not serve the session's network.
        """
        if self._core.egress is None:
            return dict.fromkeys(("connections", "served", "bytes_up", "bytes_down"), 0)
        return self._core.egress.statistics()


def check_available(network: Network) -> None:
    """Refuse an allow-list before anything is made where its proxy could not run.

    Raises:
        InvalidRequestError: the packages of the extra ``egress`` are not installed.
    """
    if network.mode == "allow" and importlib.util.find_spec("h11") is None:
        raise InvalidRequestError(
            "Network.allow needs an HTTP library for its proxy: pip install 'fumehood[egress]'"
        )
    if network.intercepted and importlib.util.find_spec("cryptography") is None:
        raise InvalidRequestError(
            "tls='intercept' needs a library for certificates: pip install 'fumehood[egress]'"
        )


async def serve_network(core: SessionCore, network: Network) -> None:
    """Let the session's proxy go by a network; start it when it does not run."""
    policy = Policy(network.rules, network.ports)
    core.tether.check_alive()
    async with core.egress_lock:
        if core.egress is None:
            # Here, because an HTTP library is not needed by sessions without a proxy.
            from fumehood.egress.proxy import start_proxy

            core.egress = await start_proxy(
                core.tether, core.id, core.hooks, policy, core.image_roots
            )
        else:
            await core.egress.set_policy(policy)
