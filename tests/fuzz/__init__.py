"""A fuzzer of the project's commands: seeded mutations of everything a user can give them, judged from outside."""
