"""NIfTI volumes, cohorts of cases, and the slices that networks learn from."""
