"""One script a claim: both sides in one run, the ratio printed last."""
