"""How far a pair can be trusted: uncertainty and its split, calibration, novelty, and when to abstain."""
