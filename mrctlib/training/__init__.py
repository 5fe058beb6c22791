"""The one loop, a step for each kind of game, and the checkpoints that let a training be killed and go on."""
