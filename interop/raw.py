"""Raw clients: gRPC over HTTP/2 frames, HTTP/1.1 and bare bytes over a socket, with every header and byte in the
caller's hand.

A body is a series of pieces: bytes are sent, a number is a pause in seconds. Sending stops as soon as the server has
answered.
"""

from __future__ import annotations

import select
import socket
import struct
import time
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from grpc import StatusCode

Body = Iterable[bytes | float]
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
CODES = {code.value[0]: code.name for code in StatusCode}
WITHIN_S = 60.0


@dataclass
class Answer:
    """A server's answer: `what` is `gRPC <CODE>`, `HTTP <status>`, `closed` or `no answer`."""

    what: str
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.what}{f' ({self.message[:60]})' if self.message else ''}"


def prefixed(message: bytes, compressed: bool = False, length: int | None = None) -> bytes:
    """A message behind its gRPC prefix, which may lie about the length."""
    return struct.pack(">BI", compressed, len(message) if length is None else length) + message


def readable(connection: socket.socket, for_s: float) -> bool:
    """True where there is something to read within that time. (`select` knows only the first 1,024 descriptors.)"""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(max(0.0, for_s) * 1000))


def refuses_all(event: h2.events.Event) -> bool:
    """True for a GOAWAY before the first call."""
    return isinstance(event, h2.events.ConnectionTerminated) and event.last_stream_id == 0


