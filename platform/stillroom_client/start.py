"""`init`: begin, resume or fork a logged run. `sync_all`: send what earlier runs left on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union
from urllib.parse import quote

from stillroom_client.credentials import find_credentials
from stillroom_client.errors import ApiError, ConnectionFailed, NotSignedIn, StillroomError
from stillroom_client.folder import FolderBroken, FolderBusy, RunFolder, folders, peek, runs_root
from stillroom_client.run import Run
from stillroom_client.transport import Retries, Transport
from stillroom_client.uploader import RunOver, Uploader
from stillroom_client.values import plain

MODE_VARIABLE = "STILLROOM_MODE"
PROJECT_VARIABLE = "STILLROOM_PROJECT"
MODES = ("online", "offline", "disabled")
# Starting is the one moment at which a script waits for the platform, and not for long.
AT_START = Retries(attempts=3, base_s=0.3, cap_s=2.0)


def init(
    project: Optional[str] = None,
    name: str = "",
    config: Any = None,
    *,
    tags: Union[Mapping[str, str], Sequence[str], None] = None,
    group: str = "",
    notes: str = "",
    resume: Optional[str] = None,
    fork_from: Optional[str] = None,
    mode: Optional[str] = None,
    console: bool = False,
    system: bool = True,
    url: Optional[str] = None,
    token: Optional[str] = None,
    folder: Union[str, Path, None] = None,
) -> Run:
    """Begin a run that this script logs.

    project: "org/project", or STILLROOM_PROJECT. config: a dictionary, dataclass, namespace or pydantic model. tags: a
    dictionary, or words. group: runs with the same group belong together (the tag `group`). resume: the id of a run to
    go on with; "r_...@100" forgets what it logged after step 100. fork_from: the id of a run whose configuration is
    taken over and which becomes the parent; "r_...@100" notes the step. mode: "online" (the default, or STILLROOM_MODE)
    sends while training and keeps on this machine what cannot be sent; "offline" sends nothing until `stillroom sync`;
    "disabled" does nothing. console: copy what is printed into the run's log. system: measure the machine.
    folder: where unsent data waits, instead of STILLROOM_DIR.

    Raises NotSignedIn, ApiError (for example no such project), ValueError naming the argument. A platform that does not
    answer is no error: the run goes on offline and is sent when it answers.
    """
    mode = mode or os.environ.get(MODE_VARIABLE) or "online"
    if mode not in MODES:
        raise ValueError(f"mode: expected {', '.join(MODES)}, not {mode!r}.")
    settings = plain(config)
    if mode == "disabled":
        return Run(None, None, config=settings)
    project = project or os.environ.get(PROJECT_VARIABLE) or ""
    if resume is None and project.count("/") != 1:
        raise ValueError(f"project: expected 'org/project' (or {PROJECT_VARIABLE}), not {project!r}.")
    transport, address = _connect(mode, url, token)
    labels = _labels(tags, group)
    if fork_from is not None and resume is not None:
        raise ValueError("fork_from: a run is resumed or forked, not both.")
    root = Path(folder) if folder is not None else runs_root()
    state: dict[str, Any] = {"url": address, "project": project}
    next_step, parent = 0, None
    if resume is not None:
        state["run"], state["resume_step"] = _at_step(resume, "resume")
        state["resume"] = True
        settings, next_step = _resumed(transport, root, state, settings)
    if fork_from is not None:
        parent, step = _at_step(fork_from, "fork_from")
        if transport is None:
            raise ValueError("fork_from: a fork reads its parent from the platform; it cannot begin offline.")
        settings = {**_get(transport, parent)["spec"], **settings}
        if step is not None:
            labels["fork.step"], next_step = str(step), step + 1
    state["request"] = {"name": name, "tags": labels, "notes": notes, "spec": settings, "parent": parent}
    kept = RunFolder.create(root, state)
    if transport is not None:
        _begin(kept, transport)
    return Run(kept, transport, config=settings, next_step=next_step, console=console, system=system)


@dataclass(frozen=True)
class Synced:
    """What became of one folder. outcome: "sent", "busy", "failed". message: for people."""

    path: Path
    run: Optional[str]
    outcome: str
    message: str


def sync_all(
    root: Optional[Path] = None,
    *,
    transport: Optional[Transport] = None,
    only: Callable[[Mapping[str, Any]], bool] = lambda state: True,
    tell: Callable[[str], None] = lambda text: None,
) -> Iterator[Synced]:
    """Send every folder that no process writes any more, oldest first; each that arrives whole is deleted.

    Sending again what had arrived changes nothing. A run whose script never ended it is ended as FAILED.
    """
    transports: dict[str, Transport] = {}
    for path in folders(root or runs_root()):
        state = peek(path)
        if state is None:
            yield Synced(path, None, "failed", f"{path}: run.json cannot be read.")
        elif only(state):
            yield _sync_one(path, transport, transports, tell)


def _sync_one(
    path: Path, transport: Optional[Transport], transports: dict[str, Transport], tell: Callable[[str], None]
) -> Synced:
    try:
        folder = RunFolder(path)
    except FolderBusy as error:
        return Synced(path, None, "busy", error.message)
    except FolderBroken as error:
        return Synced(path, None, "failed", error.message)
    try:
        address = str(folder.state["url"])
        if transport is None and address not in transports:
            found = find_credentials(address or None)
            transports[address] = Transport(found.url, found.token)
        uploader = Uploader(folder, transport or transports[address], insist=True, tell=tell)
        uploader.ensure_run()
        if folder.state["closing"] is None:
            folder.update(closing="FAILED")
        uploader.pump()
    except (ApiError, ConnectionFailed, NotSignedIn, RunOver) as error:
        folder.close()
        return Synced(path, folder.state["run"], "failed", str(error))
    folder.destroy()
    return Synced(path, folder.state["run"], "sent", f"{folder.state['run']} is complete.")


def _connect(mode: str, url: Optional[str], token: Optional[str]) -> tuple[Optional[Transport], str]:
    if mode == "online":
        found = find_credentials(url, token)
        return Transport(found.url, found.token, retries=AT_START), found.url
    try:
        return None, find_credentials(url, token).url
    except NotSignedIn:
        return None, (url or os.environ.get("STILLROOM_URL") or "").rstrip("/")


def _begin(folder: RunFolder, transport: Transport) -> None:
    try:
        Uploader(folder, transport).ensure_run()
    except ApiError as error:
        if error.may_pass:
            print(f"stillroom: {error} The run begins on this machine.", file=sys.stderr)
            return
        folder.destroy()
        raise
    except ConnectionFailed as error:
        print(f"stillroom: {error} The run begins on this machine and is sent later.", file=sys.stderr)


def _resumed(
    transport: Optional[Transport], root: Path, state: dict[str, Any], settings: dict[str, Any]
) -> tuple[dict[str, Any], int]:
    """The configuration and the next step of a run to go on with. What it left here is sent before."""
    step = state["resume_step"]
    if transport is None:
        return settings, 0 if step is None else step + 1
    run = state["run"]
    for done in sync_all(root, transport=transport, only=lambda one: one.get("run") == run):
        if done.outcome != "sent":
            raise StillroomError(f"resume: what run {run} left on this machine was not sent: {done.message}")
    found = _get(transport, run)
    if not found["external"]:
        raise ValueError(f"resume: {run} is not a run that a script logs.")
    state["project"] = f"{found['org']}/{found['project']}"
    merged = {**found["spec"], **settings}
    if merged != found["spec"]:
        state["patch"] = {"spec": merged}
    if step is not None:
        return merged, step + 1
    steps = [one["last_step"] for key, one in found["metrics"].items() if not key.startswith("system/")]
    return merged, max((int(last) for last in steps if last is not None), default=-1) + 1


def _get(transport: Transport, run: str) -> dict[str, Any]:
    return dict(transport.call("GET", f"/runs/{quote(run, safe='')}").data)


def _at_step(text: str, argument: str) -> tuple[str, Optional[int]]:
    run, at, step = text.partition("@")
    if not run or (at and not step.isdecimal()):
        raise ValueError(f"{argument}: expected a run's id, or 'r_...@STEP', not {text!r}.")
    return run, int(step) if at else None


def _labels(tags: Union[Mapping[str, str], Sequence[str], None], group: str) -> dict[str, str]:
    if isinstance(tags, str):
        raise ValueError("tags: expected a dictionary or a list of words, not one word.")
    labels = dict(tags) if isinstance(tags, Mapping) else dict.fromkeys(tags or (), "")
    labels = {str(key): str(value) for key, value in labels.items()}
    if group:
        labels["group"] = group
    return labels
