"""Phantom patients, NIfTI volumes, cohorts of cases."""
