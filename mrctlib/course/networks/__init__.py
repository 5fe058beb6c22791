"""Networks of the notebooks that do not walk the road from MR to CT."""
