"""The language server's protocol, on standard input and output, and the texts that are open in the editor.

pygls is built on asyncio, so this process doesn't use Trio.
"""

from __future__ import annotations

import asyncio
import gc
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.uris import to_fs_path

from bassloop import __version__
from bassloop.bass.builtins import internal
from bassloop.tools.formatter import format_bass
from bassloop.tools.lsp import answers
from bassloop.tools.lsp.analysis import Analysis, analyse
from bassloop.tools.lsp.answers import RenameError, rename, renameable
from bassloop.tools.lsp.text_model import Positions, TextSpan

if TYPE_CHECKING:
    from collections.abc import Callable

    from pygls.workspace import TextDocument

    from bassloop.tools.lsp.answers import Signature, Suggestion, Target
    from bassloop.tools.lsp.text_model import Definition, Problem

DEBOUNCE_SECONDS: Final = 0.15
"""Seconds between the last change of a text and its analysis."""

MAX_NESTED: Final = 20
"""The maximum depth of a text's outline."""

SEVERITIES: Final = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "hint": types.DiagnosticSeverity.Hint,
}
ITEMS: Final = {
    "function": types.CompletionItemKind.Function,
    "operative": types.CompletionItemKind.Keyword,
    "module": types.CompletionItemKind.Module,
    "key": types.CompletionItemKind.Field,
}
SYMBOLS: Final = {
    "function": types.SymbolKind.Function,
    "operative": types.SymbolKind.Operator,
    "module": types.SymbolKind.Module,
}


MAX_FILE: Final = 1 << 20
"""The size limit in bytes for files that scripts use."""

MAX_DEPTH: Final = 20
"""The maximum length of a chain of files, each of which uses the next."""

STD: Final = Path(str(resources.files("bassloop.bass") / "std"))
"""The folder of the standard modules, which may use internal names."""


class Documents:
    """Analyses of texts, made on demand and cached until the text changes.

    Args:
        opened: returns the text of an open document by its path, or None if it isn't open.
    """

    def __init__(self, opened: Callable[[Path], str | None]) -> None:
        self._opened = opened
        self._analyses: dict[Path | str, tuple[str, Analysis]] = {}
        self._loading: set[Path] = set()

    def analysis(self, text: str, path: Path | None, key: str) -> Analysis:
        """Return the analysis of a text. `path` is its file, if it has one, and else `key` identifies it."""
        at = path if path is not None else key
        cached = self._analyses.get(at)
        if cached is not None and cached[0] == text:
            return cached[1]
        made = analyse(text, _internals(path), lambda name: self._used(name, path))
        self._analyses[at] = (text, made)
        return made

    def forget(self, path: Path | None = None, key: str = "") -> None:
        """Drop the analysis of a document that was closed. Without arguments, drop all, because files have changed."""
        if path is None and not key:
            self._analyses.clear()
        else:
            self._analyses.pop(path if path is not None else key, None)

    def at(self, path: Path) -> Analysis | None:
        """Return the analysis of a file, open or not; None if it can't be read."""
        text = self._opened(path)
        if text is None:
            try:
                if path.stat().st_size > MAX_FILE:
                    return None
                text = path.read_text(encoding="utf-8")
            except (OSError, ValueError):
                return None
        return self.analysis(text, path, "")

    def _used(self, name: str, user: Path | None) -> Analysis | None:
        path = beside(user, name)
        # Files may use each other circularly.
        if path is None or path in self._loading or len(self._loading) >= MAX_DEPTH:
            return None
        self._loading.add(path)
        try:
            return self.at(path)
        finally:
            self._loading.discard(path)


def beside(user: Path | None, name: str) -> Path | None:
    """Return the file that `*dir*/name` refers to in a script; None if the script isn't in a file."""
    if user is None or "\0" in name:
        return None
    return user.parent / name


def _internals(path: Path | None) -> tuple[str, ...]:
    if path is None or path.parent != STD:
        return ()
    return tuple(internal().vars)


