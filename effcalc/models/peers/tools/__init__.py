"""One module for each package that counts; to add one, write its module with `PEERS`."""
