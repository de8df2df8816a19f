"""The command line, `pyrovae COMMAND`: commands on data, those that ship a run, and what they have in common.

Nothing here imports torch, pyro or numpy before a command needs them, so that `--help` answers at once.
"""
