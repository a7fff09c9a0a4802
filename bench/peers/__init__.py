"""Other servers of the same models, each set up as its own documentation recommends."""
