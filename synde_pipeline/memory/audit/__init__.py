"""What can be wrong with a memory, found and named with its remedy; nothing is changed."""
