"""What was measured, and what it says: everything about profiles that needs no torch."""
