"""Heads that are drawn, with an MR and a CT that belong together."""
