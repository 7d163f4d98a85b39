"""The door by which a script goes on with a run that it logs."""

from __future__ import annotations

from django.conf import settings

from stillroom.runs.schemas.runs import ReopenIn, ReopenOut
from stillroom.runs.selectors import run_access
from stillroom.runs.services.external import external_run_reopen
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["runs"])


@door.post("/runs/{run}/reopen", needs=Can.RUN_WRITE, response=ReopenOut)
def run_reopen(request: DoorRequest, run: str, payload: ReopenIn) -> object:
    """Take an external run over, ended or not: a new epoch begins, and the old writer is fenced off.

    `writer` names the new writer: the same one asking again gets the same epoch. `after_epoch` refuses when another
    writer was faster. Points after `step` are not shown any more; without it all stay.
    """
    with run_access(request.door, run) as (member, found):
        return external_run_reopen(
            run=found,
            actor=member.email,
            writer=payload.writer,
            after_epoch=payload.after_epoch,
            step=payload.step,
            lease_s=settings.ENV.lease_s * 5,
        )
