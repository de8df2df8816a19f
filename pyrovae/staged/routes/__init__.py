"""By which way a step is made: which graphs there are, whether they are right, and whether they repay themselves."""
