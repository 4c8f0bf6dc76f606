"""The trunk: clock, money, features, experiments, metrics, cost and the command line."""
