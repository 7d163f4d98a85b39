"""The `stillroom` command: submit, look, rank, control, log, import. Every command takes --json and -h."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from stillroom_client.commands import account, control, importing, look, machine, ranks, submit, transfer
from stillroom_client.commands.terminal import UsageError
from stillroom_client.errors import ConnectionFailed, StillroomError

PARTS = (account, submit, look, ranks, control, transfer, importing, machine)
EPILOGUE = """\
exit codes: 0 done, 1 the platform refused or the run did not succeed, 2 wrong usage, 3 the platform does not answer,
130 interrupted

environment: STILLROOM_URL and STILLROOM_TOKEN win over what `stillroom login` stored; STILLROOM_PROJECT is the
default project; STILLROOM_DIR is where scripts keep what is not sent yet; STILLROOM_MODE is online, offline or
disabled
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    options = parser().parse_args(arguments)
    try:
        code: int = options.do(options)
        sys.stdout.flush()
        return code
    except UsageError as error:
        return _fail(error, 2)
    except ConnectionFailed as error:
        return _fail(error, 3)
    except StillroomError as error:
        return _fail(error, 1)
    except BrokenPipeError:
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        return _fail(StillroomError(f"{error.filename or 'standard output'}: {error.strerror or error}."), 1)
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The whole command line; docs/reference/command-line.md is written from it."""
    top = argparse.ArgumentParser(
        prog="stillroom",
        description="Submit, follow, log and import runs on a Stillroom platform.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON, for programs")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for part in PARTS:
        part.add(commands, common)
    return top


def _discard_output() -> None:
    """What is still buffered goes nowhere: the interpreter would fail on it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: StillroomError, code: int) -> int:
    print(f"stillroom: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
