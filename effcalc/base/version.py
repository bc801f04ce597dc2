"""The version of effcalc, which wheels and everything written carry."""

__version__ = "0.1.0"
