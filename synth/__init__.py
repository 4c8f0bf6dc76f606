"""The ground truth: who exists, what they want and what they would do."""