class BassServer(LanguageServer):
    """The server of one editor."""

    def __init__(self) -> None:
        # Editors send whole texts, so only `Positions` counts lines and code units.
        super().__init__(
            "bassloop", __version__, text_document_sync_kind=types.TextDocumentSyncKind.Full
        )
        self.documents = Documents(self._text_of)
        self._pending: dict[str, asyncio.TimerHandle] = {}

    # --- texts ---

    def analysed(self, uri: str) -> tuple[Analysis, Positions]:
        """Return the analysis of an open document, and its positions."""
        # An editor may send requests about a document that it has just closed.
        document: TextDocument | None = self.workspace.text_documents.get(uri)
        text = document.source if document is not None else ""
        found = self.documents.analysis(text, _path(uri), uri)
        return found, self.positions(text)

    def positions(self, text: str) -> Positions:
        """Return the positions of a text, in the editor's code units."""
        encoding = self.workspace.position_encoding or types.PositionEncodingKind.Utf16
        return Positions(text, types.PositionEncodingKind(encoding).value)

    def _text_of(self, path: Path) -> str | None:
        for uri, document in self.workspace.text_documents.items():
            if _path(uri) == path:
                return str(document.source)
        return None

    # --- diagnostics ---

    def diagnose_soon(self, uri: str) -> None:
        """Publish the diagnostics of a text after a moment without changes."""
        self.cancel(uri)
        loop = asyncio.get_running_loop()
        self._pending[uri] = loop.call_later(DEBOUNCE_SECONDS, self.diagnose, uri)

    def cancel(self, uri: str) -> None:
        """Cancel the diagnostics that are pending for a text."""
        pending = self._pending.pop(uri, None)
        if pending is not None:
            pending.cancel()

    def diagnose(self, uri: str) -> None:
        """Publish the diagnostics of a text."""
        self._pending.pop(uri, None)
        document: TextDocument | None = self.workspace.text_documents.get(uri)
        if document is None:
            return
        found, positions = self.analysed(uri)
        self.text_document_publish_diagnostics(
            types.PublishDiagnosticsParams(
                uri=uri,
                version=document.version,
                diagnostics=[_diagnostic(problem, positions) for problem in found.problems],
            )
        )

    def diagnose_all(self) -> None:
        """Publish the diagnostics of all open texts, because files have changed."""
        self.documents.forget()
        for uri in list(self.workspace.text_documents):
            self.diagnose(uri)

    # --- places ---

    def location(self, uri: str, target: Target) -> types.Location | None:
        """Return the location of a target, if its file exists."""
        if target.std:
            return self._std(target.std)
        path = _path(uri)
        if target.file:
            path = beside(path, target.file)
            found = self.documents.at(path) if path is not None else None
            if path is None or found is None:
                return None
            return types.Location(_uri(path), _range(target.span, self.positions(found.text)))
        _, positions = self.analysed(uri)
        return types.Location(uri, _range(target.span, positions))

    def _std(self, name: str) -> types.Location | None:
        module, _, member = name.partition(":")
        path = STD / f"{module}.bass"
        found = self.documents.at(path)
        if found is None:
            return None
        definitions = found.scopes[0].names.get(member)
        meaning = found.meaning(definitions[-1]) if definitions else None
        span = getattr(meaning, "span", None) or TextSpan(0, 0)
        return types.Location(_uri(path), _range(span, self.positions(found.text)))


