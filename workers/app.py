"""The node's Celery application: one task, which is a wake-up and carries no authority. The lease decides."""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery

EXECUTE_RUN = "workers.execute_run"


def create_app(broker_url: str, queue: str, execute: Callable[[str, int], None]) -> Celery:
    """An application that consumes this node's own queue and hands every wake-up to `execute`.

    Acknowledged early, with no result, no remote control and no queue that nobody reads.
    """
    app = Celery("workers", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        task_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        broker_transport_options={
            "visibility_timeout": 3600,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "global_keyprefix": "sr:",
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_create_missing_queues=False,
        task_queues={queue: {"exchange": "", "routing_key": queue}},
        task_default_queue=queue,
    )

    @app.task(name=EXECUTE_RUN, shared=False)  # type: ignore[untyped-decorator]
    def execute_run(run_id: str, epoch: int) -> None:
        """Look at this run now."""
        execute(str(run_id), int(epoch))

    return app
