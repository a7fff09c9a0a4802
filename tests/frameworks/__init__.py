"""Frameworks that need an environment of their own: `.ci/frameworks/run` makes it."""
