"""After the agent died: sends what its attempts had still to say and reports them as failed.

To be done before the new life attaches, which closes whatever the old one had open.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from stillroom_client.agent import AgentApi
from stillroom_client.points import AttemptApi
from stillroom_client.spool import Spool
from stillroom_client.transport import Transport
from workers.folders import AttemptFolder, AttemptState
from workers.report import report_end
from workers.sandbox.outcome import Outcome
from workers.sandbox.sender import Sender

log = logging.getLogger(__name__)

# Saving a tail of logs is worth a short delay of the node's start, not more.
PATIENCE_S = 10.0
LOST = Outcome("failed", None, "node.agent_restarted", "The node's agent was restarted while the run was on it.", True)


def salvage(home: Path, agent: AgentApi, transport: Transport) -> None:
    """Deal with every attempt that an earlier life of the agent has left. Its processes must be dead.

    Whatever the platform does not want any more is deleted.
    """
    for folder in AttemptFolder.all(home):
        state = folder.read_state()
        if state is not None:
            try:
                _send_rest(folder, state, agent, transport)
            except Exception:
                log.exception("what is left of %s (epoch %d) cannot be sent", state.run, state.epoch)
        folder.remove()


def _send_rest(folder: AttemptFolder, state: AttemptState, agent: AgentApi, transport: Transport) -> None:
    spool = Spool(folder.spool)
    over = threading.Event()
    api = AttemptApi(transport, state.run, state.epoch, lambda: state.token)
    sender = Sender(api, spool, on_ack=lambda ack: None, on_stale=over.set)
    deadline = time.monotonic() + PATIENCE_S
    sender.start()
    try:
        now = report_end(
            agent,
            sender,
            state.run,
            state.epoch,
            LOST,
            spool.last_seq,
            is_over=lambda: over.is_set() or time.monotonic() > deadline,
        )
        if now is not None:
            log.info("%s (epoch %d), cut off by a restart of the agent, is now %s", state.run, state.epoch, now)
    finally:
        sender.stop()
        spool.close()
