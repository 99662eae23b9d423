"""Neighbours of a vector within one Space: exact.py is the oracle, hnsw.py the graph."""
