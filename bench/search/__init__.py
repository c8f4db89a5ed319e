"""Search of a training's learning rate and method parameters, by wsolevaluation's protocol."""
