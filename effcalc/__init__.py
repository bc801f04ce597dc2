"""effcalc: what a convolutional network costs before anyone trains it."""

__version__ = "0.1.0"
