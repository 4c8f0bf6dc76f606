"""Views: one page of the dashboard per file."""
