"""The command `fairmot`: its subcommands, their options, and messages about wrong ones."""
