"""Whether this host would let a run lose and delay single packets: a network namespace of its own, and NFQUEUE in it.

Owns the question and nothing else: no fault is made with packets yet, and links of live runs are proxied, not filtered. Asked in a child that has
entered a namespace which is gone with it, in the kernel's own words (nfnetlink), so that neither rules nor tools are needed.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys

ASK_S = 5.0
NETLINK_NETFILTER = 12
REQUEST_AND_ANSWER = 1 | 4  # NLM_F_REQUEST, NLM_F_ACK
QUEUE_CONFIG = 3 << 8 | 2  # NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG
BIND = 1  # NFQA_CFG_CMD, and NFQNL_CFG_CMD_BIND, are both 1
# nlmsghdr: length, type, flags, sequence, port; nfgenmsg: family, version, queue; nlattr: length, type; the command, padding, a protocol family
BIND_QUEUE = struct.Struct("=IHHIIBBHHHBBH")
ANSWER = struct.Struct("=IHHIIi")  # nlmsghdr, and minus the error; 0 is none


def why_not() -> str:
    """Why packets cannot be queued here; empty if they can."""
    command = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"]), sys.executable, "-m", __name__]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if asked.returncode == 0 else (asked.stderr.strip().splitlines() or ["no network namespace of one's own"])[-1]


def bind_queue() -> None:
    """Take queue 0 of the namespace that this process is in. Raises `OSError` if the kernel has none."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.settimeout(ASK_S / 2)
        netlink.send(BIND_QUEUE.pack(BIND_QUEUE.size, QUEUE_CONFIG, REQUEST_AND_ANSWER, 1, 0, 0, 0, 0, 8, BIND, BIND, 0, 0))
        error = -ANSWER.unpack_from(netlink.recv(4096))[-1]
    if error:
        raise OSError(error, os.strerror(error))


if __name__ == "__main__":
    bind_queue()
