"""Sockets on which processes of this machine listen, read from /proc."""

from __future__ import annotations

import os
from pathlib import Path

LISTENING = "0A"


def descendants(pid: int) -> set[int]:
    """Return the numbers of a process and of all processes below it."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:  # the process has ended
            continue
        parents[int(stat.parent.name)] = int(after_name[1])
    found = {pid}
    while new := {child for child, parent in parents.items() if parent in found} - found:
        found |= new
    return found


def listening(pids: set[int]) -> list[tuple[bytes, int]]:
    """Return the addresses on which these processes listen, each as (bytes of the IP address, port).

    An IPv4 address in a socket of IPv6 is given by its last four bytes, as an IPv4 address.
    """
    inodes = {inode for pid in pids for inode in _inodes(pid)}
    found = []
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            local, state, inode = fields[1], fields[3], fields[9]
            if state == LISTENING and inode in inodes:
                address, _, port = local.partition(":")
                found.append((_as_ip(bytes.fromhex(address)), int(port, 16)))
    return found


def _as_ip(stored: bytes) -> bytes:
    """The kernel prints each word of four bytes in the order of the processor, here little-endian."""
    whole = b"".join(stored[i : i + 4][::-1] for i in range(0, len(stored), 4))
    mapped = bytes(10) + b"\xff\xff"
    return whole[12:] if whole.startswith(mapped) else whole


def _inodes(pid: int) -> set[str]:
    found: set[str] = set()
    try:
        names = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return found
    for name in names:
        try:
            target = os.readlink(name)
        except OSError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            found.add(target[len("socket:[") : -1])
    return found
