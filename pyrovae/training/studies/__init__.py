"""What calls `fit` many times: choices by held-out evidence, starts, curves over the weight, spreads over seeds."""
