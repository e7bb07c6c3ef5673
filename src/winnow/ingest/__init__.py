"""Any source -> canonical rows; what cannot be read is quarantined with file, line and reason."""
