"""Frameworks that carry exchanges to the front and answers back. Thin, and nothing but that."""
