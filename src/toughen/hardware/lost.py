"""Another process of a run that has ended while this one waits for it."""

import re

_GONE = re.compile(r"Connection (closed by|reset by|was likely closed)|Broken pipe|recvValue failed|NCCL|gloo", re.I)


def lost_process(error: BaseException) -> str | None:
    """What a person reads where an error says that another process has ended; None where it says something else."""
    from toughen.hardware.processes import Processes  # with torch, which the command line does without

    if Processes.from_environment().size == 1 or not _GONE.search(str(error)):
        return None
    return (
        "another process of this run has ended, and what that one said tells why; start all of them again "
        "(a training goes on with --resume RUN, or with --resume auto in the same command)"
    )
