"""Figures of any number of scalings: the formulas of `effcalc.scale` on NumPy arrays."""
