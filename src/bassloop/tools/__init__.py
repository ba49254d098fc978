"""The tools around the daemon: scripts, REPL, language server, trials, and setup."""
