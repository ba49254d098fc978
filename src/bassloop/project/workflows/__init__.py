"""Translate GitHub Actions workflows to checks. No I/O.

:mod:`translation` reads a workflow, and decides which of its jobs become checks. :mod:`matrix` divides the combinations
of a job's matrix among them, and :mod:`workflow_job` translates one: with :mod:`job_values` what stands for values in
its texts, with :mod:`step_scripts` its commands, and with :mod:`known_actions` and :mod:`version_images` the actions
that it uses. :mod:`conditions` evaluates expressions.
"""
