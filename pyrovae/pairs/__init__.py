"""What a pair is, seen from outside: running it, its sites, plates, parameters and names, in isolation."""
