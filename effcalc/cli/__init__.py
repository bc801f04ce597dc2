"""The command line: the only part of effcalc that prints."""
