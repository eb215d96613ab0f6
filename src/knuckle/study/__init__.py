"""The empirical study: how good a model is on every gesture, and on photos of one's own."""
