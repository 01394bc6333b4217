"""Which angle to measure next: planned, not here yet.

Candidates, acquisition functions and greedy planning arrive with their first use. Until then the package exists so that
the layer has its place and import-linter can hold it: design may use dip and operators, and nothing of ctuq.
"""
