"""Dashboard: the window on finished runs, which computes nothing."""
