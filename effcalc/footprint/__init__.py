"""Memory of a network by liveness: of an inference, and of a training step.

Nothing is imported here: what `effcalc scale` shows needs `liveness` alone.
"""
