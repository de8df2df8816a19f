"""The command line: `pyrovae demo | train | evaluate | sample | reconstruct | impute | encode | export | report`.

Nothing here imports torch, pyro or numpy before a command needs them, so that `--help` answers at once.
"""
