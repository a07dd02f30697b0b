"""The arguments of each command, in modules that import nothing heavy.

`lycoris-ext` parses a command's arguments with them first, so that a wrong flag is told, and --help
shown, before the seconds that importing torch takes.
"""
