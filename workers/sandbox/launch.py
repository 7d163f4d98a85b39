"""First program of a run's process: ties it to the agent, limits it, then becomes the run.

Started as a script by an isolated interpreter, never imported: it must not load anything of ours. It does in the child
what a `preexec_fn` may not do safely in a parent with threads.

    launch.py --parent PID --open-files N [--memory-bytes N] [--user UID:GID] -- PROGRAM ARGUMENT...
"""

import argparse
import contextlib
import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
OOM_SCORE = "500"  # between -1000 and 1000: the kernel ends a run before it ends the agent
EXIT_ORPHAN = 70
EXIT_LIMITS = 71


def main() -> None:
    """Exit 70: the agent died first. 71: the limits cannot be set."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--open-files", type=int, required=True)
    parser.add_argument("--memory-bytes", type=int)
    parser.add_argument("--user")
    parser.add_argument("program", nargs="+")
    options = parser.parse_args()
    try:
        limit(resource.RLIMIT_CORE, 0)
        limit(resource.RLIMIT_NOFILE, options.open_files)
        if options.memory_bytes:
            limit(resource.RLIMIT_DATA, options.memory_bytes)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
            score.write(OOM_SCORE)
        if options.user:
            uid, _, gid = options.user.partition(":")
            os.setgroups([])
            os.setgid(int(gid))
            os.setuid(int(uid))
        os.umask(0o077)
        die_with_parent(options.parent)
    except (OSError, ValueError) as error:
        print(f"The run's limits cannot be set: {error}", file=sys.stderr)
        sys.exit(EXIT_LIMITS)
    os.execv(options.program[0], options.program)


def limit(which: int, value: int) -> None:
    """Lower a limit; never above the hard limit there is."""
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process when the agent's spawning thread ends. Must follow setuid, which clears it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(EXIT_ORPHAN)


if __name__ == "__main__":
    main()
