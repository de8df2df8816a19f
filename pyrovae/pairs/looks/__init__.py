"""What a look at a pair touches, put back after it: objects, numbers, generators, handlers, the store, settings."""
