"""Access, to do things and to see them: permissions, policies, the choice of runners, visibility."""
