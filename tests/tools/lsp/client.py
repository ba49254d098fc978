"""An editor, as far as the protocol goes: starts the command and speaks LSP with it over pipes."""

from __future__ import annotations

import itertools
import json
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import bassloop

WAIT = 240.0


class Refused(Exception):
    """The server answered a request with an error."""


class Editor:
    """Sends requests and notifications; what the server publishes can be waited for."""

    def __init__(self, root: Path, encodings: list[str] | None = None) -> None:
        self.root = root
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bassloop", "lsp"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=root,
            env={"PYTHONPATH": str(Path(bassloop.__file__).parents[1])},
        )
        self._ids = itertools.count(1)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._published: queue.Queue[dict[str, Any]] = queue.Queue()
        self._versions: dict[str, int] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        general = {"positionEncodings": encodings} if encodings else {}
        self.capabilities = self.request(
            "initialize",
            processId=None,
            rootUri=root.as_uri(),
            capabilities={
                "general": general,
                "textDocument": {"completion": {"completionItem": {"snippetSupport": False}}},
            },
        )["capabilities"]
        self.notify("initialized")

    # --- what an editor does ---

    def open(self, name: str, text: str) -> str:
        uri = self.uri(name)
        self._versions[uri] = 1
        self.notify(
            "textDocument/didOpen",
            textDocument={"uri": uri, "languageId": "bass", "version": 1, "text": text},
        )
        return uri

    def change(self, uri: str, *texts: str) -> int:
        """Change a document to one text after the other, without a pause in between. Returns the last version."""
        messages = []
        for text in texts:
            self._versions[uri] += 1
            document = {"uri": uri, "version": self._versions[uri]}
            params = {"textDocument": document, "contentChanges": [{"text": text}]}
            messages.append({"method": "textDocument/didChange", "params": params})
        self._send(*messages)
        return self._versions[uri]

    def diagnostics(self, uri: str, version: int | None = None) -> list[dict[str, Any]]:
        """Return the diagnostics that are published next for a document, or for a version of it."""
        while True:
            params = self._published.get(timeout=WAIT)
            if params["uri"] == uri and version in (None, params.get("version")):
                return list(params["diagnostics"])

    def ask(self, what: str, uri: str, line: int, character: int) -> Any:
        return self.request(
            f"textDocument/{what}",
            textDocument={"uri": uri},
            position={"line": line, "character": character},
        )

    def close(self) -> tuple[int, str]:
        """Leave as editors do; the server's exit status, and what it said on standard error."""
        self.request("shutdown")
        self.notify("exit")
        assert self.process.stderr is not None
        said = self.process.stderr.read().decode()
        status = self.process.wait(WAIT)
        self.drop()
        return status, said

    def drop(self) -> None:
        """End it, if it still runs, and close its pipes."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(WAIT)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def uri(self, name: str) -> str:
        return (self.root / name).as_uri()

    # --- messages ---

    def request(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        self._send({"id": number, "method": method, "params": params or None})
        answer = self._answers.get(timeout=WAIT)
        assert answer["id"] == number, answer
        if "error" in answer:
            raise Refused(answer["error"]["message"])
        return answer["result"]

    def notify(self, method: str, **params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, *messages: dict[str, Any]) -> None:
        bodies = [json.dumps({"jsonrpc": "2.0", **each}).encode() for each in messages]
        assert self.process.stdin is not None
        self.process.stdin.write(
            b"".join(b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies)
        )
        self.process.stdin.flush()

    def _read(self) -> None:
        out = self.process.stdout
        assert out is not None
        while True:
            length = 0
            while (line := out.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if not line:
                return
            message = json.loads(out.read(length))
            if "method" not in message:
                self._answers.put(message)
            elif message["method"] == "textDocument/publishDiagnostics":
                self._published.put(message["params"])
