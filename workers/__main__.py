"""`python -m workers`: the agent of this node, until SIGTERM."""

from __future__ import annotations

import logging
import os
import sys

from stillroom_client.errors import ApiError
from workers.agent import Agent, AlreadyRunning, install_signals
from workers.settings import SettingsError, read_settings


def main() -> int:
    """Exit codes: 0 stopped, 1 refused by the platform, 2 wrong settings."""
    logging.basicConfig(
        level=os.environ.get("STILLROOM_LOG_LEVEL", "info").upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("httpx", "httpcore", "celery", "kombu"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        agent = Agent(read_settings())
        install_signals(agent)
        agent.run()
    except (SettingsError, AlreadyRunning) as error:
        print(error, file=sys.stderr)
        return 2
    except ApiError as error:
        print(f"The platform does not accept this node: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
