"""Files of data as long as a pair's bound says: bits-back coding, in arithmetic that is the same everywhere."""
