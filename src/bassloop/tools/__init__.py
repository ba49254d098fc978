"""The tools around the daemon: scripts, REPL, language server, trial runs, and setup."""
