"""The files of a repository that the loop and its tools read."""

CONFIG_FILE = ".bassloop.toml"
"""The checks that the repository declares, and its policy."""

PROJECT = "project.bass"
"""The module with the repository's hook."""

SCRIPT = "bass/github-hook"
"""A script that is the hook, if there is no module."""

SCRIPTS = (PROJECT, SCRIPT)
CHECKS = (CONFIG_FILE, *SCRIPTS)
"""The files that declare a repository's checks."""
