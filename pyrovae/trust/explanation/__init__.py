"""What a figure of a datum hangs on: shares of its cells, and the nearest datum of which it says something else."""
