"""Everything that needs torch: only modules of this package import it."""
