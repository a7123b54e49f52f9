"""Runs a server in a network namespace with only loopback, and prints attempts to leave it.

    unshare --map-root-user --net python -m tests.acceptance.hostile.offline FOLDER LOG

It prints JSON: what was counted for an attempt of its own, the statuses of some requests, and what
was counted while the server ran.
"""

import fcntl
import json
import re
import socket
import struct
import sys
from pathlib import Path

import httpx

from tests.support.server_process import running_server

SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def raise_loopback() -> None:
    """Turn loopback on like `ip link set lo up`; it is off in a new namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))


def attempts() -> dict[str, int]:
    """Return the kernel's counts of packets without a route and of datagrams sent."""
    counts: dict[str, int] = {}
    lines = Path("/proc/net/snmp").read_text(encoding="ascii").splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        kind = names.split(":")[0]
        pairs = zip(names.split()[1:], values.split()[1:], strict=True)
        counts |= {f"{kind}{name}": int(value) for name, value in pairs}
    lines = Path("/proc/net/snmp6").read_text(encoding="ascii").splitlines()
    counts |= {name: int(value) for name, value in (line.split() for line in lines)}
    # A name server may be on loopback: a query to it is a datagram, which HTTP never sends.
    wanted = ("IpOutNoRoutes", "Ip6OutNoRoutes", "UdpOutDatagrams", "Udp6OutDatagrams")
    return {name: counts.get(name, 0) for name in wanted}


def main(folder: Path, log: Path) -> None:
    raise_loopback()
    control = attempts()
    with socket.socket() as outside:
        outside.settimeout(1)
        control["connect"] = outside.connect_ex(("192.0.2.1", 80))
    control["after"] = attempts()["IpOutNoRoutes"]
    before = attempts()
    with running_server(folder, log) as address, httpx.Client(base_url=address) as client:
        statuses = {
            path: client.get(path).status_code
            for path in ("/", "/docs", "/openapi.json", "/metrics")
        }
        for path in ("/", "/docs"):
            for file in re.findall(r'(?:src|href)="((?:page|docs)/[^"]+)"', client.get(path).text):
                statuses[file] = client.get(f"/{file}").status_code
        statuses["/classify"] = client.post("/classify", json={"text": "Koch"}).status_code
    after = attempts()
    left = {name: after[name] - before[name] for name in after}
    sys.stdout.write(json.dumps({"control": control, "statuses": statuses, "left": left}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
