"""A local stand-in for the Hugging Face hub: the few routes that a download needs, and faults on demand.

    GET, HEAD /datasets/<repository>/resolve/<revision>/<file>     200, 206 or 416 with the hub's headers
    GET, HEAD /<repository>/resolve/<revision>/<file>              the same, of a model
    GET, HEAD /store/<number>                                      where a large file leads when `Hub.store` is set
    else                                                           404

``localhost`` is another host than ``127.0.0.1``: what leads to the store leaves the hub, as with the real one.
"""

import http.server
import threading
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import unquote

REVISION = "a" * 40


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request for bytes.

    Attributes:
        after: bytes of the answer's body that are sent first.
        then: ``cut`` the connection, or ``stall`` until the server closes.
    """

    after: int
    then: str = "cut"


@dataclass(frozen=True)
class Answer:
    """An answer without bytes: a status and headers."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lie:
    """Answer with bytes, but with other headers (None leaves one out), or deaf to ``Range``, or in chunks."""

    headers: dict[str, str | None] = field(default_factory=dict)
    deaf: bool = False
    body: bytes | None = None


@dataclass
class Seen:
    """A request that came, and the bytes of the body that went out."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0

    @property
    def range(self) -> str | None:
        """The ``Range`` header."""
        return self.headers.get("range")


class Hub:
    """The files, the faults to come, and the requests that were seen.

    Attributes:
        files: (repository, revision, name) -> bytes, of data sets.
        models: the same of models.
        refusals: repository -> the answer to everything that is asked of it.
        faults: one for each request for bytes, in order; None is no fault. Those for redirects are not counted.
        store: lead to another host for the bytes.
        seen: requests, in order, without those for other routes.
    """

    def __init__(self):
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.models: dict[tuple[str, str, str], bytes] = {}
        self.refusals: dict[str, Answer] = {}
        self.faults: deque[Fault | Answer | Lie | None] = deque()
        self.store, self.seen, self.port = False, [], 0
        self.stalled, self.closing = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def put(self, name: str, content: bytes, repository: str = "someone/stories", revision: str = REVISION) -> None:
        """Add a file, or replace it."""
        self.files[repository, revision, name] = content

    def sent(self) -> int:
        """Bytes of files that went out."""
        return sum(request.sent for request in self.seen)

    def ranges(self) -> list[str | None]:
        """The ``Range`` of each request."""
        return [request.range for request in self.seen]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self):
        request = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        with suppress(BrokenPipeError, ConnectionResetError):
            self._route(request)

    do_HEAD = do_GET  # noqa: N815

    def _route(self, request: Seen):
        hub, path = self.hub, unquote(self.path)
        if path.startswith("/store/"):
            hub.seen.append(request)
            return self._bytes(request, list(hub.files.values())[int(path.removeprefix("/store/"))], {})
        if "/resolve/" not in path:
            return self._plain(request, Answer(404))
        hub.seen.append(request)
        files = hub.files if path.startswith("/datasets/") else hub.models
        repository, _, rest = path.removeprefix("/datasets/").removeprefix("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repository in hub.refusals:
            return self._plain(request, hub.refusals[repository])
        if repository not in {r for r, _, _ in files}:
            return self._plain(request, Answer(401, {"X-Error-Code": "RepoNotFound"}))
        if (repository, revision) not in {(r, v) for r, v, _ in files}:
            return self._plain(request, Answer(404, {"X-Error-Code": "RevisionNotFound"}))
        commit = {"X-Repo-Commit": revision}
        if (content := files.get((repository, revision, name))) is None:
            return self._plain(request, Answer(404, {"X-Error-Code": "EntryNotFound", **commit}))
        if not hub.store or files is hub.models:
            return self._bytes(request, content, {**commit, "ETag": '"0123"'})
        number = list(hub.files).index((repository, revision, name))
        linked = {"X-Linked-Size": str(len(content)), "X-Linked-Etag": '"0123"'}
        return self._plain(
            request, Answer(302, {**commit, **linked, "Location": f"http://localhost:{hub.port}/store/{number}"})
        )

    def _plain(self, request: Seen, answer: Answer):
        request.status = answer.status
        self.send_response(answer.status)
        for name, value in ({"Content-Length": "0"} | answer.headers).items():
            self.send_header(name, value)
        self.end_headers()

    def _bytes(self, request: Seen, content: bytes, headers: dict[str, str]):
        hub = self.hub
        fault = hub.faults.popleft() if hub.faults and request.method == "GET" else None
        if isinstance(fault, Answer):
            return self._plain(request, fault)
        lie = fault if isinstance(fault, Lie) else Lie()
        start = 0 if request.range is None or lie.deaf else int(request.range.removeprefix("bytes=").removesuffix("-"))
        if 0 < len(content) <= start:
            return self._plain(request, Answer(416, {"Content-Range": f"bytes */{len(content)}"}))
        body = content[start:] if lie.body is None else lie.body
        given = headers | {"Accept-Ranges": "bytes", "Content-Length": str(len(body))}
        if request.range is not None and not lie.deaf:
            request.status = 206
            given["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        else:
            request.status = 200
        given = {name: value for name, value in (given | lie.headers).items() if value is not None}
        self.send_response(request.status)
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        if request.method == "HEAD":
            return None
        body = body[: fault.after] if isinstance(fault, Fault) else body
        if "Content-Length" not in given:
            self.close_connection = True  # the end of the connection is the end of the file
        for at in range(0, len(body), 1 << 16):
            self.wfile.write(body[at : at + (1 << 16)])
            request.sent += len(body[at : at + (1 << 16)])
        if isinstance(fault, Fault):
            self.wfile.flush()
            self.close_connection = True
            if fault.then == "stall":
                hub.stalled.set()
                hub.closing.wait(60)
        return None

    def log_message(self, *args):
        """Say nothing."""


@contextmanager
def serve():
    """Run a hub on a free port of this machine until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        hub.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            hub.closing.set()
            server.shutdown()
            thread.join()
