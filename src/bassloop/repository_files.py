"""The files of a repository that the loop and its tools read."""

CONFIG_FILE = ".bassloop.toml"
"""The checks that the repository declares, and its policy."""

PROJECT = "project.bass"
"""The module with the repository's hook."""

SCRIPT = "bass/github-hook"
"""A script that is the hook, if there is no module."""

SCRIPTS = (PROJECT, SCRIPT)

MISSING_HOOK = (
    "add (defn github-hook [event client]"
    " (let [*loop* client] (github:check-hook event git:checkout checks))),"
    " which starts what (defn checks [src] …) returns,"
    " and (use (.git (linux/alpine/git)) (.github)) at the top"
)
"""What to do if a module has no hook."""

CHECKS = (CONFIG_FILE, *SCRIPTS)
"""The files that declare a repository's checks."""

OTHER_FORMATS = frozenset({".toml", ".json", ".yml", ".yaml", ".md", ".txt"})
"""Suffixes of files that are no scripts, although they may be given for one."""