def create() -> BassServer:
    """Return a server with all its features."""
    server = BassServer()

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def _opened(params: types.DidOpenTextDocumentParams) -> None:
        server.diagnose(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def _changed(params: types.DidChangeTextDocumentParams) -> None:
        server.diagnose_soon(params.text_document.uri)

    @server.feature(types.TEXT_DOCUMENT_DID_SAVE)
    def _saved(params: types.DidSaveTextDocumentParams) -> None:
        server.diagnose_all()

    @server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def _watched(params: types.DidChangeWatchedFilesParams) -> None:
        server.diagnose_all()

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def _closed(params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        server.cancel(uri)
        server.documents.forget(_path(uri), uri)
        server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, []))

    @server.feature(
        types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=[":", "."])
    )
    def _complete(params: types.CompletionParams) -> types.CompletionList:
        found, positions = server.analysed(params.text_document.uri)
        offset = positions.offset(params.position.line, params.position.character)
        suggestions = answers.complete(found, offset)
        return types.CompletionList(False, [_item(each, positions) for each in suggestions])

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def _hover(params: types.HoverParams) -> types.Hover | None:
        found, positions = server.analysed(params.text_document.uri)
        offset = positions.offset(params.position.line, params.position.character)
        answer = answers.hover(found, offset)
        if answer is None:
            return None
        span, text = answer
        return types.Hover(
            types.MarkupContent(types.MarkupKind.Markdown, text), _range(span, positions)
        )

    @server.feature(
        types.TEXT_DOCUMENT_SIGNATURE_HELP,
        types.SignatureHelpOptions(trigger_characters=[" ", "("]),
    )
    def _signature(params: types.SignatureHelpParams) -> types.SignatureHelp | None:
        found, positions = server.analysed(params.text_document.uri)
        offset = positions.offset(params.position.line, params.position.character)
        signature = answers.signature(found, offset)
        return _help(signature) if signature is not None else None

    @server.feature(types.TEXT_DOCUMENT_REFERENCES)
    def _references(params: types.ReferenceParams) -> list[types.Location]:
        uri = params.text_document.uri
        found, positions = server.analysed(uri)
        offset = positions.offset(params.position.line, params.position.character)
        return [
            types.Location(uri, _range(span, positions))
            for span, bound in answers.occurrences(found, offset)
            if params.context.include_declaration or not bound
        ]

    @server.feature(types.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
    def _highlight(params: types.DocumentHighlightParams) -> list[types.DocumentHighlight]:
        found, positions = server.analysed(params.text_document.uri)
        offset = positions.offset(params.position.line, params.position.character)
        write, read = types.DocumentHighlightKind.Write, types.DocumentHighlightKind.Read
        return [
            types.DocumentHighlight(_range(span, positions), write if bound else read)
            for span, bound in answers.occurrences(found, offset)
        ]

    @server.feature(types.TEXT_DOCUMENT_PREPARE_RENAME)
    def _can_rename(params: types.PrepareRenameParams) -> types.Range | None:
        found, positions = server.analysed(params.text_document.uri)
        offset = positions.offset(params.position.line, params.position.character)
        span = renameable(found, offset)
        return _range(span, positions) if span is not None else None

    @server.feature(types.TEXT_DOCUMENT_RENAME, types.RenameOptions(prepare_provider=True))
    def _rename(params: types.RenameParams) -> types.WorkspaceEdit:
        uri, name = params.text_document.uri, params.new_name
        found, positions = server.analysed(uri)
        offset = positions.offset(params.position.line, params.position.character)

        def analyse(text: str) -> Analysis:
            return server.documents.analysis(text, _path(uri), uri)

        try:
            spans = rename(found, offset, name, analyse)
        except RenameError as error:
            raise JsonRpcInvalidParams(str(error)) from error
        edits = [types.TextEdit(_range(span, positions), name) for span in spans]
        return types.WorkspaceEdit(changes={uri: edits})

    @server.feature(types.TEXT_DOCUMENT_FORMATTING)
    def _format(params: types.DocumentFormattingParams) -> list[types.TextEdit]:
        found, positions = server.analysed(params.text_document.uri)
        if any(problem.severity == "error" for problem in found.problems):
            return []  # brackets are missing, so the indentation of lines is unknown
        formatted = format_bass(found.text)
        if formatted == found.text:
            return []
        return [types.TextEdit(_range(TextSpan(0, len(found.text)), positions), formatted)]

    @server.feature(types.TEXT_DOCUMENT_DEFINITION)
    def _define(params: types.DefinitionParams) -> types.Location | None:
        uri = params.text_document.uri
        found, positions = server.analysed(uri)
        offset = positions.offset(params.position.line, params.position.character)
        target = answers.target(found, offset)
        return server.location(uri, target) if target is not None else None

    @server.feature(types.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def _outline(params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
        found, positions = server.analysed(params.text_document.uri)
        return _nested(answers.outline(found), positions)

    return server


def serve() -> None:
    """Serve the editor on standard input and output until it disconnects."""
    # Reading a long text creates many objects, none of which are garbage.
    gc.set_threshold(200_000, 20, 50)
    create().start_io()


def _diagnostic(problem: Problem, positions: Positions) -> types.Diagnostic:
    return types.Diagnostic(
        _range(problem.span, positions),
        problem.message,
        severity=SEVERITIES[problem.severity],
        source="bass",
        tags=[types.DiagnosticTag.Deprecated] if problem.deprecated else None,
    )


def _item(suggestion: Suggestion, positions: Positions) -> types.CompletionItem:
    about = suggestion.about
    return types.CompletionItem(
        suggestion.label,
        kind=ITEMS.get(suggestion.kind, types.CompletionItemKind.Variable),
        detail=suggestion.detail,
        documentation=types.MarkupContent(types.MarkupKind.PlainText, about) if about else None,
        text_edit=types.TextEdit(_range(suggestion.span, positions), suggestion.label),
        tags=[types.CompletionItemTag.Deprecated] if suggestion.deprecated else None,
    )


def _help(signature: Signature) -> types.SignatureHelp:
    about = signature.about
    # Here the protocol uses UTF-16, whatever encoding was negotiated.
    units = Positions(signature.label, "utf-16")
    parameters = [
        types.ParameterInformation((units.position(span.start)[1], units.position(span.end)[1]))
        for span in signature.parameters
    ]
    return types.SignatureHelp(
        [
            types.SignatureInformation(
                signature.label,
                types.MarkupContent(types.MarkupKind.PlainText, about) if about else None,
                parameters,
                max(signature.active, 0),
            )
        ],
        0,
        max(signature.active, 0),
    )


def _nested(definitions: list[Definition], positions: Positions) -> list[types.DocumentSymbol]:
    """A tree of definitions: those within another one's form are its children."""
    top: list[types.DocumentSymbol] = []
    around: list[tuple[TextSpan, list[types.DocumentSymbol]]] = []
    for each in sorted(definitions, key=lambda one: (one.whole.start, -one.whole.end)):
        children: list[types.DocumentSymbol] = []
        symbol = types.DocumentSymbol(
            each.name,
            SYMBOLS.get(each.kind, types.SymbolKind.Variable),
            _range(each.whole, positions),
            _range(each.span, positions),
            detail=each.formals,
            children=children,
        )
        # Names in the same pattern are siblings.
        while around and (around[-1][0].end <= each.whole.start or around[-1][0] == each.whole):
            around.pop()
        (around[-1][1] if around else top).append(symbol)
        # Definitions below the maximum depth are siblings, too.
        if len(around) < MAX_NESTED:
            around.append((each.whole, children))
    return top


def _range(span: TextSpan, positions: Positions) -> types.Range:
    return types.Range(
        types.Position(*positions.position(span.start)),
        types.Position(*positions.position(span.end)),
    )


def _path(uri: str) -> Path | None:
    path = to_fs_path(uri) if uri.startswith("file:") else None
    return Path(path) if path is not None else None


def _uri(path: Path) -> str:
    return path.absolute().as_uri()
