"""What is wrong with a pair or its data, in words, and how to mend it; the contracts for tests of one's own."""
