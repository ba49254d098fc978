"""Set up a loop.

`create_app` and `doctor` (with `findings`) are behind `bassloop github`, and `settings_file` stores what they learn;
`units` and `systemd` are behind `bassloop service`.
"""
