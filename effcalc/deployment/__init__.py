"""Shipping a network: its size in every storage, over a link, on a chip, and as a coded file."""
