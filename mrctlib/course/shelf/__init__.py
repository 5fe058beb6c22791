"""How the shipped models are made, and the models."""
