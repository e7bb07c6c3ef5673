"""Results -> how much to keep, with an interval; the figures, the report, the summary."""
