"""Charts of the tables beside them."""
