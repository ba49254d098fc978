"""Access control: permissions, policies, the choice of runners, and visibility."""
