"""What every stage stands on: parameters, experiments, files, cards, records."""
