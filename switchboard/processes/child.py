"""A program, not a module: bind this process to its parent's life, then become another program.

    python -I -S child.py SIGNAL PARENT_PID COMMAND [ARGUMENT...]

It exists because the binding has to be made in the new process, after the fork, and Python code between fork and exec
(`preexec_fn`) may deadlock. The binding survives exec, but does not reach grandchildren: guard.py is for those.
Linux counts the parent's *thread*: start children from a thread that lives as long as they shall.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(death_signal: int, parent_pid: int, command: list[str]) -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:  # it died before the binding was made
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell may have started us with some ignored
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming it is the purpose
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
