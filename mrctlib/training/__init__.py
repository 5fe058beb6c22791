"""The loops: one for each kind of game, and the checkpoints that let any of them be killed and go on."""
