"""Every model judged on the one shared test set: losses by stratum, generations, checked tasks."""
