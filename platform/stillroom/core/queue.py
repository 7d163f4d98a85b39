"""Publishing wake-ups. A lost message costs time, never truth: the sweep sends it again."""

from __future__ import annotations

import structlog
from celery import current_app
from kombu.entity import Queue
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

EXECUTE_RUN = "workers.execute_run"


def wake(queue: str, run_id: str, epoch: int) -> bool:
    """Tell a node to look at a run. Returns False, and logs, when the broker cannot be reached."""
    try:
        current_app.send_task(EXECUTE_RUN, args=[run_id, epoch], queue=Queue(queue), ignore_result=True, retry=False)
    except (OperationalError, RedisError, OSError) as error:
        log.warning("queue.wake_failed", queue=queue, run=run_id, epoch=epoch, error=str(error))
        return False
    return True