class GrpcCall:
    """One call on a connection of its own."""

    def __init__(self, port: int, path: str, headers: dict[str, str]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._deadline = time.monotonic() + WITHIN_S
        self._headers: dict[str, str] = {}
        self._over = ""
        self._h2.initiate_connection()
        wanted = {":method": "POST", ":scheme": "http", ":authority": "127.0.0.1", ":path": path} | headers
        self._h2.send_headers(1, list(wanted.items()))
        self._flush()

    def _flush(self) -> None:
        try:
            self._socket.sendall(self._h2.data_to_send())
        except OSError:
            self._over = self._over or "closed"

    def _listen(self, for_s: float) -> None:
        """Takes in what arrives within the time; returns at once when something did."""
        if not readable(self._socket, for_s):
            return
        try:
            arrived = self._socket.recv(1 << 16)
            events = self._h2.receive_data(arrived) if arrived else []
        except (OSError, h2.exceptions.ProtocolError) as error:
            arrived, events = b"", []
            self._headers.setdefault("grpc-message", type(error).__name__)
        for event in events:
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                self._headers |= {str(name): str(value) for name, value in event.headers}
            elif isinstance(event, h2.events.DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self._over = "ended"
            elif isinstance(event, h2.events.StreamReset) or refuses_all(event):
                self._over = self._over or "closed"
        if not arrived:
            self._over = self._over or "closed"
        elif not self._over or self._over == "ended":
            self._flush()

    def _room(self) -> int:
        return min(self._h2.local_flow_control_window(1), self._h2.max_outbound_frame_size)

    def send(self, body: Body, end: bool) -> None:
        """Sends the pieces, within the server's flow control."""
        for piece in body:
            if isinstance(piece, float):
                until = time.monotonic() + piece
                while not self._over and time.monotonic() < until:
                    self._listen(until - time.monotonic())
                continue
            rest = memoryview(piece)
            while rest and not self._over and time.monotonic() < self._deadline:
                room = self._room()
                if room:
                    self._h2.send_data(1, bytes(rest[:room]))
                    rest = rest[room:]
                    self._flush()
                self._listen(0 if room else self._deadline - time.monotonic())
        if end and not self._over:
            self._h2.end_stream(1)
            self._flush()

    def answer(self) -> Answer:
        """Waits for the end of the call and closes the connection."""
        while not self._over and time.monotonic() < self._deadline:
            self._listen(self._deadline - time.monotonic())
        self._socket.close()
        message = urllib.parse.unquote(self._headers.get("grpc-message", ""))
        status = self._headers.get(":status", "")
        if status == "200" and "grpc-status" in self._headers:
            return Answer(f"gRPC {CODES[int(self._headers['grpc-status'])]}", message, self._headers)
        if status:
            return Answer(f"HTTP {status}", message, self._headers)
        return Answer(self._over or "no answer", message, self._headers)

    def vanish(self) -> Answer:
        """Drops the connection without a word."""
        self._socket.close()
        return Answer("closed", "by the client")


def grpc_call(
    port: int, body: Body, path: str = LOGS, headers: dict[str, str] | None = None, end: bool = True
) -> Answer:
    """One gRPC call; `headers` go over the usual ones."""
    usual = {"content-type": "application/grpc", "te": "trailers", "user-agent": "interop-raw/1"}
    call = GrpcCall(port, path, usual | (headers or {}))
    call.send(body, end)
    return call.answer()


def grpc_export(port: int, payload: bytes, path: str = LOGS, headers: dict[str, str] | None = None) -> Answer:
    """One Export with the payload as its only, uncompressed message."""
    return grpc_call(port, [prefixed(payload)], path, headers)


def talk(port: int, body: Body, end: bool = False) -> bytes:
    """Sends bare bytes and returns all that comes back until the server closes or has answered a whole HTTP
    response."""
    received = bytearray()
    deadline = time.monotonic() + WITHIN_S
    with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as connection:

        def listen(for_s: float) -> bool:
            if not readable(connection, for_s):
                return False
            try:
                arrived = connection.recv(1 << 16)
            except OSError:
                arrived = b""
            received.extend(arrived)
            return not arrived or whole_response(bytes(received))

        try:
            for piece in body:
                if isinstance(piece, float):
                    if listen(piece):
                        return bytes(received)
                    continue
                connection.sendall(piece)
                if listen(0):
                    return bytes(received)
            if end:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # closed while sending: an answer may still wait to be read
        while time.monotonic() < deadline and not listen(deadline - time.monotonic()):
            pass
        if time.monotonic() >= deadline:
            raise TimeoutError(f"no end of the answer within {WITHIN_S} s")
    return bytes(received)


def final_response(received: bytes) -> bytes:
    """The bytes without the interim responses (100 Continue) at their start."""
    while received.startswith(b"HTTP/1.1 1") and b"\r\n\r\n" in received:
        received = received.partition(b"\r\n\r\n")[2]
    return received


def whole_response(received: bytes) -> bool:
    """True where these bytes hold a full HTTP/1.1 response that announces its length."""
    head, separator, content = final_response(received).partition(b"\r\n\r\n")
    if not separator or not head.startswith(b"HTTP/1.1 "):
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(content) >= int(line.split(b":")[1])
    return content.endswith(b"0\r\n\r\n")


def http_answer(port: int, body: Body, end: bool = False) -> Answer:
    """Like `talk`, read as an HTTP/1.1 response."""
    try:
        received = talk(port, body, end)
    except TimeoutError:
        return Answer("no answer")
    head, _, content = final_response(received).partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    if not lines[0].startswith("HTTP/1."):
        return Answer("closed", f"after {len(received)} bytes" if received else "")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    printable = "".join(letter for letter in content.decode("utf-8", "replace") if letter.isprintable())
    return Answer(f"HTTP {lines[0].split()[1]}", printable, headers)


def http_head(
    length: int | None, path: str = "/v1/logs", method: str = "POST", headers: dict[str, str] | None = None
) -> bytes:
    """The head of an HTTP/1.1 request; without a length its body is chunked."""
    usual = {"Host": "127.0.0.1", "Content-Type": "application/x-protobuf"}
    usual |= {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (usual | (headers or {})).items())]
    return "\r\n".join([*lines, "", ""]).encode()


def http_export(port: int, payload: bytes, path: str = "/v1/logs", headers: dict[str, str] | None = None) -> Answer:
    """One POST with the payload as its body."""
    return http_answer(port, [http_head(len(payload), path, headers=headers), payload])


def chunk(content: bytes) -> bytes:
    """One chunk of a chunked body."""
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"
