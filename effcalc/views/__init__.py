"""The tables that effcalc shows, made from the values it computes; the command line prints them."""
