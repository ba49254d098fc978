"""Setting a loop up with GitHub: making its App from a browser, and finding out what is not right.

:mod:`create_app` and :mod:`doctor` are what `bassloop github` does; :mod:`settings_file` keeps secrets;
:mod:`units` are systemd's, for `bassloop service`.
"""
