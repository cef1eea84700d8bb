"""The alert rules against a real cluster: for each alert its cause is made, it fires, the cause is mended, it clears.

    Prometheus -> three nodes -> their exporter -> a sink that answers as it is told
               -> a single node with a small disk

The rules are those of deploy/prometheus/rules.yaml, with what is a matter of patience made short: `for` is nothing,
windows are ten seconds, and ages count from a few seconds on (rules_test.yaml has them as they are). An alert whose
cause this cannot make here is named in NOT_CAUSED, and a rule that is neither there nor caused fails the test.

Nothing here is a bar for a time: each step waits for Prometheus to say so.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import common

WITHIN_S = 1500
STEP_WITHIN_S = 180
NAMES = ["node-1", "node-2", "node-3"]
PORTS = ["grpc", "http", "admin", "peer"]
RULES = common.REPOSITORY / "deploy" / "prometheus" / "rules.yaml"
SHORTER = [
    (r"for: \S+", "for: 0s"),
    (r"\[\d+[mh]\]", "[10s]"),
    (r"> 900\b", "> 3"),
    (r"> 300\b", "> 1"),
    (r"behind_seconds > 60\b", "behind_seconds > 1"),
]
# What these are about takes a machine that is slow, a network that is cut in one direction, several lost nodes, or hours:
# rules_test.yaml alone has them.
NOT_CAUSED = {
    "AcksSlow",
    "ArchiveLate",
    "DataDropped",
    "ExportLost",
    "LeaderNotHeard",
    "LostNodeUnsent",
    "MemoryFull",
    "RecoveryWaits",
    "SegmentsUnreachable",
    "SyncsSlow",
    "TermsRise",
    "UnreadableSegments",
}


class Sink:
    """A sink over OTLP/HTTP that answers with the status it is told."""

    def __init__(self) -> None:
        self.status = 200
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(sink.status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@dataclass
class Member:
    """A node, whose process is another one after each restart."""

    name: str
    home: Path
    args: argparse.Namespace
    ports: dict[str, int] = field(default_factory=dict)
    child: common.Child | None = None

    def start(self) -> None:
        """Starts it on its folder."""
        command = [str(self.args.gophership.resolve()), "run", "--config", str(self.home / "node.yaml")]
        self.child = common.Child(self.name, command, self.home)

    def signal(self, number: int) -> None:
        """Sends its process a signal."""
        assert self.child
        self.child.process.send_signal(number)

    def ready(self) -> bool:
        """True where it takes logs."""
        return common.answers_200(f"http://127.0.0.1:{self.ports['admin']}/readyz")

    def ctl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """What gs-ctl says, asking this node."""
        command = [str(self.args.gs_ctl.resolve()), "--socket", str(self.home / "data" / "gophership.sock"), *words]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=STEP_WITHIN_S, check=False)

    def must(self, *words: str, stdin: str = "") -> str:
        """The same, tried until it is done."""
        deadline = time.monotonic() + STEP_WITHIN_S
        while (done := self.ctl(*words, stdin=stdin)).returncode != 0:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: gs-ctl {' '.join(words)}: {done.stdout}{done.stderr}")
            time.sleep(0.5)
        return done.stdout

    def post(self, body: bytes) -> int:
        """The status of a request of OTLP/JSON; 0 where there is none."""
        url = f"http://127.0.0.1:{self.ports['http']}/v1/logs"
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code
        except OSError:
            return 0


def logs(padding: int) -> bytes:
    """A request with one record of about so many bytes, which do not compress."""
    text = base64.b64encode(os.urandom(padding * 3 // 4)).decode()
    record = {"timeUnixNano": str(time.time_ns()), "body": {"stringValue": text}}
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()


class Load:
    """A record to each of these nodes, again and again."""

    def __init__(self, members: list[Member]) -> None:
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(member,), daemon=True) for member in members]
        for thread in self.threads:
            thread.start()

    def _run(self, member: Member) -> None:
        while not self.ended.wait(0.2):
            member.post(logs(100))


@dataclass
class Prometheus:
    """A running Prometheus that has the rules."""

    child: common.Child
    port: int

    def firing(self) -> set[str] | None:
        """The names of the alerts that fire; nothing where it does not answer."""
        with contextlib.suppress(OSError, ValueError):
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/alerts", timeout=10) as answer:
                alerts = json.load(answer)["data"]["alerts"]
            return {a["labels"]["alertname"].removeprefix("GopherShip") for a in alerts if a["state"] == "firing"}
        return None


@dataclass
class Causes:
    """Runs causes, and notes which alerts were seen to fire and to clear."""

    prometheus: Prometheus
    checks: common.Checks
    seen: set[str] = field(default_factory=set)

    def that(self, alerts: str, cause: Callable[[], object], mend: Callable[[], object] | None = None) -> None:
        """Makes the cause, waits until all of these alerts fire, mends it, and waits until none does. Without a mend
        the cause is an event, which is made again and again until they fire."""
        wanted = set(alerts.split())
        fired: set[str] = set()

        def all_fired() -> bool:
            if mend is None:
                cause()
            fired.update((self.prometheus.firing() or set()) & wanted)
            return fired == wanted

        def none_fires() -> bool:
            firing = self.prometheus.firing()
            return firing is not None and not firing & wanted

        if mend is not None:
            cause()
        self._wait(f"{alerts} fires", all_fired)
        if mend is not None:
            mend()
        self._wait(f"{alerts} clears", none_fires)
        self.seen |= wanted

    def _wait(self, claim: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + STEP_WITHIN_S
        while not (held := holds()) and time.monotonic() < deadline:
            time.sleep(0.3)
        self.checks.that(claim, held, "" if held else f"firing: {sorted(self.prometheus.firing() or set())}")


def start_prometheus(folder: Path, members: list[Member]) -> Prometheus:
    """Prometheus with the rules, in which only patience is shorter."""
    rules = RULES.read_text()
    for was, now in SHORTER:
        rules, count = re.subn(was, now, rules)
        if not count:
            raise ValueError(f"{RULES}: nothing matches {was!r}")
    (folder / "rules.yaml").write_text(rules)
    targets = [f"127.0.0.1:{member.ports['admin']}" for member in members]
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [
            {"job_name": "cluster", "static_configs": [{"targets": targets[:3]}]},
            {"job_name": "single", "static_configs": [{"targets": targets[3:]}]},
        ],
    }
    (folder / "prometheus.yaml").write_text(json.dumps(config))
    port = common.free_port()
    command = [
        common.need_tool("prometheus"),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    child = common.Child("prometheus", command, folder)
    return Prometheus(child, port)


def settings(member: Member, certs: Path, sink: Sink) -> dict[str, Any]:
    """What a node of the cluster and the single one have in common."""
    tls = {"cert": str(certs / f"{member.name}.pem"), "key": str(certs / f"{member.name}.key")}
    at = {key: f"127.0.0.1:{port}" for key, port in member.ports.items()}
    sends = {"name": "sink", "otlp_http": {"endpoint": f"http://127.0.0.1:{sink.port}"}, "start": "oldest"}
    return {
        "node": {"name": member.name, "data_dir": str(member.home / "data"), "shutdown_delay": "0s"},
        "vault": {"segment_size": "8MiB", "disk_limit": "4GiB"},
        "ingest": {"shards": 1},
        "listeners": {
            "otlp_grpc": {"address": at["grpc"], "tls": tls},
            "otlp_http": {"address": at["http"]},
            "admin": {"address": at["admin"]},
            "peer": {"address": at["peer"], "tls": {**tls, "client_ca": str(certs / "ca.pem")}},
        },
        "export": [sends],
    }


@contextlib.contextmanager
def nodes(args: argparse.Namespace, folder: Path, sink: Sink) -> Iterator[list[Member]]:
    """Three nodes that are a cluster, and a fourth that is none and has a small disk."""
    certs = folder / "certs"
    names = [*NAMES, "single"]
    for name in names:
        made = [str(args.gophership.resolve()), "certs", "--out", str(certs), "--name", name]
        subprocess.run(made, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    ports = iter(common.free_ports(len(PORTS) * len(names)))
    members = [Member(name, folder / name, args, {key: next(ports) for key in PORTS}) for name in names]
    peers = [{"name": each.name, "address": f"127.0.0.1:{each.ports['peer']}"} for each in members[:3]]
    for each in members:
        each.home.mkdir()
        config = settings(each, certs, sink)
        if each.name == "single":
            del config["listeners"]["peer"]
            config["vault"]["disk_limit"] = "256MiB"
        else:
            config["cluster"] = {"name": "alerts", "peers": peers, "dead_after": "2s"}
        (each.home / "node.yaml").write_text(json.dumps(config, indent=2) + "\n")
    try:
        for each in members:
            each.start()
        members[0].must("cluster", "provision")
        for each in members:
            assert each.child
            common.wait_until("ready", each.child, each.ready, STEP_WITHIN_S)
        yield members
    finally:
        for each in members:
            if each.child:
                each.child.process.send_signal(signal.SIGCONT)
                each.child.stop()


def exporters(causes: Causes, members: list[Member], sink: Sink) -> None:
    """What a sink that answers otherwise causes, and what an operator does to an exporter."""
    first = members[0]

    def answer(status: int) -> Callable[[], None]:
        return lambda: setattr(sink, "status", status)

    def resume() -> None:
        sink.status = 200
        for each in members:
            each.must("exporter", "resume", "sink")

    causes.that("ExportStopped", answer(401), resume)
    causes.that("ExportLags", answer(503), answer(200))
    causes.that("ExportRefuses", answer(400), answer(200))
    causes.that(
        "ExportPaused",
        lambda: first.must("exporter", "pause", "sink"),
        lambda: first.must("exporter", "resume", "sink"),
    )
    second = f"name: second\notlp_http: {{endpoint: 'http://127.0.0.1:{sink.port}/v1/logs'}}\n"

    def remove() -> None:
        first.must("exporter", "set", "-", stdin=second)
        # One that is removed before a node has begun to send for it is owed nothing, and is not on record.
        first.must("exporter", "describe", "second")
        first.must("exporter", "remove", "second")

    causes.that("ExportNotConfigured", remove, lambda: first.must("exporter", "forget", "second", "--accept-loss"))


def lost_nodes(causes: Causes, members: list[Member]) -> None:
    """What a node that is silent, drained or gone causes."""
    first, second, third = members[:3]
    first.must("segment", "seal")
    silent = "NodeDead UnderReplicated ReplicaBehind"
    causes.that(silent, lambda: third.signal(signal.SIGSTOP), lambda: third.signal(signal.SIGCONT))
    causes.that(
        "NodeNotReady",
        lambda: first.must("node", "drain", "node-2"),
        lambda: first.must("node", "undrain", "node-2"),
    )

    def two_of_three() -> None:
        for each in (second, third):
            each.signal(signal.SIGKILL)

    def start_again() -> None:
        for each in (second, third):
            each.start()

    causes.that("NoNodeReady NoLeader RefusingLogs CatalogueNotWritten", two_of_three, start_again)


def damage(causes: Causes, members: list[Member]) -> None:
    """A byte that is flipped in every copy of a sealed segment: no holder can give it to the others."""
    first = members[0]
    first.must("segment", "seal")

    def copies() -> list[Path]:
        """The files of a sealed segment that all three nodes have."""
        for row in json.loads(first.must("-o", "json", "segment", "list"))["segments"]:
            node, shard, index = (int(part) for part in row["segment"].split("/"))
            name = f"segments/{node:010}/{shard:04}/{index:012}.seg"
            files = [path for member in members[:3] if (path := member.home / "data" / name).exists()]
            if row["state"] == "sealed" and len(files) == 3:
                sealed.append(row["segment"])
                return files
        return []

    sealed: list[str] = []
    deadline = time.monotonic() + STEP_WITHIN_S
    while not (files := copies()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no sealed segment has three copies:\n{first.must('segment', 'list')}")
        time.sleep(0.5)
    before = {path: path.read_bytes() for path in files}
    def flip() -> None:
        for path, was in before.items():
            middle = len(was) // 2
            path.write_bytes(was[:middle] + bytes([was[middle] ^ 1]) + was[middle + 1 :])
        first.ctl("segment", "verify", sealed[0])

    def put_back() -> None:
        for path, was in before.items():
            path.write_bytes(was)
        first.must("segment", "verify", sealed[0])

    causes.that("DamagedCopies Quarantine", flip, put_back)


def requests(causes: Causes, members: list[Member]) -> None:
    """What clients cause, and an operator's override."""
    first = members[0]

    def plaintext() -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", first.ports["grpc"]), 30) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            client.recv(64)

    causes.that("HandshakesFail", plaintext)
    causes.that("TooLargeRequests", lambda: first.post(logs(5 << 20)))
    causes.that(
        "ZoneRed",
        lambda: first.must("override", "--zone", "red", "--reason", "a test"),
        lambda: first.must("override", "--clear"),
    )


