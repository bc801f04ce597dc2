"""What (d, w, r) or φ costs: scaling, budgets, published figures, sweeps and searches."""
