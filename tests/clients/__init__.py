"""Clients in environments of their own, which `.ci/clients/run` makes and runs these tests in."""
