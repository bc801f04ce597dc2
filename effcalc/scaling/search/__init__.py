"""STEP 1 of compound scaling: which α, β and γ are best (Tan & Le 2019, section 3.3)."""
