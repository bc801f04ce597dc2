"""What every room stands on: errors, units, arithmetic, files and child processes."""
