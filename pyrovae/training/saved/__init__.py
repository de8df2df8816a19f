"""What a training leaves on disk: files of weights, checkpoints, and the way back from them."""
