"""The engine's JSON about containers, read into values: with distrust, as labels are anyone's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, cast

from fumehood.engines import labels
from fumehood.engines.base import Container
from fumehood.engines.container_spec import container_name, warm_name
from fumehood.errors import EngineError, InvalidRequestError
from fumehood.options import check_name

State = Literal["created", "running", "paused", "exited", "removing"]

_STATES: Mapping[str, State] = {
    "created": "created",
    "running": "running",
    # A session's container has the restart policy "no": this is a running one that somebody
    # restarts.
    "restarting": "running",
    "paused": "paused",
    "exited": "exited",
    "dead": "exited",
    "removing": "removing",
    "stopping": "running",
}


def mapping(value: object) -> Mapping[str, object]:
    """Return a JSON object, or an empty one for anything else (the engine sends null for empty)."""
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def sequence(value: object) -> Sequence[object]:
    """Return a JSON array, or an empty one for anything else."""
    return cast("Sequence[object]", value) if isinstance(value, list) else ()


def text_map(value: object) -> dict[str, str]:
    """Return a JSON object of strings; other values are left out."""
    return {key: item for key, item in mapping(value).items() if isinstance(item, str)}


def identifier(answer: object, doing: str) -> str:
    """Return the id of what the engine has made, or shows.

    Args:
        answer: its JSON.
        doing: what was asked, as the beginning of a sentence.

    Raises:
        EngineError: there is none in it: no engine answers so.
    """
    found = mapping(answer).get("Id")
    if not isinstance(found, str) or not found:
        raise EngineError(f"{doing}: the engine's answer has no id")
    return found


def timestamp(text: object) -> float:
    """Return seconds since the epoch for the engine's time format; 0.0 for what is none.

    The engine writes nanoseconds, which :meth:`datetime.fromisoformat` cuts to microseconds.
    """
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def from_list(item: object) -> Container | None:
    """Return a container as the list of containers shows it; ``None`` if it is no session's."""
    data = mapping(item)
    names = [str(name) for name in sequence(data.get("Names"))]
    created = data.get("Created")
    ports: dict[int, int] = {}
    for entry in sequence(data.get("Ports")):
        port = mapping(entry)
        inside, outside = port.get("PrivatePort"), port.get("PublicPort")
        if isinstance(inside, int) and isinstance(outside, int):
            ports[inside] = outside
    return _container(
        engine_id=str(data.get("Id", "")),
        names=names,
        marks=text_map(data.get("Labels")),
        state=str(data.get("State", "")),
        created_at=float(created) if isinstance(created, (int, float)) else 0.0,
        ports=ports,
    )


def from_inspect(item: object) -> Container | None:
    """Return a container as an inspection shows it, or ``None`` if it is not a session's."""
    data = mapping(item)
    ports: dict[int, int] = {}
    published = mapping(mapping(data.get("NetworkSettings")).get("Ports"))
    for inside, bindings in published.items():
        number, _, protocol = inside.partition("/")
        for binding in sequence(bindings):
            outside = str(mapping(binding).get("HostPort", ""))
            if protocol == "tcp" and number.isdecimal() and outside.isdecimal():
                ports[int(number)] = int(outside)
    return _container(
        engine_id=str(data.get("Id", "")),
        names=[str(data.get("Name", ""))],
        marks=text_map(mapping(data.get("Config")).get("Labels")),
        state=str(mapping(data.get("State")).get("Status", "")),
        created_at=timestamp(data.get("Created")),
        ports=ports,
        pid=mapping(data.get("State")).get("Pid"),
    )


def from_death(event: Mapping[str, object]) -> tuple[dict[str, str], int | None]:
    """Return the attributes of an event of a container's end, its name and labels, and its code."""
    attributes = mapping(mapping(event.get("Actor")).get("Attributes"))
    code = str(attributes.get("exitCode", ""))
    return text_map(attributes), int(code) if code.isdecimal() else None


def is_sessions_name(name: str, marks: Mapping[str, str]) -> bool:
    """Whether a container of this name and these labels is a session's, or a pool's.

    Who commits a container of ours has its labels in an image of his own.
    """
    container = _container(
        engine_id="", names=[f"/{name}"], marks=marks, state="exited", created_at=0.0, ports={}
    )
    return container is not None


def _container(
    *,
    engine_id: str,
    names: Sequence[str],
    marks: Mapping[str, str],
    state: str,
    created_at: float,
    ports: Mapping[int, int],
    pid: object = 0,
) -> Container | None:
    """Return the session's container if its name and its labels agree on which one it is.

    One that was made for a pool has no name of a session yet, or that of the session for which it
    was claimed, which its labels cannot say.
    """
    made_as = marks.get(labels.SESSION, "")
    nonce = marks.get(labels.NONCE, "")
    if not _is_id(made_as) or not labels.is_nonce(nonce):
        return None
    pooled = marks.get(labels.POOL) == "1"
    warm = pooled and f"/{warm_name(made_as)}" in names
    session_id = _claimed_as(names) if pooled and not warm else made_as
    if not warm and (not session_id or f"/{container_name(session_id)}" not in names):
        return None
    return Container(
        id=engine_id,
        session_id=session_id,
        nonce=nonce,
        state=_STATES.get(state, "exited"),
        created_at=created_at,
        image=marks.get(labels.IMAGE, ""),
        workspace_id=marks.get(labels.WORKSPACE) or None,
        detached=marks.get(labels.DETACHED) == "1",
        metadata=labels.metadata(marks),
        workdir=marks.get(labels.WORKDIR, ""),
        destroy_workspace=marks.get(labels.DESTROY_WORKSPACE) == "1",
        published_ports=ports,
        ttl=labels.number(marks, labels.TTL),
        idle_timeout=labels.number(marks, labels.IDLE),
        owner=marks.get(labels.OWNER, ""),
        pid=pid if isinstance(pid, int) else 0,
        pool_id=made_as if pooled else "",
        warm=warm,
        settings=marks.get(labels.SETTINGS, ""),
        layer=marks.get(labels.LAYER, ""),
    )


def _is_id(text: str) -> bool:
    try:
        check_name(text, "session id")
    except InvalidRequestError:
        return False
    return True


def _claimed_as(names: Sequence[str]) -> str:
    """Return the id in a container's name; ``""`` if there is none in it."""
    ids = (name.removeprefix(f"/{container_name('')}") for name in names)
    return next((text for text in ids if _is_id(text)), "")
