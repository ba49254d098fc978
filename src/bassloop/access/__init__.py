"""Who may do and see what: permissions, policies, the choice of runners, visibility."""
