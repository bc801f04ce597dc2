"""A network as Python code that needs torch alone."""
