"""What is looked at whatever is asked: the corpus, curation, the score, the planted truth."""