def archive(causes: Causes, folder: Path, first: Member) -> None:
    """A store that goes away, and comes back."""
    store, away = folder / "archive", folder / "archive-away"
    store.mkdir()
    first.must("config", "set", "archive.url", f"file://{store}")
    first.must("config", "set", "archive.max_delay", "1s")

    def gone() -> None:
        store.rename(away)
        store.write_text("no folder")
        first.must("segment", "seal")

    def back() -> None:
        store.unlink()
        away.rename(store)

    causes.that("ArchiveStopped", gone, back)


def certificates(causes: Causes, folder: Path, first: Member) -> None:
    """A certificate that has one day left."""
    certs = folder / "certs"
    cert, kept, request, extensions = (certs / name for name in ("node-1.pem", "kept.pem", "node-1.csr", "san.cnf"))

    def short() -> None:
        shutil.copy(cert, kept)
        names = "subjectAltName=DNS:node-1,DNS:localhost,IP:127.0.0.1"
        extensions.write_text(f"{names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        asks = ["req", "-new", "-key", str(certs / "node-1.key"), "-subj", "/CN=node-1", "-out", str(request)]
        signs = ["x509", "-req", "-in", str(request), "-CA", str(certs / "ca.pem"), "-CAkey", str(certs / "ca.key")]
        signs += ["-CAcreateserial", "-days", "1", "-extfile", str(extensions), "-out", str(cert)]
        for words in (asks, signs):
            command = [common.need_tool("openssl"), *words]
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        first.signal(signal.SIGHUP)

    def put_back() -> None:
        shutil.copy(kept, cert)
        first.signal(signal.SIGHUP)

    causes.that("CertificateEnds CertificateEndsSoon", short, put_back)


def full_disk(causes: Causes, single: Member, sink: Sink) -> None:
    """A disk that fills with what a sink does not take, and with damage."""

    def fill() -> None:
        sink.status = 503
        body = logs(3 << 20)
        deadline = time.monotonic() + STEP_WITHIN_S
        while single.post(body) != 503 and time.monotonic() < deadline:
            pass

    def make_room() -> None:
        single.must("exporter", "seek", "sink", "--to", "now", "--accept-loss")
        sink.status = 200

    causes.that("DiskFilling DiskFull", fill, make_room)


def body(args: argparse.Namespace, checks: common.Checks, folder: Path) -> None:
    """All causes, one after the other."""
    sink = Sink()
    with nodes(args, folder, sink) as members:
        prometheus = start_prometheus(folder, members)
        try:
            common.wait_until("Prometheus", prometheus.child, lambda: common.accepts(prometheus.port), STEP_WITHIN_S)
            load = Load(members[:3])
            causes = Causes(prometheus, checks)
            requests(causes, members)
            exporters(causes, members, sink)
            archive(causes, folder, members[0])
            certificates(causes, folder, members[0])
            damage(causes, members)
            lost_nodes(causes, members)
            full_disk(causes, members[3], sink)
            load.ended.set()

            def end() -> None:
                for each in members:
                    if each.child:
                        each.child.stop()

            causes.that("NotScraped", end, members[3].start)
            rules = set(re.findall(r"alert: GopherShip(\w+)", RULES.read_text()))
            odd = sorted((causes.seen | NOT_CAUSED) ^ rules)
            checks.that("each alert is caused here, or said not to be", not odd, ", ".join(odd))
        finally:
            prometheus.child.stop()


if __name__ == "__main__":
    common.run_test("alerts", common.arguments(__doc__), body, WITHIN_S)
