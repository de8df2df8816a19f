"""What a pair's own code holds, changes and where it stands: what a graph of it would miss."""
