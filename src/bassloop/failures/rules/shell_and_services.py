"""Shells, deployment tools and services, and last, messages that any program may print."""

from __future__ import annotations

from bassloop.failures.failure import AT, PATH, Rank, Rule

# The word "line" in bash's messages, and systems' messages for a missing file or permission, in other languages.
LINE = r"(?:(?:line|Zeile|ligne|línea|linha|riga|regel|rad|linia|строка|行) )?"
MISSING = (
    r"(?:No such file or directory|Datei oder Verzeichnis nicht gefunden|Aucun fichier ou dossier de ce nom|"
    r"Aucun fichier ou dossier de ce type|No existe el (?:fichero|archivo) o el directorio|"
    r"Arquivo ou diretório inexistente|File o directory non esistente)"
)
REFUSED = (
    r"(?:Permission denied|Keine Berechtigung|Permission non accordée|Permiso denegado|Permissão negada|"
    r"Permesso negato|Connection refused|Verbindungsaufbau abgelehnt|Connexion refusée|Conexión rehusada)"
)

RULES: tuple[Rule, ...] = (
    Rule(
        "shell",
        Rank.MESSAGE,
        rf"^(?:/\S{{0,200}}/)?(?:ba|da|z|k)?sh: {LINE}\d{{1,7}} ?: (?P<message>\S.*)$",
    ),
    Rule(
        "shell",
        Rank.ERROR,
        rf"^{PATH}: {LINE}(?P<line>\d{{1,7}}) ?: (?P<message>\S.*)$",
        generic=True,
    ),
    Rule(
        "shellcheck",
        Rank.ERROR,
        rf"^In {PATH} line (?P<line>\d{{1,7}}):$",
        within=(r"^\s*\^-+\^? (?P<message>SC\d+.*)$",),
        until=r"^\s*$",
        lines=8,
        needs="message",
    ),
    Rule("shellcheck", Rank.ERROR, rf"^{AT}: (?:error|warning|note): (?P<message>.* \[SC\d+\])$"),
    Rule(
        "ansible",
        Rank.ERROR,
        r"^\[ERROR\]: (?P<message>Task failed: .*)$",
        within=(rf"^Origin: {AT}$",),
        until=r"^(?:fatal: .*|PLAY RECAP.*)$",
        lines=60,
    ),
    Rule(
        "ansible",
        Rank.MESSAGE,
        r"^fatal: \[[^\]]+\]: (?:FAILED|UNREACHABLE)! => "
        r'.*?"msg": "(?P<message>(?:[^"\\]|\\[^n]){1,300})',
    ),
    Rule(
        "terraform",
        Rank.ERROR,
        r"^[│|] Error: (?P<message>\S.*)$",
        within=(r"^[│|] +on (?P<path>\S+) line (?P<line>\d{1,7})", r"^[│|] (?P<message>\S.*)$"),
        until=r"^[╵']",
        lines=30,
    ),
    Rule(
        "git",
        Rank.MESSAGE,
        r"^(?P<message>(?:CONFLICT \(|fatal: |error: pathspec|error: failed to push|error: Your local changes).*)$",
    ),
    Rule(
        "docker",
        Rank.MESSAGE,
        r"^ERROR: failed to (?:solve|build).*?: (?P<message>.*)$",
    ),
    Rule("docker", Rank.MESSAGE, r"^Error: (?:error )?(?P<message>building at STEP .*)$"),
    Rule(
        "docker",
        Rank.CONSEQUENCE,
        r"^(?P<message>(?:The command '.*' returned a non-zero code|Error response from daemon).*)$",
    ),
    Rule(
        "kernel",
        Rank.MESSAGE,
        r"^(?:.*: (?:line \d+: )?)?(?: *\d+ )?(?P<message>(?:Killed|Segmentation fault|Bus error|Aborted|"
        r"Illegal instruction|Out of memory|Terminated)(?: \(core dumped\))?(?: {2,}\S.*)?)$",
    ),
    Rule(
        "command",
        Rank.MESSAGE,
        rf"^(?P<message>[\w./+-]{{1,60}}: .*(?:{MISSING}|{REFUSED}|not found|"
        r"cannot (?:stat|open|access|create|remove|execute|find)|Could not resolve host|"
        r"No space left on device).*)$",
        generic=True,
    ),
    # After a progress meter without a line end.
    Rule("curl", Rank.MESSAGE, r"(?:^|[\d:-] *)(?P<message>curl: \(\d{1,3}\) \S.*)$"),
    Rule(
        "perl",
        Rank.MESSAGE,
        r"^(?P<message>[^\s#].*?) at (?P<path>\S+\.(?:pl|pm|t|PL)) line (?P<line>\d{1,7})"
        r"(?:, <\w+> line \d+|, near .*)?\.?$",
        generic=True,
    ),
    Rule(
        "github",
        Rank.ERROR,
        r"^::error (?:[^:]*?\bfile=(?P<path>[^,:]+))?(?:[^:]*?\bline=(?P<line>\d{1,7}))?[^:]*::"
        r"(?P<message>.*?)(?:%0A.*)?$",
    ),
    Rule(
        "pre-commit",
        Rank.MESSAGE,
        r"^(?P<test>\S.*?)\.{3,}(?:\([^)]*\))?Failed$",
        within=(r"^- (?P<message>(?:hook id|exit code): .*|files were modified by this hook)$",),
        until=r"^(?:[^-].*|)$",
        lines=5,
        needs="message",
    ),
    Rule(
        "diff",
        Rank.MESSAGE,
        r"^\+\+\+ (?:b/)?(?P<path>[^\s]+)(?:\s.*)?$",
        within=(
            r"^@@ -\d+(?:,\d+)? \+(?P<line>\d{1,7})(?:,\d+)? @@",
            r"^(?P<message>[-+].*)$",
        ),
        until=r"^(?:[^-+ @\\].*|--- .*)$",
        lines=40,
        needs="line",
    ),
    Rule("jq", Rank.MESSAGE, r"^(?P<message>(?:jq: error|parse error)(?: \(at .*\))?: .*)$"),
    Rule(
        "azure",
        Rank.ERROR,
        r"^##vso\[task\.logissue type=error;(?:sourcepath=(?P<path>[^;\]]+);)?(?:linenumber=(?P<line>\d{1,7});)?"
        r"[^\]]*\](?P<message>.*)$",
    ),
    Rule(
        "checkstyle",
        Rank.ERROR,
        r"^\s*<file name=['\"](?P<path>[^'\"]+)['\"] ?>$",
        within=(
            r"^\s*<error line=['\"](?P<line>\d{1,7})['\"](?: column=['\"](?P<column>\d{1,5})['\"])? "
            r"severity=['\"](?:error|warning|info)['\"] message=['\"](?P<message>[^'\"]+)['\"]",
        ),
        until=r"^\s*</file>$",
        lines=500,
        each=True,
    ),
    Rule("any", Rank.ERROR, rf"^{AT} error (?P<message>\S.*)$", generic=True),
    Rule("any", Rank.MESSAGE, r"^(?P<message>FAIL(?:ED|URE)?:? (?:[^\s/]|/[^/]).*)$", generic=True),
    Rule("any", Rank.MESSAGE, r"^(?P<message>[^\s:]+: FAILED)$", generic=True),
    Rule(
        "any",
        Rank.MESSAGE,
        r"^(?P<message>(?:[\w-]+ ){1,3}error(?: (?:near|at|in) .*)?: \S.*)$",
        generic=True,
    ),
    Rule("any", Rank.MESSAGE, r"^(?i:error|fatal)(?: error)?[:!] (?P<message>\S.*)$", generic=True),
    Rule("any", Rank.MESSAGE, r"^\[(?i:error|fatal)\] (?P<message>\S.*)$", generic=True),
)
