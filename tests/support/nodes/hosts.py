"""Ray nodes that are hosts of their own: an address, a network card and processes to themselves.

Each worker node runs in a network namespace and a process namespace, so that its death takes all
of it at once, its cable can be pulled, and its line can be slow. The head, which holds Ray's
control service, the coordinator and the driver, stays on this host.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

RAY = str(Path(sys.executable).with_name("ray"))
START = (RAY, "start", "--block", "--disable-usage-stats")
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    # Ray takes about half a minute to call a silent node dead; tests have no such patience.
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "3",
}
START_S = 900
BIND = """mount --bind "$0/resolv.conf" /etc/resolv.conf && mount --bind "$0" "$1" || exit 1
shift && exec "$@"
"""


def why_not() -> str | None:
    """Why hosts cannot be made here; None where they can."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    probe = "ip link add dpprobe type veth peer name dpprobe2 && ip link del dpprobe"
    for command in (["unshare", "--net", "--pid", "--fork", "true"], ["sh", "-c", probe]):
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", b"").decode().strip() or str(error)
            return f"needs network namespaces and iproute2: {said}"
    return None


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@dataclass
class Host:
    """One worker node. `address` is its own, on the hosts' common bridge."""

    name: str
    address: str
    labels: dict[str, str]
    process: subprocess.Popen[bytes]
    interface: str
    namespace: str
    leaving: bool = False
    """Whether it is being drained."""

    def processes(self, words: str = "") -> list[psutil.Process]:
        """The host's processes whose command line holds `words`."""
        return processes_in(self.process, words)

    def kill(self) -> None:
        """The power fails."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def cut(self) -> None:
        """The cable is pulled."""
        ip("link", "set", self.interface, "down")

    def mend(self) -> None:
        """The cable is back, and the line as fast as ever."""
        ip("link", "set", self.interface, "up")
        subprocess.run(
            ["tc", "qdisc", "del", "dev", self.interface, "root"], check=False, capture_output=True
        )

    def slow(self, rate: str = "256kbit") -> None:
        """The line becomes slow, towards the host."""
        limits = ["burst", "16kb", "latency", "2s"]
        subprocess.run(
            ["tc", "qdisc", "replace", "dev", self.interface, "root", "tbf", "rate", rate, *limits],
            check=True,
            capture_output=True,
        )


def processes_in(parent: subprocess.Popen[bytes], words: str) -> list[psutil.Process]:
    """Processes of the namespace that `parent` made, whose command line holds `words`."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if words in " ".join(process.info["cmdline"] or []):
            with suppress(OSError):
                inside = os.stat(f"/proc/{process.pid}/ns/pid").st_ino
                if inside == os.stat(f"/proc/{parent.pid}/ns/pid_for_children").st_ino:
                    found.append(process)
    return found


@dataclass
class Hosts:
    """A Ray cluster: its head on this host, and `Host`s that are added and lost."""

    logs: Path
    bridge: str = field(default_factory=lambda: f"dp{os.getpid()}")
    hosts: dict[str, Host] = field(default_factory=dict)
    port: int = field(default_factory=lambda: 20_000 + os.getpid() % 10_000)
    _head: subprocess.Popen[bytes] | None = None
    _count: int = 0
    """Addresses given, the bridge's first."""
    _starter: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    """A thread that lives as long as the hosts, which are told to die with what started them."""

    @property
    def _net(self) -> str:
        return f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"

    @property
    def gateway(self) -> str:
        """The address of this host on the bridge."""
        return f"{self._net}.1"

    @property
    def address(self) -> str:
        """What `ray.init` takes."""
        return f"{self._net}.1:{self.port}"

    def start_head(
        self, *arguments: str, cpus: int = 2, environment: Mapping[str, str] | None = None
    ) -> None:
        """Make the network, and start the head."""
        subprocess.run([RAY, "get-auth-token", "--generate"], check=True, capture_output=True)
        if not self._count:
            self.make_network()
        command = (
            *(*START, "--head", f"--port={self.port}", f"--node-ip-address={self._net}.1"),
            *(f"--num-cpus={cpus}", "--include-dashboard=false", *arguments),
        )
        self._head = self._start("head", None, command, environment or {})

    def make_network(self) -> None:
        """Make the bridge between the hosts."""
        self._count = 1
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self._net}.1/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")

    def connect(self) -> None:
        """Attach this process to the head, which may still be starting."""
        import ray

        deadline = time.monotonic() + START_S
        while True:
            try:
                ray.init(self.address, log_to_driver=False, logging_level=logging.ERROR)
                return
            except ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def on_head(self, words: str = "") -> list[psutil.Process]:
        """The head's processes whose command line holds `words`."""
        assert self._head is not None
        return processes_in(self._head, words)

    def add(self, name: str, labels: Mapping[str, str], cpus: int = 2) -> Host:
        """Start a worker node; it joins while this returns."""
        named = f"--labels={','.join(f'{key}={value}' for key, value in labels.items())}"
        own = f"--node-ip-address={self._net}.{self._count + 1}"
        command = (*START, f"--address={self.address}", own, f"--num-cpus={cpus}", named)
        return self.start_host(name, command, labels)

    def start_host(
        self,
        name: str,
        command: Sequence[str],
        labels: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Host:
        """Start a host that runs `command`; `logs`/`name` is its folder of temporary files."""
        self._count += 1
        namespace, interface = f"{self.bridge}-{name}", f"{self.bridge}x{self._count}"
        address = f"{self._net}.{self._count}"
        ip("netns", "add", namespace)
        ip("link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        ip("link", "set", interface, "master", self.bridge, "up")
        ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", namespace, "link", "set", device, "up")
        ip("-n", namespace, "route", "add", "default", "via", f"{self._net}.1")
        process = self._start(name, namespace, command, environment or {})
        host = Host(name, address, dict(labels or {}), process, interface, namespace)
        self.hosts[name] = host
        return host

    def remove(self, host: Host) -> None:
        """Kill what is left of a host, and its network with it; a host that is gone stays so."""
        if self.hosts.pop(host.name, None) is None:
            return
        host.kill()
        # The kernel ends a namespace later, and would keep the cable's name until then.
        ip("link", "del", host.interface)
        ip("netns", "del", host.namespace)

    def stop(self) -> None:
        """Leave nothing behind."""
        for host in list(self.hosts.values()):
            self.remove(host)
        if self._head is not None:
            self._head.kill()
            self._head.wait()
        if self._count:
            ip("link", "del", self.bridge)
        self._starter.shutdown()

    def _start(
        self,
        name: str,
        namespace: str | None,
        started: Sequence[str],
        environment: Mapping[str, str],
    ) -> subprocess.Popen[bytes]:
        """Start it in a process namespace that ends with it, and at the latest with us."""
        command = ["setpriv", "--pdeathsig=KILL", "unshare", "--pid", "--fork", "--mount-proc"]
        command.append("--kill-child=KILL")
        if namespace is not None:  # a host: nobody else sees its network and its files
            own = self.logs / name
            own.mkdir(exist_ok=True)
            (own / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # which refuses at once
            shared = os.environ.get("RAY_TMPDIR", "/tmp")
            bind = ["sh", "-c", BIND, str(own), shared]
            command = ["ip", "netns", "exec", namespace, *command, *bind]
        command += started
        with (self.logs / f"{name}.log").open("wb") as log:
            return self._starter.submit(
                subprocess.Popen,
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | ENVIRONMENT | environment,
                start_new_session=True,
            ).result()
