"""The one description of a network, its operators, and the architecture files behind it."""
