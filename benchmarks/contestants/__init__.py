"""The same model written several ways; each contestant is a function of a case that returns a function of an epoch."""
